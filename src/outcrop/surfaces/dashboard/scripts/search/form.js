// What is asked: the query, the filter, how the legs are joined. Every change goes into the address, and comes back from there.

import { h, refill, uniqueId } from "../dom.js";
import { DEFAULTS, worthKeeping } from "./request.js";

const WAIT_MS = 250;

/** `changed` is told the values to keep, `submit` that the same is asked again. */
export function form({ stats, active, changed, submit }) {
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => element.reportValidity() && send({ replace: true }), WAIT_MS);
  };
  const fields = made(stats, active, soon);
  const wantsVector = active.recipe.dimension !== null && active.recipe.embedder === null;
  let waiting = null;
  let kept = null;

  const values = () => Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, read(fields[name])]));
  const send = ({ replace }) => {
    clearTimeout(waiting);
    const column = kept?.column;
    const next = worthKeeping(values());
    changed(column ? { ...next, column } : next, { replace });
  };

  const element = h(
    "form",
    {
      class: "search-form",
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          const before = kept;
          send({ replace: false });
          if (before === kept) submit(); // nothing differs: ask anew all the same
        },
        input: (event) => {
          if (event.target.matches("[data-live]")) soon();
        },
      },
    },
    h("div", { class: "query-line" }, fields.q.element, h("button", { class: "primary" }, "Search")),
    wantsVector ? fields.vector.element : null,
    h(
      "div",
      { class: "options" },
      fields.where.element,
      h(
        "details",
        { class: "more", open: !matchMedia("(max-width: 640px)").matches },
        h("summary", {}, "Options"),
        h("div", { class: "options" }, [fields.k, fields.candidates, fields.per_document, fields.fusion, fields.weight, fields.generation, fields.cache].map((one) => one.element)),
      ),
      fields.where.told,
    ),
  );

  return {
    element,
    /** Show these values; whether they are others than before. */
    fill(next) {
      const before = kept;
      kept = next;
      for (const name of Object.keys(DEFAULTS)) write(fields[name], next[name] ?? DEFAULTS[name]);
      return before === null || asText(before) !== asText(next);
    },
    hasQuery: (now) => (now.q ?? "").trim() !== "" || fields.vector.read() !== null,
    vector: () => fields.vector.read(),
    clearErrors: () => fields.where.complain(null),
    /** Whether an error is one of the form's own fields, at which it is then shown. */
    claims(error) {
      if (error === null) return true;
      if (error.kind !== "invalid-filter") return false;
      fields.where.complain(error);
      return true;
    },
  };
}

const asText = ({ column: _, ...values }) => JSON.stringify(Object.entries(values).sort());
const read = (field) => (field.read ? field.read() : field.input.type === "checkbox" ? (field.input.checked ? "" : "off") : field.input.value);
const write = (field, value) => {
  const { input } = field;
  if (field.write) field.write(value);
  else if (input.type === "checkbox") input.checked = value !== "off";
  else if (input.value !== value) input.value = value;
};

function made(stats, active, moved) {
  const number = (label, name, least, most, title) =>
    labelled(label, h("input", { type: "number", name, min: least, max: most, required: true, data: { live: "" }, title }), { narrow: true });
  return {
    q: query(),
    where: filter(stats.fields),
    k: number("Hits", "k", 1, 1000, "How many hits a column shows (k)"),
    candidates: number("Candidates", "candidates", 10, 10_000, "How deep each leg looks; it does not depend on how many hits are shown"),
    per_document: number("Per document", "per_document", 1, 1000, "How many hits may come from one document"),
    fusion: labelled(
      "Fusion",
      h("select", { name: "fusion", data: { live: "" } }, h("option", { value: "weighted" }, "weighted scores"), h("option", { value: "rrf" }, "reciprocal ranks")),
      { hidden: active.recipe.dimension === null },
    ),
    weight: weight(active, moved),
    generation: labelled("Generation", generations(stats), {}),
    cache: labelled("Cached answers", h("input", { type: "checkbox", name: "cache", data: { live: "" } }), { check: true }),
    vector: vectorField(active),
  };
}

