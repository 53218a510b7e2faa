// What a build is to be: from what, with what, and what becomes of it. What is not chosen stays as the live generation has it.

import { address, ask, of, wasGivenUp } from "../api.js";
import { h, refill } from "../dom.js";
import { areRight, check, choice, claimed, valuesOf } from "../fields.js";
import { bytes } from "../format.js";
import { gateForm } from "../gates/form.js";
import { failure, loading } from "../notices.js";
import { recipeFields } from "./recipe.js";
import { FILE, sourceChoice } from "./source.js";

const ADDRESS_CHARACTERS_MAX = 16_000; // the server takes 16 kB of them

/** `choices` is what the server says that a build may name; `ordered` is told of the build that has begun. */
export function orderForm({ collection, stats, choices, ordered }) {
  const active = stats.generations.find((one) => one.number === stats.active) ?? null;
  const source = sourceChoice({ choices, active });
  const recipe = recipeFields({ choices, active });
  const gate = gateForm({ collection, active });
  const promotes = check("promote", "Put it live when it is ready", { about: "if it shows what it must" });
  const ways = [
    choice("on_error", "Bad records", [["", "stop the build"], ["skip", "are skipped, and counted"]]),
    check("keep_writes", "Keep what was written directly", { about: "besides the source: what came by upsert and delete" }),
    check("anew", "Begin anew", { about: "leave what an interrupted build of this kind has prepared" }),
  ];
  const gateShown = h("div", { hidden: true }, gate.element);
  promotes.input.addEventListener("change", () => (gateShown.hidden = !promotes.input.checked));
  const fields = [...recipe.usual, ...recipe.rare, promotes, ...ways];
  const told = h("div", { "aria-live": "polite" });
  const button = h("button", { class: "primary" }, "Begin the build");
  const form = h(
    "form",
    { class: "panel stack", novalidate: true, "aria-label": "Build a generation", on: { submit: (event) => begin(event) } },
    h("h2", {}, "Build a generation"),
    h("p", { class: "small" }, "Beside the live one, which goes on answering. What is not chosen stays as that one has it."),
    source.element,
    h("div", { class: "form-fields" }, recipe.usual.map((one) => one.element)),
    h("details", {}, h("summary", {}, "More"), h("div", { class: "form-fields" }, [...recipe.rare, ...ways].map((one) => one.element))),
    promotes.element,
    gateShown,
    told,
    h("div", { class: "row" }, button),
  );

  /** What is asked, or null if something is wrong with it, which is told then. */
  function asked() {
    const all = [...source.fields(), ...fields];
    if (!areRight(all) || (promotes.input.checked && !gate.isRight())) return null;
    const { anew, file, ...options } = valuesOf(all);
    const decided = promotes.input.checked ? gate.read() : null;
    const body = { ...options, ...(anew ? { resume: false } : {}), ...(decided === null ? {} : { gate: decided }) };
    if (source.way() !== FILE) return { body };
    const query = { ...body, ...(decided === null ? {} : { gate: JSON.stringify(decided) }) };
    if (address(of(collection, "builds"), query).href.length > ADDRESS_CHARACTERS_MAX) {
      gate.complain("queries", "With a file from here the gate travels in the address, and this is too long for one. Build without putting it live, and give the gate to the promotion; or name fewer queries.");
      return null;
    }
    return { query, content: file, headers: { "content-type": "application/x-ndjson" } };
  }

  async function begin(event) {
    event.preventDefault();
    const order = asked();
    if (order === null) return;
    const given = new AbortController();
    const progress = order.content ? sendingShown(told, order.content.size, () => given.abort()) : undefined;
    if (progress === undefined) refill(told);
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      const build = await ask(of(collection, "builds"), { method: "POST", signal: given.signal, progress, ...order });
      refill(told);
      ordered(build);
    } catch (error) {
      refill(told);
      const known = claimed([...source.fields(), ...fields], error) || gate.claims(error);
      if (!known && !wasGivenUp(error)) refill(told, failure(error));
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  }
  return form;
}

/** Show how much of a file has been sent, and a button that stops it; gives what is to be told of each step. */
function sendingShown(told, size, stop) {
  const bar = h("progress", { max: size, value: 0, "aria-label": "Sent" });
  const sent = h("span", { class: "small", "aria-live": "off" });
  const button = h("button", { type: "button", on: { click: stop } }, "Stop sending");
  refill(told, h("div", { class: "row" }, loading(`Sending ${bytes(size)}`), bar, sent, button));
  return (count) => {
    bar.value = count;
    sent.textContent = count < size ? bytes(count) : "all of it; the server reads the rest";
  };
}
