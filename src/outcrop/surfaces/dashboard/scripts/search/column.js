// One of the three ways to search: its hits, how long each step took, and the code that does the same.

import { h, refill } from "../dom.js";
import { counted, milliseconds, whole } from "../format.js";
import { failure, loading, warning } from "../notices.js";
import { showCode } from "./code.js";
import { hit } from "./hit.js";
import { timing } from "./timing.js";

const ABOUT = {
  lexical: "BM25 over the text",
  vector: "nearest vectors",
  hybrid: "both, fused",
};

export function column(mode, title, { collection, wantsKey }) {
  const count = h("span", { class: "count" });
  const code = h("button", { type: "button", class: "quiet small", hidden: true, "aria-label": `${title}: as code` }, "Code");
  const body = h("div", { class: "column-body" });
  let last = null;
  code.addEventListener("click", () => showCode(last, { collection, wantsKey }));
  const element = h(
    "section",
    { class: `column ${mode}`, data: { mode }, "aria-label": title },
    h("header", {}, h("h2", {}, title), h("span", { class: "small about" }, ABOUT[mode]), count, code),
    body,
  );

  const clear = () => {
    refill(count);
    code.hidden = true;
  };

  return {
    mode,
    element,
    rest(text = mode === "lexical" ? "Type a query and press Enter." : "") {
      clear();
      refill(body, h("p", { class: "small" }, text));
    },
    wait() {
      element.setAttribute("aria-busy", "true");
      if (body.querySelector(".hit") === null) refill(body, loading("Searching"));
    },
    fail(error, again) {
      element.removeAttribute("aria-busy");
      clear();
      refill(body, failure(error, again));
    },
    show({ answer, body: asked, tookMs }, rankings) {
      element.removeAttribute("aria-busy");
      last = asked;
      code.hidden = false;
      refill(count, `${whole(answer.hits.length)} of ${whole(answer.total_candidates)}`);
      refill(
        body,
        about(answer, tookMs),
        answer.warnings.map((one) => warning(one)),
        answer.degraded === null ? null : warning("Degraded: ", answer.degraded.reason),
        answer.hits.length === 0 ? nothing(asked) : hits(answer, mode, rankings),
        origin(answer),
      );
    },
  };
}

function hits(answer, mode, rankings) {
  const best = answer.hits[0].score;
  return h(
    "ol",
    { class: "hits", start: answer.hits[0].rank },
    answer.hits.map((one) => hit(one, { mode, best, rankings })),
  );
}

const nothing = (asked) =>
  h(
    "p",
    { class: "notice empty" },
    h("strong", {}, "No hits"),
    asked.where ? " The filter may leave nothing: search without it to see." : " No document fits; try other words.",
  );

function about(answer, tookMs) {
  return h(
    "div",
    { class: "answer-about" },
    h("p", { class: "small" }, h("b", {}, milliseconds(answer.took_ms.total)), answer.cached ? " from the cache" : "", ` · ${milliseconds(tookMs)} with the network`),
    answer.cached ? h("p", { class: "small" }, "Nothing was searched: it was asked before.") : timing(answer.took_ms),
  );
}

function origin(answer) {
  const engine = answer.engine === "builtin" ? "the built-in engine" : answer.engine;
  const lag = answer.index_lag > 0 ? `, ${counted(answer.index_lag, "chunk")} searched one by one` : "";
  return h("p", { class: "small origin" }, `From generation ${answer.generation} as of write ${whole(answer.sequence)}, by ${engine}${lag}.`);
}
