// How the server does: latency, throughput, caches, what is degraded; per collection; and what users ask for in vain.

import { ask, of } from "../api.js";
import { h, refill } from "../dom.js";
import { bytes, counted, digits, milliseconds, percent, whole } from "../format.js";
import { failure } from "../notices.js";
import { chart } from "./chart.js";
import { insights } from "./insights.js";
import { parse, sum } from "./prometheus.js";
import { STEPS, add, figures, newest } from "./readings.js";

const EVERY_MS = 5_000;
const SPAN_MS = 30_000;

const told = (value, write) => (value === null || value === undefined ? "–" : write(value));
const rate = (value) => `${digits(value)}/s`;

export function mount(root, { collection, stats }) {
  const whose = h("select", { id: "whose" }, h("option", { value: "" }, "all collections"), h("option", { value: collection }, collection));
  const live = h("button", { type: "button", "aria-pressed": "true" }, "Live");
  const now = h("div", { class: "figures panel", "aria-label": "The last thirty seconds" });
  const problem = h("div", {});
  const table = h("div", { class: "panel scrolling" });
  const charts = [
    chart("Latency of searches", [["p50", "p50", "series-0"], ["p95", "p95", "series-1"], ["p99", "p99", "series-2"]], milliseconds),
    chart("Throughput", [["searches", "searches", "series-0"], ["requests", "requests", "series-3"], ["errors", "errors", "line-bad"]], rate),
    chart("Cached and degraded", [["from the cache", "cached", "series-3"], ["degraded", "degraded", "line-bad"]], (share) => percent(share, 0), { least: 1 }),
  ];
  const steps = h("figure", { class: "panel" });
  const asked = h("div", { class: "stack" });
  refill(
    root,
    h(
      "div",
      { class: "stack" },
      h("div", { class: "row apart" }, h("div", { class: "row" }, h("label", { class: "small", for: "whose" }, "Searches of"), whose), h("div", { class: "row" }, h("span", { class: "small" }, "read every 5 seconds, kept for 10 minutes in this page"), live)),
      problem,
      now,
      h("div", { class: "charts" }, charts.map((one) => one.element), steps),
      table,
      asked,
    ),
  );
  let timer = null;
  let isLeft = false;

  async function read() {
    clearTimeout(timer);
    try {
      add(parse(await ask("metrics")));
      refill(problem);
    } catch (error) {
      refill(problem, error.status === 403 ? limited(error, stats) : failure(error));
    }
    if (isLeft) return;
    show();
    if (live.getAttribute("aria-pressed") === "true") timer = setTimeout(read, EVERY_MS);
  }

  function show() {
    const found = figures(SPAN_MS, whose.value || null);
    const last = found.at(-1);
    refill(now, last === undefined ? h("p", { class: "small" }, "The first figures come with the second reading, in 5 seconds.") : summary(last));
    for (const one of charts) one.show(found);
    refill(steps, h("figcaption", {}, h("h2", {}, "Where the time goes")), stepBars(last));
    refill(table, h("h2", {}, "Collections"), collections(newest()));
  }

  live.addEventListener("click", () => {
    const on = live.getAttribute("aria-pressed") !== "true";
    live.setAttribute("aria-pressed", String(on));
    live.textContent = on ? "Live" : "Paused";
    if (on) read();
    else clearTimeout(timer);
  });
  whose.addEventListener("change", show);
  let begun = false;
  return {
    show() {
      if (begun) return;
      begun = true;
      read();
      insights(asked, of(collection, "insights"), collection);
    },
    leave() {
      isLeft = true;
      clearTimeout(timer);
    },
  };
}

function summary(last) {
  const under = sum(newest(), "outcrop_http_requests_under_way");
  return [
    ["searches", rate(last.searches)],
    ["median", told(last.p50, milliseconds)],
    ["95 % below", told(last.p95, milliseconds)],
    ["99 % below", told(last.p99, milliseconds)],
    ["from the cache", told(last.cached, percent)],
    ["degraded", told(last.degraded, percent)],
    ["requests", rate(last.requests)],
    ["under way", told(under, whole)],
  ].map(([name, value]) => h("div", { class: "figure" }, h("span", { class: "figure-value" }, value), h("span", { class: "small" }, name)));
}

function stepBars(last) {
  const ran = STEPS.filter((step) => last?.steps[step] !== null && last !== undefined);
  if (ran.length === 0) return h("p", { class: "small" }, "No search was run in the last thirty seconds.");
  const most = Math.max(...ran.map((step) => last.steps[step]));
  return h(
    "div",
    { class: "bars" },
    ran.map((step) =>
      h(
        "div",
        { class: "bar" },
        h("span", { class: "bar-name" }, step),
        h("span", { class: "bar-track" }, h("span", { class: `bar-fill step ${step}`, style: { width: `${(last.steps[step] / most) * 100}%` } })),
        h("span", { class: "bar-value" }, milliseconds(last.steps[step])),
      ),
    ),
    h("p", { class: "small" }, "The mean of the searches that were run; the two legs run side by side."),
  );
}

const COLUMNS = [
  ["documents", "outcrop_documents", whole],
  ["chunks", "outcrop_chunks", whole],
  ["on disk", "outcrop_size_bytes", bytes],
  ["journal", "outcrop_journal_bytes", bytes],
  ["last write", "outcrop_sequence", whole],
  ["index lag", "outcrop_index_lag_documents", whole],
  ["live recall", "outcrop_live_recall", digits],
  ["degraded", "outcrop_degraded", (value) => (value > 0 ? "yes" : "no")],
  ["breaker", "outcrop_breaker_open", (value) => (value > 0 ? "open" : "closed")],
];

function collections(reading) {
  const names = (reading?.get("outcrop_documents") ?? []).map(({ labels }) => labels.collection);
  if (names.length === 0) return h("p", { class: "small" }, "Nothing is known yet.");
  const shown = COLUMNS.filter(([, name]) => reading.has(name));
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "collection"), shown.map(([title]) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), shown.map(([, metric, write]) => h("td", {}, told(sum(reading, metric, { collection: name }), write)))))),
  );
}

/** A key of some collections may not read the metrics of all: then what its own collection tells. */
function limited(error, stats) {
  return h(
    "div",
    { class: "notice warning" },
    h("p", {}, error.detail, " Metrics are of the whole server."),
    h("p", {}, `${counted(stats.document_count, "document")}, ${counted(stats.index_lag, "chunk")} in no index part yet, journal ${bytes(stats.journal_bytes)}, ${stats.degraded === null ? "not degraded" : stats.degraded}.`),
  );
}
