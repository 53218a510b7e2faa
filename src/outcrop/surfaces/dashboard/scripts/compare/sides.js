// What two generations answer to one query, side by side.

import { ask, of } from "../api.js";
import { h, refill } from "../dom.js";
import { digits } from "../format.js";
import { failure, loading } from "../notices.js";
import { marked } from "../search/hit.js";
import { UNLOGGED } from "../search/request.js";

/** Fill a place with it. */
export async function sideBySide(place, one, { collection, a, b, k }) {
  refill(place, loading("Searching both"));
  const search = (generation) => ask(of(collection, "search"), { body: { query: one.query, k, generation, ...UNLOGGED } });
  try {
    const answers = await Promise.all([search(a), search(b)]);
    const ranks = answers.map((answer) => new Map(answer.hits.map((hit) => [hit.document_id, hit.rank])));
    refill(place, h("div", { class: "two" }, answers.map((answer, side) => column(answer, ranks[1 - side], [a, b][side]))));
  } catch (error) {
    refill(place, failure(error, () => sideBySide(place, one, { collection, a, b, k })));
  }
}

function column(answer, others, generation) {
  return h(
    "div",
    {},
    h("h3", {}, `Generation ${generation}`),
    h(
      "ol",
      { class: "near" },
      answer.hits.map((hit) => {
        const other = others.get(hit.document_id) ?? null;
        const moved = other === null ? h("span", { class: "tag" }, "only here") : other === hit.rank ? null : h("span", { class: "small" }, `there ${other}`);
        return h("li", {}, h("span", { class: "rank" }, hit.rank), h("span", {}, h("b", {}, hit.title ?? hit.document_id), " ", h("span", { class: "small" }, digits(hit.score)), " ", moved, h("p", { class: "small" }, marked(hit.snippet))));
      }),
    ),
  );
}
