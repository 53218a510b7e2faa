// Where the time of a search went: a bar of its steps. The two legs run side by side, so they stand one above the other.

import { h } from "../dom.js";
import { digits, milliseconds } from "../format.js";

const STEPS = ["embed", "lexical", "vector", "fuse", "fetch"];

/** `took` is the answer's took_ms: a step that did not run is null. */
export function timing(took) {
  const ran = STEPS.filter((step) => took[step] !== null);
  const together = took.lexical !== null && took.vector !== null;
  const legs = together ? Math.max(took.lexical, took.vector) : (took.lexical ?? took.vector ?? 0);
  const whole = Math.max((took.embed ?? 0) + legs + (took.fuse ?? 0) + (took.fetch ?? 0), 0.001);
  const part = (step, share = took[step] / whole) =>
    h("span", { class: `step ${step}`, title: `${step}: ${milliseconds(took[step])}`, style: { "flex-grow": String(Math.max(share, 0.004)) } });
  const both = h(
    "span",
    { class: "legs", style: { "flex-grow": String(legs / whole) } },
    ["lexical", "vector"].filter((leg) => took[leg] !== null).map((leg) => h("span", { class: `step ${leg}`, title: `${leg}: ${milliseconds(took[leg])}`, style: { width: `${(took[leg] / Math.max(legs, 0.001)) * 100}%` } })),
  );
  return h(
    "div",
    { class: "timing" },
    h("div", { class: "timing-bar", "aria-hidden": "true" }, took.embed === null ? null : part("embed"), both, took.fuse === null ? null : part("fuse"), took.fetch === null ? null : part("fetch")),
    h("p", { class: "small timing-steps" }, ran.map((step) => h("span", {}, h("i", { class: `key ${step}`, "aria-hidden": "true" }), `${step} ${short(took[step])}`)), "ms"),
  );
}

const short = (number) => (number < 10 ? number.toFixed(2) : digits(number));
