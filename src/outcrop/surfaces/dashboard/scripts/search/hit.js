// One hit: what it is, the passage that matched, what each leg gave to its score, and where the other columns have it.

import { h, uniqueId } from "../dom.js";
import { digits, plain } from "../format.js";

const OTHERS = { lexical: ["vector", "hybrid"], vector: ["lexical", "hybrid"], hybrid: ["lexical", "vector"] };
const NAMES = { lexical: "words", vector: "meaning", hybrid: "hybrid" };
const MARKS = /<mark>(.*?)<\/mark>/gs;

/** `best` is the score of the column's first hit, `rankings` the hits of every column that has an answer. */
export function hit(found, { mode, best, rankings }) {
  const why = found.explanation;
  const details = h("div", { class: "why-details", id: uniqueId("why"), hidden: true });
  const toggle = h("button", { type: "button", class: "quiet small", "aria-expanded": "false", "aria-controls": details.id }, "Why?");
  const open = () => {
    if (!details.hasChildNodes()) details.append(...explained(found, why));
    details.hidden = !details.hidden;
    toggle.setAttribute("aria-expanded", String(!details.hidden));
  };
  toggle.addEventListener("click", open);
  const places = elsewhere(found, mode, rankings);
  const element = h(
    "li",
    { class: places.isAlone ? "hit alone" : "hit", tabindex: 0, data: { id: found.id, rank: found.rank }, "aria-label": `${found.rank}. ${found.title ?? found.document_id}` },
    h(
      "div",
      { class: "hit-head" },
      h("span", { class: "rank" }, found.rank),
      h("h3", {}, found.title ?? found.document_id),
      h("span", { class: "score", title: "score" }, digits(found.score)),
    ),
    h("p", { class: "snippet" }, marked(found.snippet)),
    why === null ? null : h("div", { class: "bars" }, why.legs.map((leg) => bar(leg, { best, alone: mode !== "hybrid" }))),
    h("p", { class: "small hit-foot" }, places.element, metadata(found.metadata), toggle),
    details,
  );
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== element) return;
    event.preventDefault();
    open();
  });
  for (const [event, lit] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    element.addEventListener(event, () => light(found.id, lit));
  }
  return element;
}

/** The snippet's text, with what stands between the marks set off. The rest of it is text, whatever it looks like. */
export function marked(snippet) {
  const pieces = [];
  let at = 0;
  for (const match of snippet.matchAll(MARKS)) {
    pieces.push(snippet.slice(at, match.index), h("mark", {}, match[1]));
    at = match.index + match[0].length;
  }
  return [...pieces, snippet.slice(at)];
}

/** Set off the same chunk in every column. */
function light(id, lit) {
  for (const one of document.querySelectorAll(`.hit[data-id="${CSS.escape(id)}"]`)) one.classList.toggle("lit", lit);
}

function elsewhere(found, mode, rankings) {
  const known = OTHERS[mode].filter((other) => rankings[other]);
  const places = known.map((other) => [other, rankings[other].find((one) => one.id === found.id)?.rank ?? null]);
  const element = places.map(([other, rank]) => {
    const moved = rank === null ? 0 : rank - found.rank;
    const sign = moved > 0 ? ` ▲${moved}` : moved < 0 ? ` ▼${-moved}` : "";
    const told = rank === null ? `not among the hits by ${NAMES[other]}` : `number ${rank} by ${NAMES[other]}`;
    return h("span", { class: `place ${other}${rank === null ? " absent" : ""}`, title: told }, `${NAMES[other]} ${rank ?? "–"}`, h("span", { class: moved > 0 ? "up" : "down" }, sign));
  });
  return { element, isAlone: known.length > 0 && places.every(([, rank]) => rank === null) };
}

function bar(leg, { best, alone }) {
  const share = best > 0 ? leg.contribution / best : best / leg.contribution; // distances are negative: the nearest is the longest
  return h(
    "div",
    { class: `bar ${leg.leg}`, title: `${leg.leg}: rank ${leg.rank}, raw score ${digits(leg.raw_score)}` },
    h("span", { class: "bar-name" }, leg.leg),
    h("span", { class: "bar-track" }, h("span", { class: "bar-fill", style: { width: `${Math.min(100, Math.max(0, share * 100))}%` } })),
    h("span", { class: "bar-value" }, alone ? digits(leg.raw_score) : `${digits(leg.contribution)} · #${leg.rank}`),
  );
}

const metadata = (values) =>
  Object.entries(values)
    .slice(0, 4)
    .map(([name, value]) => h("span", { class: "chip", title: `${name}: ${plain(value, 400)}` }, h("b", {}, name), ` ${plain(value, 28)}`));

function explained(found, why) {
  const { citation } = found;
  const cited = [citation.source, citation.heading, citation.page === null ? null : `page ${citation.page}`].filter((one) => one !== null);
  return [
    why === null ? null : legs(why),
    ...(why?.legs ?? []).filter((leg) => leg.terms.length > 0).map(terms),
    h(
      "dl",
      { class: "facts" },
      [
        ["Chunk", h("code", {}, found.id)],
        ["Cited as", cited.length > 0 ? cited.join(", ") : "no source"],
        ["Characters", `${citation.start} to ${citation.end}`],
        ...Object.entries(found.metadata).map(([name, value]) => [name, plain(value, 400)]),
      ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
    h("details", {}, h("summary", {}, "The whole chunk"), h("p", { class: "whole-text" }, found.text)),
  ].filter((one) => one !== null);
}

function legs(why) {
  const rows = why.legs.map((leg) => [leg.leg, `#${leg.rank}`, digits(leg.raw_score), digits(leg.normalized_score), digits(leg.weight), digits(leg.contribution)]);
  return h(
    "table",
    {},
    h("caption", {}, `${digits(why.score)} by ${why.fusion}`),
    h("thead", {}, h("tr", {}, ["leg", "rank", "raw", "normalised", "weight", "gives"].map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one) => h("td", {}, one))))),
  );
}

function terms(leg) {
  const most = Math.max(...leg.terms.map((one) => one.score));
  return h(
    "table",
    {},
    h("caption", {}, "What each word gives to BM25"),
    h("thead", {}, h("tr", {}, ["word", "field", "in it", "in documents", "idf", "gives"].map((one) => h("th", { scope: "col" }, one)))),
    h(
      "tbody",
      {},
      leg.terms.map((one) =>
        h(
          "tr",
          {},
          h("td", {}, one.term),
          h("td", {}, one.field),
          h("td", {}, one.term_frequency),
          h("td", {}, one.document_frequency),
          h("td", {}, digits(one.idf)),
          h("td", { class: "with-bar", style: { "--share": String(one.score / most) } }, digits(one.score)),
        ),
      ),
    ),
  );
}
