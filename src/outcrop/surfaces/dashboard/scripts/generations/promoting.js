// Puts a generation live: what will change, what it must show, and what its gate found if that refuses.

import { ask, of } from "../api.js";
import { dialog } from "../dialogs.js";
import { h, refill, uniqueId } from "../dom.js";
import { gateForm } from "../gates/form.js";
import { announce, loading } from "../notices.js";
import { refused } from "./changing.js";

/** The generation that is active now, or null if the person turned away. */
export function promoted({ collection, generation, active }) {
  return new Promise((resolve) => {
    let asked = Promise.resolve(null);
    const closed = () => asked.then(resolve); // what was asked goes on when the dialog is closed, and ends in its own time
    dialog(`Put generation ${generation.number} live?`, (close) => content({ collection, generation, active, close, asking: (promise) => (asked = promise) }), { closed, wide: true });
  });
}

function content({ collection, generation, active, close, asking }) {
  const gate = gateForm({ collection, active, hasVectors: generation.recipe.dimension !== null });
  const told = h("div", { class: "stack", "aria-live": "polite" });
  const yes = h("button", { class: "primary" }, "Promote");
  const behind = active === null ? 0 : active.sequence - generation.sequence;

  async function put(body) {
    yes.disabled = true;
    yes.setAttribute("aria-busy", "true");
    refill(told, loading(body.gate?.queries ? "Asking the gate: it searches both generations, which may take a minute" : "Putting it live"));
    try {
      const made = await ask(of(collection, "generations", generation.number, "promote"), { body });
      close();
      return made;
    } catch (error) {
      announce(`Not put live: ${error.title ?? error.message}`);
      refill(told);
      if (!gate.claims(error)) show(error, body);
      return null;
    } finally {
      yes.disabled = false;
      yes.removeAttribute("aria-busy");
    }
  }

  function show(error, body) {
    refill(told, refused(error), error.body?.report ? forcing(collection, () => asking(put({ ...body, force: true }))) : null);
    told.scrollIntoView({ block: "end" });
  }

  const submit = (event) => {
    event.preventDefault();
    if (!gate.isRight()) return;
    const given = gate.read();
    asking(put(given === null ? {} : { gate: given }));
  };
  return h(
    "form",
    { class: "dialog-body", novalidate: true, on: { submit } },
    h(
      "p",
      {},
      active === null ? "Searches see it from then on." : `It takes the place of generation ${active.number}, in one step: a search that has begun ends where it began.`,
      behind > 0 ? " It first catches up with what was written since it was built." : "",
    ),
    active === null ? null : changes(generation, active),
    gate.element,
    told,
    h("footer", {}, h("button", { type: "button", on: { click: close } }, "Cancel"), yes),
  );
}

/** What to do to have it all the same. */
function forcing(collection, force) {
  const button = h("button", { type: "button", class: "primary dangerous", disabled: true, on: { click: force } }, "Promote all the same");
  const typed = h("input", { id: uniqueId("typed"), autocomplete: "off", spellcheck: "false" });
  typed.addEventListener("input", () => (button.disabled = typed.value.trim() !== collection));
  typed.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // which would ask the gate again
    button.click();
  });
  return h(
    "div",
    { class: "field forcing" },
    h("label", { for: typed.id }, "To put it live whatever the gate says, which the history records, type the collection's name: ", h("b", {}, collection)),
    h("div", { class: "row" }, typed, button),
  );
}

function changes(next, now) {
  const rows = [
    ["documents", now.document_count, next.document_count],
    ["chunks", now.chunk_count, next.chunk_count],
    ["embedder", now.recipe.embedder?.spec ?? "none", next.recipe.embedder?.spec ?? "none"],
    ["chunker", now.recipe.chunker, next.recipe.chunker],
    ["analyzer", now.recipe.analyzer, next.recipe.analyzer],
  ];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ["", `${now.number}, active`, `${next.number}`].map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map(([name, a, b]) => h("tr", { class: a === b ? "" : "differs" }, h("th", { scope: "row" }, name), h("td", {}, a), h("td", {}, b)))),
  );
}
