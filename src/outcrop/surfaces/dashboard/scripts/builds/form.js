// What a build is to be: what is left empty stays as the active generation has it.

import { ask, of } from "../api.js";
import { h, refill, uniqueId } from "../dom.js";
import { failure } from "../notices.js";

/** `ordered` is told of the build that has begun. */
export function orderForm({ collection, stats, ordered }) {
  const recipe = stats.generations.find((one) => one.number === stats.active)?.recipe;
  const field = (label, name, placeholder, more = {}) => {
    const input = h("input", { id: uniqueId("build"), name, placeholder, autocomplete: "off", spellcheck: "false", ...more });
    return h("div", { class: "field" }, h("label", { for: input.id }, label), input);
  };
  const choice = (label, name, options) => {
    const select = h("select", { id: uniqueId("build"), name }, options.map(([value, text]) => h("option", { value }, text)));
    return h("div", { class: "field" }, h("label", { for: select.id }, label), select);
  };
  const check = (label, name) => {
    const input = h("input", { type: "checkbox", id: uniqueId("build"), name });
    return h("label", { class: "row", for: input.id }, input, label);
  };
  const told = h("div", { "aria-live": "polite" });
  const button = h("button", { class: "primary" }, "Begin the build");
  const file = field("Or a file of documents, a JSON object a line", "file", "", { type: "file", accept: ".jsonl,.ndjson,.jsonl.gz,.zst" });
  const form = h(
    "form",
    { class: "panel stack", on: { submit: (event) => begin(event) } },
    h("h2", {}, "Build a generation"),
    h("p", { class: "small" }, "Beside the live one, which goes on answering. Without a source it is built of the documents that there are."),
    h(
      "div",
      { class: "build-fields" },
      field("A source in a folder that the server may read", "source", "the documents there are"),
      file,
      field("Embedder", "embedder", recipe?.embedder?.spec ?? "none"),
      field("Chunker", "chunker", recipe?.chunker ?? "auto"),
      field("Analyzer", "analyzer", recipe?.analyzer ?? "english"),
      field("Wanted recall", "target_recall", String(recipe?.goal?.target_recall ?? 0.97), { type: "number", min: 0.01, max: 1, step: 0.01 }),
      choice("Least", "optimize_for", [["", "as it is"], ["latency", "latency"], ["memory", "memory"], ["build", "time to build"]]),
      choice("Bad records", "on_error", [["stop", "stop the build"], ["skip", "are skipped"]]),
    ),
    h("div", { class: "row" }, check("Put it live when it is ready", "promote"), check("Keep what was written directly", "keep_writes")),
    told,
    h("div", { class: "row" }, button),
  );

  async function begin(event) {
    event.preventDefault();
    const given = new FormData(form);
    const upload = given.get("file");
    const options = optionsOf(given);
    refill(told);
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      const sent = upload?.size > 0 ? { query: options, content: upload, headers: { "content-type": "application/x-ndjson" } } : { body: options };
      ordered(await ask(of(collection, "builds"), { method: "POST", ...sent }));
      form.reset();
    } catch (error) {
      refill(told, failure(error));
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  }
  return form;
}

function optionsOf(given) {
  const options = {};
  for (const name of ["source", "embedder", "chunker", "analyzer", "optimize_for"]) {
    const value = given.get(name).trim();
    if (value !== "") options[name] = value;
  }
  if (given.get("target_recall") !== "") options.target_recall = Number(given.get("target_recall"));
  if (given.get("on_error") !== "stop") options.on_error = given.get("on_error");
  for (const name of ["promote", "keep_writes"]) if (given.get(name) !== null) options[name] = true;
  return options;
}