function labelled(label, input, { narrow = false, hidden = false, check = false } = {}) {
  input.id = uniqueId("field");
  const classes = ["field", narrow && "narrow", check && "check"].filter(Boolean).join(" ");
  return { input, element: h("div", { class: classes, hidden }, h("label", { for: input.id }, label), input) };
}

function query() {
  const input = h("input", {
    type: "search",
    name: "q",
    "aria-label": "Query",
    placeholder: "Search, as a person would ask",
    autocomplete: "off",
    spellcheck: "false",
    data: { query: "" },
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    const first = [...document.querySelectorAll(".hit")].find((one) => one.offsetParent !== null);
    if (!first) return;
    event.preventDefault();
    first.focus();
  });
  return { input, element: input };
}

function filter(known) {
  const told = h("pre", { class: "field-error", role: "alert", id: uniqueId("error"), hidden: true });
  const options = h("datalist", { id: uniqueId("fields") }, known.map((name) => h("option", { value: `${name} = ` })));
  const input = h("input", {
    type: "text",
    name: "where",
    placeholder: known.length > 0 ? `${known[0]} …` : "year >= 2015 AND lang = 'en'",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": told.id,
    title: known.length > 0 ? `Fields: ${known.slice(0, 30).join(", ")}` : "No document has metadata",
    list: options.id,
  });
  const { element } = labelled("Filter", input);
  element.classList.add("wide");
  element.append(options);
  const complain = (error) => {
    told.hidden = error === null;
    refill(told, error?.detail ?? "");
    if (error === null) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
    if (error !== null && Number.isInteger(error.body.position)) {
      const at = [...input.value].slice(0, error.body.position).join("").length; // the server counts characters
      input.setSelectionRange(at, Math.min(at + 1, input.value.length));
    }
  };
  return { input, element, told, complain };
}

/** The vector leg's weight. Empty is the default, which comes with the embedder: the slider stands there until it is moved. */
function weight(active, moved) {
  const standard = active.recipe.vector_weight;
  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.05 });
  const shown = h("output", {});
  const reset = h("button", { type: "button", class: "quiet small", title: "Back to the embedder's own weight", "aria-label": "Back to the default weight" }, "↺");
  const field = labelled("Vector weight", slider, { hidden: active.recipe.dimension === null });
  let chosen = "";
  const choose = (given) => {
    chosen = given;
    slider.value = given === "" ? standard : given;
    shown.textContent = given === "" ? `${standard.toFixed(2)} (default)` : Number(given).toFixed(2);
    reset.hidden = given === "";
  };
  const move = (given) => {
    choose(given);
    moved();
  };
  slider.addEventListener("input", () => move(slider.value));
  reset.addEventListener("click", () => move(""));
  field.element.prepend(h("div", { class: "label-row" }, field.element.querySelector("label"), shown, reset));
  return { ...field, read: () => chosen, write: choose };
}

function generations(stats) {
  const searched = stats.generations.filter((one) => one.status !== "damaged");
  return h(
    "select",
    { name: "generation", data: { live: "" } },
    h("option", { value: "" }, `active (${stats.active})`),
    searched.map((one) => h("option", { value: one.number }, `${one.number}${one.status === "active" ? ", active" : ""}`)),
  );
}

function vectorField(active) {
  const input = h("textarea", { rows: 2, spellcheck: "false", placeholder: `[0.12, -0.4, …]  (${active.recipe.dimension} numbers)` });
  const { element } = labelled("Query vector: this generation's vectors came with its documents", input);
  element.classList.add("wide");
  const found = () => {
    try {
      const vector = JSON.parse(input.value);
      return Array.isArray(vector) ? vector : null;
    } catch {
      return null;
    }
  };
  return { input, element, read: () => (input.value.trim() === "" ? null : found()) };
}
