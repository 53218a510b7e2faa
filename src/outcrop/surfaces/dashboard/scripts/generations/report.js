// What a gate found, check by check.

import { h } from "../dom.js";

export function report(gate) {
  const checks = gate.checks ?? [];
  if (checks.length === 0) return h("p", { class: "small" }, "No check was asked.");
  return h(
    "table",
    { class: "report" },
    h("thead", {}, h("tr", {}, ["", "check", "limit", "found"].map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      checks.map((one) =>
        h("tr", { class: one.passed ? "passed" : "failed" }, h("td", {}, one.passed ? "✓ passed" : "✕ failed"), h("td", {}, one.name), h("td", {}, one.limit), h("td", {}, one.found)),
      ),
    ),
  );
}
