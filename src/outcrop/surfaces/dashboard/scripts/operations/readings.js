// The last ten minutes of the server's metrics, kept in the page while it is open, also when another view is looked at.

import { buckets, growth, quantile } from "./prometheus.js";

const KEPT_MS = 600_000;
const SEARCHES = "outcrop_search_duration_seconds";
export const STEPS = ["embed", "lexical", "vector", "fuse", "fetch"];

const kept = [];

export function add(reading, at = Date.now()) {
  kept.push({ at, reading });
  while (kept.length > 0 && kept[0].at < at - KEPT_MS) kept.shift();
}

/** Forget all: it is another server now, or another key. */
export function forget() {
  kept.length = 0;
}

export const newest = () => kept.at(-1)?.reading ?? null;

/**
 * What happened in the `span` before each reading: [{at, ...figures}]. Shares and percentiles are null where nothing was asked.
 * `collection` narrows it to one.
 */
export function figures(span, collection = null) {
  return kept
    .map((one, place) => [since(place, span), one])
    .filter(([before, one]) => before !== null && before !== one)
    .map(([before, one]) => ({ at: one.at, ...between(before, one, collection) }));
}

function since(place, span) {
  const wanted = kept[place].at - span;
  const from = kept.findIndex((one) => one.at >= wanted);
  return from >= 0 && from < place ? kept[from] : place > 0 ? kept[place - 1] : null;
}

/** The figures of the time between two readings. */
export function between(before, after, collection = null) {
  const seconds = (after.at - before.at) / 1000;
  const [a, b] = [before.reading, after.reading];
  const of = collection === null ? {} : { collection };
  const searched = buckets(a, b, SEARCHES, of);
  const count = searched.at(-1)?.[1] ?? 0;
  const percentile = (share) => {
    const found = quantile(searched, share);
    return found === null ? null : found * 1000;
  };
  const share = (name) => (count > 0 ? growth(a, b, name, of) / count : null);
  return {
    requests: growth(a, b, "outcrop_http_requests_total") / seconds,
    errors: growthOfErrors(a, b) / seconds,
    searches: count / seconds,
    p50: percentile(0.5),
    p95: percentile(0.95),
    p99: percentile(0.99),
    cached: share("outcrop_searches_cached_total"),
    degraded: share("outcrop_searches_degraded_total"),
    steps: Object.fromEntries(STEPS.map((step) => [step, mean(a, b, { ...of, step })])),
  };
}

function growthOfErrors(a, b) {
  const statuses = new Set((b.get("outcrop_http_requests_total") ?? []).map(({ labels }) => labels.status).filter((one) => one >= "500" || one === "429"));
  return [...statuses].reduce((total, status) => total + growth(a, b, "outcrop_http_requests_total", { status }), 0);
}

/** The mean milliseconds of a step, null where none ran. */
function mean(a, b, wanted) {
  const name = "outcrop_search_step_duration_seconds";
  const count = growth(a, b, `${name}_count`, wanted);
  return count > 0 ? (growth(a, b, `${name}_sum`, wanted) / count) * 1000 : null;
}
