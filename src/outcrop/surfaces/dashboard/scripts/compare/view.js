// What would change if another generation served: sizes, documents, and the answers, query by query.

import { ask, of, wasGivenUp } from "../api.js";
import { h, refill, uniqueId } from "../dom.js";
import { areRight } from "../fields.js";
import { announce, empty, failure, guarded, loading } from "../notices.js";
import { queriesField } from "../queries.js";
import { comparison } from "./comparison.js";

export function mount(root, { collection, access, stats }) {
  const whole = stats.generations.filter((one) => one.status !== "damaged");
  if (whole.length < 2) {
    refill(root, empty("There is nothing to compare yet", "It takes two generations. A build makes another one:", `outcrop build ${collection} --chunker tokens:64/8`));
    return { show() {} };
  }
  const sides = ["a", "b"].map((side, place) => sideChoice(side, whole, place === 0 ? (stats.active ?? whole[0].number) : whole.filter((one) => one.number !== stats.active).at(-1).number));
  const queries = queriesField("Queries, without which only documents and sizes are compared");
  const found = h("div", { "aria-live": "polite" });
  let running = null;
  const form = h(
    "form",
    { class: "panel stack", on: { submit: (event) => compared(event) } },
    h("div", { class: "row" }, sides[0].element, h("span", { "aria-hidden": "true" }, "→"), sides[1].element),
    queries.element,
    h("div", { class: "row" }, guarded(access, "admin", { class: "primary", type: "submit", on: {} }, "Compare"), h("span", { class: "small" }, "With queries it may take a minute: each is searched many times in both, to tell which is quicker.")),
  );
  refill(root, h("div", { class: "stack" }, form, found));

  async function compared(event) {
    event.preventDefault();
    if (form.querySelector("[aria-disabled]")) return;
    running?.abort();
    if (!areRight([queries])) return;
    running = new AbortController();
    const [a, b] = sides.map((one) => Number(one.select.value));
    refill(found, loading("Comparing"));
    try {
      const result = await ask(of(collection, "compare"), { body: { a, b, queries: queries.read() }, signal: running.signal });
      refill(found, comparison(result, { collection }));
      announce("Compared");
    } catch (error) {
      if (!wasGivenUp(error)) refill(found, failure(error));
    }
  }
  return { show() {}, leave: () => running?.abort() };
}

function sideChoice(side, generations, chosen) {
  const select = h("select", { id: uniqueId("side") }, generations.map((one) => h("option", { value: one.number, selected: one.number === chosen }, `${one.number}${one.status === "active" ? ", active" : ""} (${one.recipe.chunker}, ${one.recipe.embedder?.spec ?? "no embedder"})`)));
  return { select, element: h("div", { class: "row" }, h("label", { class: "small", for: select.id }, side === "a" ? "Generation" : "against"), select) };
}
