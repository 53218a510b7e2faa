// The search playground: one query, asked in three ways side by side.

import { answered, of, wasGivenUp } from "../api.js";
import { h, refill } from "../dom.js";
import { counted } from "../format.js";
import { announce, empty } from "../notices.js";
import { go, here } from "../place.js";
import { tabs } from "../tabs.js";
import { column } from "./column.js";
import { form } from "./form.js";
import { request, UNLOGGED } from "./request.js";

const MODES = [
  ["lexical", "Words"],
  ["vector", "Meaning"],
  ["hybrid", "Hybrid"],
];

export function mount(root, { collection, stats, access }) {
  const active = stats.generations.find((one) => one.number === stats.active) ?? null;
  if (active === null) {
    refill(root, nothingActive(collection, stats));
    return { show() {} };
  }
  return playground(root, { collection, stats, active, access });
}

function playground(root, { collection, stats, active, access }) {
  let running = null;
  const remember = (values, options) => go({ ...here(), values }, options);
  const asked = form({ stats, active, changed: remember, submit: () => search(here().values) });
  const modes = active.recipe.dimension === null ? MODES.slice(0, 1) : MODES;
  const columns = modes.map(([mode, title]) => column(mode, title, { collection, wantsKey: access.scope !== null }));
  const choice = h("div", { class: "column-tabs tabs", "aria-label": "Columns" });
  const grid = h("div", { class: "columns", data: { count: modes.length } }, columns.map((one) => one.element));
  const chooseColumn = tabs(choice, modes, (mode) => remember({ ...here().values, column: mode }, { replace: true }));
  refill(root, asked.element, modes.length > 1 ? choice : lexicalOnly(active), grid);
  grid.addEventListener("keydown", (event) => moveBetweenHits(event, columns));

  async function search(values) {
    running?.abort();
    asked.clearErrors();
    if (!asked.hasQuery(values)) {
      for (const one of columns) one.rest();
      return;
    }
    running = new AbortController();
    const { signal } = running;
    for (const one of columns) one.wait();
    const found = await Promise.all(columns.map((one) => searched(one, request(one.mode, values, asked.vector()), signal)));
    if (signal.aborted) return;
    const rankings = Object.fromEntries(found.map((one, place) => [columns[place].mode, one.answer?.hits ?? null]));
    found.forEach((one, place) => {
      if (one.answer) columns[place].show(one, rankings);
      else if (!asked.claims(one.error)) columns[place].fail(one.error, () => search(here().values));
      else columns[place].rest("The filter has to be mended first.");
    });
    announce(found.map((one, place) => `${modes[place][1]}: ${one.answer ? counted(one.answer.hits.length, "hit") : "failed"}`).join(", "));
  }

  async function searched(one, body, signal) {
    try {
      const { value, headers, tookMs } = await answered(of(collection, "search"), { body: { ...body, ...UNLOGGED }, signal });
      return { answer: value, body, tookMs, timing: headers.get("server-timing") };
    } catch (error) {
      return { error: wasGivenUp(error) ? null : error, body };
    }
  }

  return {
    show(values) {
      const mode = modes.some(([name]) => name === values.column) ? values.column : modes.at(-1)[0];
      chooseColumn(mode);
      grid.dataset.column = mode;
      if (asked.fill(values)) search(values);
    },
    leave: () => running?.abort(),
  };
}

/** Up and down from hit to hit, left and right to the same place in another column, from the query down into the first. */
function moveBetweenHits(event, columns) {
  const hit = event.target.closest(".hit");
  if (hit !== event.target || hit === null) return;
  const at = columns.findIndex((one) => one.element.contains(hit));
  const hits = columns.map((one) => [...one.element.querySelectorAll(".hit")]);
  const place = hits[at].indexOf(hit);
  const aside = (step) => hits[at + step]?.[Math.min(place, (hits[at + step]?.length ?? 0) - 1)];
  const next = {
    ArrowDown: () => hits[at][place + 1],
    ArrowUp: () => hits[at][place - 1],
    ArrowRight: () => aside(1),
    ArrowLeft: () => aside(-1),
  }[event.key]?.();
  if (!next) return;
  event.preventDefault();
  next.focus();
}

const lexicalOnly = (active) =>
  h(
    "p",
    { class: "small" },
    `Generation ${active.number} has no vectors, so it is searched by words alone. A build with an embedder makes the other two columns.`,
  );

function nothingActive(collection, stats) {
  const ready = stats.generations.filter((one) => one.status !== "damaged").at(-1);
  if (ready) {
    return empty(
      "No generation is active, so there is nothing to search",
      `Generation ${ready.number} is built. Put it live in the view Generations, or:`,
      `outcrop promote ${collection} ${ready.number}`,
    );
  }
  return empty(
    "The collection holds nothing yet",
    "Build a generation from documents and put it live, or write documents, which makes the first one:",
    `outcrop build ${collection} corpus.jsonl --promote`,
    `outcrop upsert ${collection} documents.jsonl`,
  );
}
