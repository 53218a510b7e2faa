// The time line: a row for each generation, its building and the times when it served. Time runs from left to right in even steps
// from one event to the next, because a week without a change would leave no room for the ten minutes in which all happened.

import { h, svg } from "../dom.js";
import { ago, moment, short } from "../format.js";

const STEP = 84;
const ROW = 30;
const LEFT = 46;
const TOP = 26;
const EVENTS_MAX = 40;

/** An SVG of the newest events. */
export function timeline(generations, history) {
  const events = [
    ...generations.map((one) => ({ at: one.created_at, kind: "built", number: one.number })),
    ...history.map((one) => ({ at: one.at, kind: one.kind, number: one.generation, forced: one.forced })),
  ]
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.kind === "built" ? -1 : 1))
    .slice(-EVENTS_MAX);
  const rows = generations.map((one) => one.number).reverse();
  const x = (place) => LEFT + place * STEP;
  const y = (number) => TOP + rows.indexOf(number) * ROW + ROW / 2;
  const width = LEFT + events.length * STEP + 60;
  const height = TOP + rows.length * ROW + 6;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": told(events) });
  drawing.append(...rows.map((number) => lane(number, y(number), width)), ...events.map((event, place) => tick(event, x(place), height)));
  drawing.append(...served(events, rows, { x, y, end: x(events.length) + 20 }));
  drawing.append(...events.filter((one) => rows.includes(one.number)).map((event) => sign(event, x(events.indexOf(event)), y(event.number))));
  const shown = h("div", { class: "timeline", tabindex: 0 }, drawing, h("p", { class: "small legend" }, ["built", "promoted", "rolled back to", "set aside, this one serves instead"].map((name, place) => h("span", {}, svg("svg", { width: 14, height: 12, "aria-hidden": "true" }, mark(["built", "promote", "rollback", "quarantine"][place], 7, 6)), name)), h("span", {}, "steps are even, whatever lies between")));
  requestAnimationFrame(() => shown.scrollTo({ left: shown.scrollWidth })); // the newest, where not all of it fits
  return shown;
}

function lane(number, y, width) {
  return svg("g", { class: "lane" }, svg("line", { x1: LEFT - 12, x2: width, y1: y, y2: y }), svg("text", { x: 4, y: y + 4 }, number));
}

function tick(event, x, height) {
  return svg("g", { class: "tick" }, svg("line", { x1: x, x2: x, y1: TOP - 6, y2: height - 4 }), svg("text", { x, y: 13, "text-anchor": "middle" }, short(event.at)));
}

/** The bars: who served from when to when. */
function served(events, rows, { x, y, end }) {
  const changes = events.map((event, place) => ({ ...event, place })).filter((event) => event.kind !== "built");
  return changes
    .map((change, index) => {
      if (!rows.includes(change.number)) return null; // it has been removed since
      const last = index === changes.length - 1;
      const to = last ? end : x(changes[index + 1].place);
      return svg(
        "rect",
        { class: last ? "served now" : "served", x: x(change.place), y: y(change.number) - 5, width: to - x(change.place), height: 10, rx: 3 },
        svg("title", {}, `generation ${change.number} served from ${moment(change.at)}${last ? " on" : ` to ${moment(changes[index + 1].at)}`}`),
      );
    })
    .filter((one) => one !== null);
}

const sign = (event, x, y) => svg("g", { class: "event" }, mark(event.kind, x, y), svg("title", {}, `${event.kind} ${event.number}, ${moment(event.at)}${event.forced ? ", forced" : ""}`));

/** Told apart by their shapes as well as by their colours. */
function mark(kind, x, y) {
  if (kind === "built") return svg("circle", { class: "mark built", cx: x, cy: y, r: 4 });
  if (kind === "promote") return svg("path", { class: "mark promote", d: `M${x - 5} ${y + 4}h10l-5 -9z` });
  if (kind === "rollback") return svg("path", { class: "mark rollback", d: `M${x - 5} ${y - 4}h10l-5 9z` });
  return svg("path", { class: "mark quarantine", d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` });
}

const told = (events) => `Time line: ${events.map((one) => `${one.kind} ${one.number} ${ago(one.at)}`).join(", ")}`;
