// Paints points, and lets them be moved: drag or arrow keys, wheel, pinch, + and -, 0 for all of it. Tells which one is pointed at.

import { h } from "../dom.js";
import { colour } from "../theme.js";
import { grid } from "./grid.js";

const ZOOM_MAX = 80;
const REACH_PIXELS = 12;
const PAN_STEP = 60;

const dotOf = (count) => (count > 20_000 ? 1.5 : count > 5_000 ? 2 : count > 1_500 ? 3 : 5);

/** `pointed` is told the point under the pointer (or -1) and where that is on the canvas; `chosen` that it was clicked. */
export function canvas({ pointed, chosen }) {
  const element = h("canvas", { class: "map-canvas", tabindex: 0, role: "application", "aria-roledescription": "map" });
  const pen = element.getContext("2d");
  let points = { x: [], y: [], codes: [], colours: [] };
  let byColour = [];
  let nearest = () => -1;
  let hidden = new Set();
  let marks = [];
  let lit = -1;
  let size = { width: 0, height: 0, scale: 1 };
  let seen = { x: 0, y: 0, zoom: 1 };
  let isDue = false;
  const held = new Map();
  let moved = 0;

  const unit = () => (Math.min(size.width, size.height) / 2) * 0.95 * seen.zoom;
  const toPixels = (x, y) => [size.width / 2 + (x - seen.x) * unit(), size.height / 2 - (y - seen.y) * unit()];
  const fromPixels = (left, top) => [seen.x + (left - size.width / 2) / unit(), seen.y - (top - size.height / 2) / unit()];
  const isShown = (one) => !hidden.has(points.codes[one]);

  function soon() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      paint();
    });
  }

  function paint() {
    pen.setTransform(size.scale, 0, 0, size.scale, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    const dot = Math.min(7, dotOf(points.x.length) * Math.sqrt(seen.zoom));
    const step = unit();
    const [left, top] = [size.width / 2 - seen.x * step - dot / 2, size.height / 2 + seen.y * step - dot / 2];
    pen.globalAlpha = points.x.length > 5_000 && seen.zoom < 3 ? 0.7 : 0.9;
    byColour.forEach((some, code) => {
      if (hidden.has(code)) return;
      pen.fillStyle = points.colours[code];
      for (const one of some) {
        const [x, y] = [left + points.x[one] * step, top - points.y[one] * step];
        if (x > -dot && x < size.width && y > -dot && y < size.height) pen.fillRect(x, y, dot, dot);
      }
    });
    pen.globalAlpha = 1;
    for (const mark of marks) paintMark(mark);
    if (lit >= 0) ring(toPixels(points.x[lit], points.y[lit]), dot + 3, colour("--ink"));
  }

  function paintMark({ x, y, rank }) {
    const at = toPixels(x, y);
    if (rank === null) {
      pen.strokeStyle = colour("--surface");
      pen.lineWidth = 6;
      cross(at, 9);
      pen.strokeStyle = colour("--bad");
      pen.lineWidth = 3;
      cross(at, 9);
      return;
    }
    ring(at, 7, colour("--bad"));
    pen.font = "600 11px system-ui";
    pen.lineWidth = 3;
    pen.strokeStyle = colour("--surface");
    pen.strokeText(String(rank), at[0] + 9, at[1] - 5);
    pen.fillStyle = colour("--ink");
    pen.fillText(String(rank), at[0] + 9, at[1] - 5);
  }

  function ring([x, y], radius, stroke) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.strokeStyle = stroke;
    pen.lineWidth = 2;
    pen.stroke();
  }

  function cross([x, y], arm) {
    pen.beginPath();
    pen.moveTo(x - arm, y);
    pen.lineTo(x + arm, y);
    pen.moveTo(x, y - arm);
    pen.lineTo(x, y + arm);
    pen.stroke();
  }

  function zoomed(by, [left, top]) {
    const [x, y] = fromPixels(left, top);
    seen.zoom = Math.max(0.6, Math.min(ZOOM_MAX, seen.zoom * by));
    const [nowX, nowY] = fromPixels(left, top);
    seen = { ...seen, x: seen.x + x - nowX, y: seen.y + y - nowY };
    soon();
  }

  function panned(left, top) {
    seen = { ...seen, x: seen.x - left / unit(), y: seen.y + top / unit() };
    soon();
  }

  const at = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  function look(event) {
    const place = at(event);
    const found = nearest(...fromPixels(...place), REACH_PIXELS / unit(), isShown);
    if (found !== lit) {
      lit = found;
      soon();
    }
    pointed(found, found < 0 ? place : toPixels(points.x[found], points.y[found]));
  }

  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    held.set(event.pointerId, at(event));
    moved = 0;
  });
  element.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (before === undefined) return look(event);
    const now = at(event);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (held.size === 2) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1];
      const by = Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(1, Math.hypot(before[0] - other[0], before[1] - other[1]));
      zoomed(by, [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    }
    panned((now[0] - before[0]) / held.size, (now[1] - before[1]) / held.size);
    held.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, (event) => {
      if (!held.delete(event.pointerId) || end === "pointercancel" || moved > 4) return;
      look(event);
      chosen(lit);
    });
  }
  element.addEventListener("pointerleave", () => {
    lit = -1;
    pointed(-1, [0, 0]);
    soon();
  });
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomed(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0016)), at(event));
  }, { passive: false });
  element.addEventListener("keydown", (event) => {
    const middle = [size.width / 2, size.height / 2];
    const act = {
      ArrowLeft: () => panned(PAN_STEP, 0),
      ArrowRight: () => panned(-PAN_STEP, 0),
      ArrowUp: () => panned(0, PAN_STEP),
      ArrowDown: () => panned(0, -PAN_STEP),
      "+": () => zoomed(1.4, middle),
      "=": () => zoomed(1.4, middle),
      "-": () => zoomed(1 / 1.4, middle),
      0: whole,
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
  new ResizeObserver(([entry]) => {
    size = { width: entry.contentRect.width, height: entry.contentRect.height, scale: devicePixelRatio };
    element.width = Math.round(size.width * size.scale);
    element.height = Math.round(size.height * size.scale);
    paint();
  }).observe(element);

  function whole() {
    seen = { x: 0, y: 0, zoom: 1 };
    soon();
  }

  return {
    element,
    whole,
    zoom: (by) => zoomed(by, [size.width / 2, size.height / 2]),
    show(found, { codes, colours }, told) {
      points = { x: Float32Array.from(found.x), y: Float32Array.from(found.y), codes, colours };
      byColour = colours.map(() => []);
      codes.forEach((code, one) => byColour[code].push(one));
      nearest = grid(points.x, points.y);
      lit = -1;
      element.setAttribute("aria-label", told);
      soon();
    },
    hide(codes) {
      hidden = codes;
      soon();
    },
    mark(some) {
      marks = some;
      soon();
    },
    /** Where a point is on the canvas, for who wants to point at it. */
    placeOf: (one) => toPixels(points.x[one], points.y[one]),
    light(one) {
      lit = one;
      soon();
    },
  };
}
