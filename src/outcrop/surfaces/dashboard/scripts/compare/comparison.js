// A comparison, as tables; each query opens to what both answer.

import { h } from "../dom.js";
import { bytes, counted, digits, milliseconds, percent, whole } from "../format.js";
import { warning } from "../notices.js";
import { sideBySide } from "./sides.js";

export function comparison(found, { collection }) {
  return h(
    "div",
    { class: "stack" },
    h("section", { class: "panel scrolling" }, h("h2", {}, `From generation ${found.a.number} to ${found.b.number}`), figures(found), recipe(found.recipe), found.notes.map((one) => warning(one))),
    h("section", { class: "panel" }, h("h2", {}, "Documents"), documents(found.documents)),
    found.queries === null ? null : h("section", { class: "panel" }, h("h2", {}, "Answers"), summary(found.queries), h("div", { class: "stack queries" }, found.queries.per_query.map((one) => query(one, found, collection)))),
  );
}

function figures({ a, b }) {
  const rows = [
    ["documents", whole(a.document_count), whole(b.document_count)],
    ["chunks", whole(a.chunk_count), whole(b.chunk_count)],
    ["on disk", bytes(a.size_bytes), bytes(b.size_bytes)],
    ["nDCG@10", a.ndcg_at_10 === null ? null : digits(a.ndcg_at_10), b.ndcg_at_10 === null ? null : digits(b.ndcg_at_10)],
    ["median", a.latency && milliseconds(a.latency.p50_ms), b.latency && milliseconds(b.latency.p50_ms)],
    ["95 % below", a.latency && milliseconds(a.latency.p95_ms), b.latency && milliseconds(b.latency.p95_ms)],
  ].filter(([, one]) => one !== null);
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ["", `generation ${a.number}`, `generation ${b.number}`].map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map(([name, one, other]) => h("tr", { class: one === other ? "" : "differs" }, h("th", { scope: "row" }, name), h("td", {}, one), h("td", {}, other)))),
  );
}

const recipe = (changes) => (changes.length === 0 ? h("p", { class: "small" }, "The recipe is the same.") : h("ul", { class: "log" }, changes.map((one) => h("li", {}, one))));

function documents(found) {
  const kinds = [
    ["appeared", "only in the second"],
    ["vanished", "only in the first"],
    ["text_changed", "with another text or title"],
    ["metadata_changed", "with another source or other metadata"],
  ].filter(([name]) => found[name].count > 0);
  if (kinds.length === 0) return h("p", { class: "small" }, "The same documents, with the same texts and metadata.");
  return kinds.map(([name, words]) =>
    h("details", {}, h("summary", {}, `${counted(found[name].count, "document")} ${words}`), h("p", { class: "small" }, found[name].examples.join(", "), found[name].count > found[name].examples.length ? " …" : "")),
  );
}

function summary(found) {
  const told = `${counted(found.per_query.length, "query", "queries")}, the best ${found.k} documents of each: they share ${percent(found.overlap, 0)}, rank-biased overlap ${digits(found.rbo)}, ${percent(found.unchanged_share, 0)} unchanged.`;
  const verdict = found.verdict === null ? null : h("p", {}, verdictOf(found.verdict));
  return [h("p", { class: "small" }, told), verdict];
}

function verdictOf({ difference, low, high, confidence, query_count }) {
  const conclusion = low > 0 ? "the second is better" : high < 0 ? "the second is worse" : "no clear difference";
  const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(3)}`;
  return `Over ${counted(query_count, "judged query", "judged queries")} nDCG@10 changes by ${signed(difference)} (${signed(low)} to ${signed(high)} with ${percent(confidence, 0)} confidence): ${conclusion}.`;
}

function query(one, found, collection) {
  const body = h("div", {});
  const details = h(
    "details",
    { class: "query" },
    h(
      "summary",
      {},
      h("span", { class: "query-text" }, one.query),
      h("span", { class: "row small" }, h("span", {}, one.unchanged ? "unchanged" : `rbo ${digits(one.rbo)}, ${one.moved_in.length} in, ${one.moved_out.length} out`), one.ndcg_at_10_a === null ? null : h("span", {}, `nDCG ${digits(one.ndcg_at_10_a)} → ${digits(one.ndcg_at_10_b)}`), meter(one.rbo)),
    ),
    body,
  );
  details.addEventListener("toggle", () => {
    if (details.open && !body.hasChildNodes()) sideBySide(body, one, { collection, a: found.a.number, b: found.b.number, k: found.queries.k });
  });
  return details;
}

const meter = (share) => h("span", { class: "meter", "aria-hidden": "true" }, h("span", { style: { width: `${share * 100}%` } }));
