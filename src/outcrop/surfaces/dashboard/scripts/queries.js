// Queries to judge by, in the forms that the command line takes: typed, lines of a golden.jsonl, or the files of a BEIR folder.

import { h, uniqueId } from "./dom.js";
import { field } from "./fields.js";
import { counted } from "./format.js";

/** A field for them; it reads to a list as the API takes it. */
export function queriesField(label, { about = null } = {}) {
  const input = h("textarea", { rows: 4, spellcheck: "false", placeholder: 'a query a line, or {"query": "…", "relevant": {"id": 1}}' });
  const files = h("input", { type: "file", id: uniqueId("queries"), multiple: true, accept: ".jsonl,.ndjson,.json,.tsv,.txt" });
  const count = h("p", { class: "small", role: "status" });
  const rest = [h("label", { class: "small", for: files.id }, "or files: a golden.jsonl, or of a BEIR folder queries.jsonl and a table of qrels"), files, count];
  const made = field("queries", label, input, { about, whole: true, rest, read: () => listed(input.value).queries, fault: () => listed(input.value).fault });
  const tell = () => {
    const { queries } = listed(input.value);
    const judged = (queries ?? []).filter((one) => one.relevant !== undefined && one.relevant !== null).length;
    count.textContent = queries === null ? "" : `${counted(queries.length, "query", "queries")}, ${judged} judged`;
  };
  input.addEventListener("input", tell);
  files.addEventListener("change", async () => {
    if (files.files.length === 0) return;
    try {
      const given = await Promise.all([...files.files].map(async (one) => ({ name: one.name, text: await one.text() })));
      input.value = asLines(given);
      tell();
      made.complain(listed(input.value).fault);
    } catch (error) {
      made.complain(error.message);
    }
  });
  return {
    ...made,
    fill: (queries) => {
      input.value = (queries ?? []).map(lineOf).join("\n");
      tell();
    },
  };
}

/** The queries of a text: null for none at all, and what is wrong with the first line that is none. */
export function listed(text) {
  const found = [];
  for (const [place, line] of text.replace(/^\ufeff/, "").split("\n").entries()) {
    const words = line.trim();
    if (words === "") continue;
    const fault = words.startsWith("{") ? taken(words, found) : void found.push(words);
    if (fault) return { queries: null, fault: `Line ${place + 1} is no query: ${fault}` };
  }
  return { queries: found.length === 0 ? null : found, fault: null };
}

/** Take a line in braces; what is wrong with it, or null. */
function taken(line, found) {
  let record;
  try {
    record = JSON.parse(line);
  } catch (error) {
    return error.message;
  }
  const query = record.query ?? record.text; // `_id` and `text` are BEIR's
  if (typeof query !== "string" || query.trim() === "") return 'it has no text as "query"';
  const { relevant, id = record._id } = record;
  found.push({ query, ...(relevant === undefined ? {} : { relevant }), ...(id === undefined ? {} : { id: String(id) }) });
  return null;
}

/** Files as lines: of BEIR's two those queries that are judged. Raises an Error that says what is wrong. */
export function asLines(files) {
  const tables = files.filter((one) => one.name.toLowerCase().endsWith(".tsv"));
  const texts = files.filter((one) => !tables.includes(one));
  if (tables.length === 0) return texts.map((one) => one.text.trimEnd()).join("\n");
  const known = new Map();
  for (const { name, text } of texts) {
    const { queries, fault } = listed(text);
    if (fault !== null) throw new Error(`${name}: ${fault}`);
    for (const one of queries ?? []) if (one.id !== undefined) known.set(one.id, one.query);
  }
  const judged = new Map();
  for (const table of tables) judgements(table, known, judged);
  return [...judged].map(([id, relevant]) => lineOf({ query: known.get(id), relevant, id })).join("\n");
}

function judgements({ name, text }, known, judged) {
  for (const [place, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const [query, id, grade, ...more] = line.split("\t").map((one) => one.trim());
    if (place === 0 && !/^[+-]?\d+$/.test(grade ?? "")) continue; // the header
    const where = `${name}, line ${place + 1}`;
    if (!/^[+-]?\d+$/.test(grade ?? "") || !query || !id || more.length > 0) throw new Error(`${where}: a row is a query's id, a document's id and a grade, with tabs between them`);
    if (!known.has(query)) throw new Error(`${where}: the query ${query} is judged, and no text for it was chosen: choose queries.jsonl too`);
    judged.set(query, { ...judged.get(query), [id]: Number(grade) });
  }
}

const lineOf = (one) => (typeof one === "string" ? one : JSON.stringify(one));
