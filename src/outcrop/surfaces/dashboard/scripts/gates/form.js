// What a generation must show before it goes live: the usual check, or a gate with the names of a gate.toml.

import { h, refill } from "../dom.js";
import { areRight, claimed, field, number, oneOf, valuesOf } from "../fields.js";
import { whole } from "../format.js";
import { queriesField } from "../queries.js";

const USUAL = "usual";
const OWN = "own";
const remembered = new Map(); // by collection, as long as the page is open: a gate is seldom asked once

/** `active` is the generation that it would be compared with, or null. `read` gives the gate as the API takes it, null for the usual one. */
export function gateForm({ collection, active, hasVectors = true }) {
  const before = remembered.get(collection) ?? null;
  const now = (count) => (active === null ? "" : `${whole(count)} in the live one`);
  const share = (name, label, about, more = {}) => number(name, label, { min: 0, max: 1, step: "any", about, ...more });
  const documents = [
    number("documents_min", "Documents, at least", { min: 0, placeholder: now(active?.document_count) }),
    number("chunks_min", "Chunks, at least", { min: 0, placeholder: now(active?.chunk_count) }),
    share("vanished_share_max", "Vanished documents, at most", "as a share of the live one's; 1 does not ask", { placeholder: "0.1" }),
    required(),
  ];
  const answers = [
    queriesField("Queries", { about: "Searched in both generations. Judged ones are for nDCG, the others for overlap." }),
    share("ndcg_drop", "nDCG@10 may drop by", "0.01, say; the mean over the judged queries", { placeholder: "not asked" }),
    share("overlap_min", "Overlap, at least", "of the best 10: 0.5 is half of them the same", { placeholder: "not asked" }),
    number("latency_p95_ratio_max", "p95 latency, at most", { min: 0, step: "any", about: "times the live one's; leave a margin", placeholder: "not asked" }),
    ...(hasVectors ? [share("recall_min", "Recall@10, at least", "of the vector index, as its build measured it", { placeholder: "not asked" })] : []),
  ];
  const fields = [...documents, ...answers];
  const file = h("code", {});
  const asFile = h("details", { class: "whole" }, h("summary", {}, "The same as a gate.toml, for the command line"), h("pre", { class: "command" }, file));
  const own = h("div", { class: "form-fields", on: { input: () => tell() } }, documents.map((one) => one.element), answers.map((one) => one.element), asFile);
  const tell = () => refill(file, toml(valuesOf(fields)));
  asFile.addEventListener("toggle", tell);
  const ways = oneOf(
    "What it must show",
    [
      [USUAL, "The usual: that no more than a tenth of the documents has vanished", null],
      [OWN, "A gate of its own", own],
    ],
    { chosen: before === null ? USUAL : OWN },
  );
  if (before !== null) fill(fields, before);
  const isOwn = () => ways.read() === OWN;
  return {
    element: ways.element,
    isRight: () => !isOwn() || areRight(fields),
    claims: (error) => isOwn() && claimed(fields, error),
    complain: (name, words) => claimed(fields, { body: { key: name }, detail: words }),
    read() {
      const gate = isOwn() ? valuesOf(fields) : null;
      if (gate === null) remembered.delete(collection);
      else remembered.set(collection, gate);
      return gate;
    },
  };
}

function required() {
  const input = h("textarea", { rows: 2, spellcheck: "false", placeholder: "an id a line" });
  const read = () => {
    const ids = input.value.split("\n").map((one) => one.trim()).filter((one) => one !== "");
    return ids.length === 0 ? null : ids;
  };
  return { ...field("required_ids", "Documents that must be in it", input, { whole: true, read }), fill: (ids) => (input.value = ids.join("\n")) };
}

function fill(fields, gate) {
  for (const one of fields) {
    if (gate[one.name] === undefined) continue;
    if (one.fill) one.fill(gate[one.name]);
    else one.input.value = gate[one.name];
  }
}

/** The gate as a file; its queries are a file of their own. */
function toml(gate) {
  const lines = Object.entries(gate).map(([name, value]) => (name === "queries" ? 'queries = "golden.jsonl"  # the queries above, a line each' : `${name} = ${JSON.stringify(value)}`));
  return lines.length === 0 ? "# nothing is asked yet\n" : `${lines.join("\n")}\n`;
}
