// One generation: what it is made of, what it holds, how well its vector index finds.

import { h } from "../dom.js";
import { ago, bytes, counted, digits, moment, seconds, whole } from "../format.js";
import { curve } from "./curve.js";
import { report } from "./report.js";

const STATES = { active: "active", damaged: "bad" };

export function card(one, { most, history, actions }) {
  const gates = history.filter((entry) => entry.generation === one.number && entry.gate !== null);
  return h(
    "article",
    { class: `panel generation ${one.status}`, role: "listitem", data: { generation: one.number }, "aria-label": `Generation ${one.number}` },
    h(
      "header",
      { class: "row apart" },
      h(
        "div",
        { class: "row" },
        h("h2", {}, `Generation ${one.number}`),
        h("span", { class: `tag ${STATES[one.status] ?? ""}` }, one.status),
        h("span", { class: "small", title: moment(one.created_at) }, `built ${ago(one.created_at)} in ${seconds(one.build_seconds)} from ${one.source}`),
      ),
      h("div", { class: "row" }, actions),
    ),
    h("div", { class: "figures" }, figures(one, most)),
    h("dl", { class: "recipe" }, recipe(one.recipe).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    remarks(one),
    one.index_choice === null
      ? null
      : h("details", {}, h("summary", {}, "How the vector index was chosen"), h("p", { class: "small" }, one.index_choice.reason), curve(one.index_choice)),
    gates.length === 0
      ? null
      : h(
          "details",
          {},
          h("summary", {}, `Gate: ${gates.at(-1).gate.passed === false ? "refused" : "passed"}${gates.length > 1 ? `, ${gates.length} reports` : ""}`),
          [...gates].reverse().map((entry) => [h("p", { class: "small" }, `${moment(entry.at)}${entry.forced ? ", forced" : ""}`), report(entry.gate)]),
        ),
  );
}

function figures(one, most) {
  const goal = one.recipe.dimension === null ? null : one.recipe.goal.target_recall;
  const recall = one.recall === null ? "no vectors" : digits(one.recall);
  return [
    figure("documents", whole(one.document_count)),
    figure("chunks", whole(one.chunk_count)),
    figure("on disk", bytes(one.size_bytes), one.size_bytes / Math.max(1, most)),
    figure(goal === null ? "recall@10" : `recall@10, wanted ${digits(goal)}`, recall, one.recall, goal !== null && one.recall !== null && one.recall < goal ? "short" : ""),
    figure("as of write", whole(one.sequence)),
  ];
}

const figure = (name, value, share = null, kind = "") =>
  h(
    "div",
    { class: `figure ${kind}` },
    h("span", { class: "figure-value" }, value),
    h("span", { class: "small" }, name),
    share === null ? null : h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: { width: `${share * 100}%` } })),
  );

function recipe(made) {
  const embedder = made.embedder === null ? (made.dimension === null ? "none: words alone" : "vectors come with the documents") : made.embedder.spec;
  return [
    ["Embedder", made.dimension === null ? embedder : `${embedder}, ${counted(made.dimension, "dimension")}, ${made.metric}`],
    ["Chunker", made.chunker],
    ["Analyzer", made.analyzer],
    ["Engine", made.engine],
    ...(made.dimension === null ? [] : [["Vector index", made.index.kind === "auto" ? "chosen from the data" : made.index.kind], ["Vector weight", digits(made.vector_weight)]]),
  ];
}

function remarks(one) {
  const told = [
    one.vector_index === null ? null : `vector index ${one.vector_index}`,
    one.skipped > 0 ? `${counted(one.skipped, "record")} skipped by its build` : null,
    one.unembedded > 0 ? `${counted(one.unembedded, "chunk")} without a vector` : null,
    one.vanished ? `${counted(one.vanished, "document")} of the active generation were not in it` : null,
    one.revived ? `${counted(one.revived, "document")} in it had been deleted` : null,
    one.promoted_at === null ? "never promoted" : `last put live ${ago(one.promoted_at)}`,
  ].filter((text) => text !== null);
  return h("p", { class: "small" }, told.join(" · "));
}
