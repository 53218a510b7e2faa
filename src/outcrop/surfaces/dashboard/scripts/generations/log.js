// Every change of the active generation, the newest first.

import { h } from "../dom.js";
import { moment } from "../format.js";
import { report } from "./report.js";

const WORDS = { promote: "promoted", rollback: "rolled back to", quarantine: "put in the place of a damaged one" };

export function log(history) {
  if (history.length === 0) return h("p", { class: "small" }, "Nothing was ever promoted.");
  return h(
    "ul",
    { class: "log" },
    [...history].reverse().map((one) =>
      h(
        "li",
        {},
        h("b", {}, `Generation ${one.generation} `),
        WORDS[one.kind] ?? one.kind,
        one.previous === null ? "" : `, before it ${one.previous}`,
        one.forced ? h("span", { class: "tag bad" }, "forced") : "",
        h("span", { class: "small" }, ` ${moment(one.at)}, by ${one.actor}`),
        one.gate === null ? null : h("details", {}, h("summary", { class: "small" }, one.gate.passed === false ? "its gate failed" : "its gate passed"), report(one.gate)),
      ),
    ),
  );
}
