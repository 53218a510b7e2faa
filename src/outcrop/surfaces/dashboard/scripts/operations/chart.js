// A line chart of the last ten minutes. Under the pointer, and by the arrow keys, it tells the values of a moment.

import { h, refill, svg } from "../dom.js";

const WIDTH = 560;
const HEIGHT = 150;
const PAD = { left: 52, right: 10, top: 8, bottom: 20 };
const SPAN_MS = 600_000;
const GAP_MS = 30_000;

/** `series` are [name, key, class] of the figures; `told` writes a value. */
export function chart(title, series, told, { least = 0 } = {}) {
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "img" });
  const values = h("p", { class: "small legend" });
  let points = [];
  let at = null;

  function show(figures) {
    points = figures;
    const found = points.flatMap((one) => series.map(([, key]) => one[key])).filter((one) => one !== null);
    const top = niceAbove(Math.max(least, ...found));
    const end = points.at(-1)?.at ?? Date.now();
    const x = (time) => PAD.left + (1 - (end - time) / SPAN_MS) * (WIDTH - PAD.left - PAD.right);
    const y = (value) => HEIGHT - PAD.bottom - (value / top) * (HEIGHT - PAD.top - PAD.bottom);
    refill(
      drawing,
      [0, 0.5, 1].map((part) => [
        svg("line", { class: part === 0 ? "axis" : "grid", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(top * part), y2: y(top * part) }),
        svg("text", { x: PAD.left - 6, y: y(top * part) + 4, "text-anchor": "end" }, told(top * part)),
      ]),
      svg("text", { x: PAD.left, y: HEIGHT - 5 }, "10 minutes ago"),
      svg("text", { x: WIDTH - PAD.right, y: HEIGHT - 5, "text-anchor": "end" }, "now"),
      series.map(([, key, kind]) => svg("path", { class: `line ${kind}`, d: path(points, key, x, y) })),
      at === null ? null : svg("line", { class: "moment", x1: x(at), x2: x(at), y1: PAD.top, y2: HEIGHT - PAD.bottom }),
    );
    say();
  }

  function say() {
    const shown = at === null ? points.at(-1) : points.find((one) => one.at === at);
    const when = at === null || !shown ? "now" : new Date(at).toLocaleTimeString();
    refill(
      values,
      series.map(([name, key, kind]) => h("span", {}, h("i", { class: `key ${kind}` }), `${name} `, h("b", {}, shown?.[key] === null || shown === undefined ? "–" : told(shown[key])))),
      h("span", {}, when),
    );
    drawing.setAttribute("aria-label", `${title}: ${values.textContent}`);
  }

  function look(place) {
    at = points[Math.max(0, Math.min(points.length - 1, place))]?.at ?? null;
    show(points);
  }

  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const time = (points.at(-1)?.at ?? 0) - SPAN_MS * (1 - (((event.clientX - box.left) / box.width) * WIDTH - PAD.left) / (WIDTH - PAD.left - PAD.right));
    if (points.length > 0) look(nearest(points, time));
  });
  drawing.addEventListener("pointerleave", () => {
    at = null;
    show(points);
  });
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined || points.length === 0) return;
    event.preventDefault();
    look((at === null ? points.length - 1 : points.findIndex((one) => one.at === at)) + step);
  });
  return { element: h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, title)), drawing, values), show };
}

/** Broken where nothing was measured, or nobody looked. */
function path(points, key, x, y) {
  let drawn = "";
  let before = null;
  for (const one of points) {
    if (one[key] !== null) {
      const joined = before !== null && one.at - before < GAP_MS;
      drawn += `${joined ? "L" : "M"}${x(one.at).toFixed(1)} ${y(one[key]).toFixed(1)}${joined ? "" : "h0.01"}`;
      before = one.at;
    } else before = null;
  }
  return drawn;
}

const nearest = (points, time) => points.reduce((best, one, place) => (Math.abs(one.at - time) < Math.abs(points[best].at - time) ? place : best), 0);

/** The next of 1, 2, 5, 10, ... at or above a value. */
export function niceAbove(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
}
