// What was tried when a vector index was chosen: recall over the time of a search, each kind with a line of its own.

import { h, svg } from "../dom.js";
import { digits } from "../format.js";

const WIDTH = 460;
const HEIGHT = 180;
const PAD = { left: 46, right: 12, top: 10, bottom: 30 };

export function curve(choice) {
  const points = choice.curve;
  const about = h("p", { class: "small" }, `Recall ${digits(choice.recall)}, wanted ${digits(choice.target_recall)}${choice.met ? "" : ": not reached"}; least ${choice.optimize_for}; measured on ${choice.queries}.`);
  if (points.length === 0) return about;
  const times = points.map((one) => one.microseconds);
  const [least, most] = [Math.min(...times), Math.max(...times)];
  const low = Math.min(choice.target_recall, ...points.map((one) => one.recall)) - 0.01;
  const scale = Math.log(most / least) || 1;
  const x = (time) => PAD.left + (Math.log(time / least) / scale) * (WIDTH - PAD.left - PAD.right);
  const y = (recall) => PAD.top + ((1 - recall) / (1 - low || 1)) * (HEIGHT - PAD.top - PAD.bottom);
  const kinds = [...new Set(points.map((one) => one.kind))];
  const drawing = svg(
    "svg",
    { class: "curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Recall of ${kinds.join(", ")} over the time of a search` },
    svg("line", { class: "axis", x1: PAD.left, x2: WIDTH - PAD.right, y1: HEIGHT - PAD.bottom, y2: HEIGHT - PAD.bottom }),
    svg("line", { class: "goal", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(choice.target_recall), y2: y(choice.target_recall) }),
    svg("text", { x: PAD.left - 6, y: y(choice.target_recall) + 4, "text-anchor": "end" }, digits(choice.target_recall)),
    svg("text", { x: PAD.left - 6, y: y(1) + 4, "text-anchor": "end" }, "1"),
    svg("text", { x: PAD.left, y: HEIGHT - 12 }, `${digits(least)} µs`),
    svg("text", { x: WIDTH - PAD.right, y: HEIGHT - 12, "text-anchor": "end" }, `${digits(most)} µs a search`),
    kinds.map((kind, place) => {
      const own = points.filter((one) => one.kind === kind).sort((a, b) => a.microseconds - b.microseconds);
      return svg(
        "g",
        { class: `series series-${place % 4}` },
        svg("polyline", { points: own.map((one) => `${x(one.microseconds)},${y(one.recall)}`).join(" ") }),
        own.map((one) =>
          svg("circle", { cx: x(one.microseconds), cy: y(one.recall), r: 3.5 }, svg("title", {}, `${one.kind} ${JSON.stringify(one.parameters)}: recall ${digits(one.recall)}, ${digits(one.microseconds)} µs`)),
        ),
      );
    }),
  );
  return [about, drawing, h("p", { class: "small legend" }, kinds.map((kind, place) => h("span", {}, h("i", { class: `key series-${place % 4}` }), kind)))];
}
