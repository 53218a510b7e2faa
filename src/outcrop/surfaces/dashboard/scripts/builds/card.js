// One build: how far it is, or how it ended.

import { h } from "../dom.js";
import { ago, counted, digits, moment, percent, seconds, whole } from "../format.js";
import { report } from "../generations/report.js";

const KINDS = { done: "good", failed: "bad", interrupted: "bad", running: "active", cancelling: "active" };

export function buildCard(build, cancel) {
  const isUnderWay = build.ended_at === null;
  const took = build.ended_at === null ? null : (new Date(build.ended_at) - new Date(build.started_at)) / 1000;
  return h(
    "article",
    { class: "panel build", data: { state: build.state }, "aria-label": `Build of ${build.source}` },
    h(
      "header",
      { class: "row apart" },
      h(
        "div",
        { class: "row" },
        h("h2", {}, build.generation === null ? "Build" : `Generation ${build.generation}`),
        h("span", { class: `tag ${KINDS[build.state] ?? ""}` }, build.state),
        build.promoted ? h("span", { class: "tag good" }, "promoted") : null,
        h("span", { class: "small", title: moment(build.started_at) }, `from ${build.source}, begun ${ago(build.started_at)}${took === null ? "" : `, took ${seconds(took)}`}`),
      ),
      cancel,
    ),
    isUnderWay ? progress(build) : null,
    h("p", { class: "small" }, told(build).join(" · ")),
    (build.skipped_examples ?? []).length === 0 ? null : h("details", {}, h("summary", {}, "Records that were skipped"), h("ul", { class: "log" }, build.skipped_examples.map((one) => h("li", {}, one)))),
    build.problem === null ? null : h("div", { class: "notice failure" }, h("strong", {}, build.problem.title), h("p", {}, build.problem.detail ?? "")),
    build.gate === null ? null : h("details", { open: build.gate.passed === false }, h("summary", {}, build.gate.passed ? "Its gate passed" : "Its gate refused"), report(build.gate)),
  );
}

function progress(build) {
  const share = build.total ? Math.min(1, build.done / build.total) : null;
  return h(
    "div",
    {},
    h("progress", { max: 1, value: share, "aria-label": "How far it is" }),
    h(
      "p",
      { class: "row small" },
      h("b", {}, build.stage ?? "begins"),
      share === null ? null : h("span", {}, `${percent(share, 0)}, ${whole(build.done)} of ${whole(build.total)} ${build.unit ?? ""}`),
      build.rate_per_second > 0 ? h("span", {}, `${digits(build.rate_per_second)} a second`) : null,
      build.slowest ? h("span", {}, `${build.slowest} sets the pace`) : null,
      build.remaining_seconds ? h("span", {}, `about ${seconds(build.remaining_seconds)} left`) : null,
    ),
  );
}

function told(build) {
  return [
    counted(build.documents, "document"),
    counted(build.chunks, "chunk"),
    build.reused > 0 ? `${whole(build.reused)} taken from an interrupted build` : null,
    build.skipped > 0 ? `${counted(build.skipped, "record")} skipped` : null,
    build.resumable && build.ended_at !== null ? "the same build, begun again, goes on from there" : null,
  ].filter((one) => one !== null);
}
