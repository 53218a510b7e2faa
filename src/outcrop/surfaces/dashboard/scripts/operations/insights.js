// What the query log tells: advice, slow queries, queries that found nothing, what each leg and each filter brings.

import { ask } from "../api.js";
import { h, refill } from "../dom.js";
import { bytes, clipped, counted, milliseconds, moment, percent, whole } from "../format.js";
import { failure } from "../notices.js";

const DAYS = [1, 7, 30];
const LISTED = 10;
const QUERY_LENGTH = 80;

/** Fill a place with it. */
export async function insights(place, path, collection, days = 7) {
  try {
    const found = await ask(path, { query: { days } });
    refill(place, shown(found, (chosen) => insights(place, path, collection, chosen)));
  } catch (error) {
    refill(place, error.status === 403 ? notAllowed() : failure(error));
  }
}

const notAllowed = () => h("p", { class: "small" }, "What is searched for is shown to keys of scope admin.");

function shown(found, again) {
  const chosen = h(
    "select",
    { id: "insight-days", on: { change: (event) => again(Number(event.target.value)) } },
    DAYS.map((days) => h("option", { value: days, selected: days === found.days }, counted(days, "day"))),
  );
  const head = h("div", { class: "row apart" }, h("h2", {}, "What is searched for"), h("div", { class: "row" }, h("label", { class: "small", for: "insight-days" }, "Of the last"), chosen));
  if (found.searches === 0) return h("section", { class: "panel", "aria-label": "Insights" }, head, h("p", { class: "small" }, empty(found)));
  return h("section", { class: "panel stack", "aria-label": "Insights" }, head, totals(found), advice(found), slowest(found), asked(found), nothing(found), found.silences.map(silent), filters(found));
}

const empty = (found) => (found.logging === null ? "No search of these days is in the query log." : `No search of these days is in the query log. This server does not log: ${found.logging}.`);

function totals(found) {
  const all = `${counted(found.searches, "search", "searches")} logged${found.estimated === found.searches ? "" : `, which stand for about ${whole(found.estimated)}`}`;
  const shares = `${share(found.zero_results, found.searches)} found nothing, ${share(found.cached, found.searches)} came from the cache`;
  return h("p", { class: "small" }, `${all}, from ${moment(found.since)} to ${moment(found.until)}; ${shares}. The log has ${bytes(found.log_bytes)}.`);
}

function advice(found) {
  if (found.advice.length === 0) return h("p", {}, "Nothing to change that the numbers carry.");
  return h(
    "ol",
    { class: "advice" },
    found.advice.map((one) => h("li", { data: { rule: one.rule } }, h("p", {}, one.finding), h("p", {}, h("strong", {}, one.change)))),
  );
}

const slowest = (found) =>
  table(
    "Slowest",
    ["query", "took", "most of it", "hits", "when"],
    found.slowest.slice(0, LISTED).map((one) => [query(one), milliseconds(one.total_ms), `${one.step} ${milliseconds(one.step_ms)}`, whole(one.hits), moment(one.at)]),
  );

const asked = (found) =>
  table(
    "Asked most",
    ["query", "searches", "cached", "last"],
    found.frequent.slice(0, LISTED).map((one) => [query(one), whole(one.searches), whole(one.cached), moment(one.last_at)]),
  );

const nothing = (found) =>
  table(
    "Found nothing",
    ["query", "searches", "nothing", "last"],
    found.nothing_found.slice(0, LISTED).map((one) => [query(one), whole(one.searches), whole(one.matching), moment(one.last_at)]),
  );

const silent = (one) =>
  table(
    `Answered without the ${one.leg} leg: ${share(one.silent, one.searches)} of hybrid searches`,
    ["query", "searches", "without it", "last"],
    one.queries.slice(0, LISTED).map((asked) => [query(asked), whole(asked.searches), whole(asked.matching), moment(asked.last_at)]),
  );

const filters = (found) =>
  table(
    "Filters",
    ["filter", "searches", "nothing", "median", "95 % below", "x unfiltered", "selects", ""],
    found.filters.slice(0, LISTED).map((one) => [
      h("code", {}, one.where),
      whole(one.searches),
      whole(one.zero_results),
      one.times === null ? "–" : milliseconds(one.times.p50_ms),
      one.times === null ? "–" : milliseconds(one.times.p95_ms),
      one.ratio === null ? "–" : String(one.ratio),
      one.selected === null ? "many" : whole(one.selected),
      [...one.unknown_fields.map((field) => `no document has ${field}`), ...one.slow_fields.map((field) => `no column for ${field}`)].join("; "),
    ]),
  );

/** A table with a title, folded away; nothing where there are no rows. The first column names the row. */
function table(title, columns, rows) {
  if (rows.length === 0) return null;
  return h(
    "details",
    {},
    h("summary", {}, title),
    h(
      "div",
      { class: "scrolling" },
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((value) => h("td", {}, value))))),
      ),
    ),
  );
}

const query = ({ query: text, where }) => [text === null ? "(a vector)" : clipped(text, QUERY_LENGTH), where === null ? null : [" ", h("code", {}, where)]];

const share = (part, all) => (all === 0 ? "0 %" : percent(part / all));
