// A map of the vectors: what lies together is alike. A query is placed on it, with the chunks that are nearest to it.

import { ask, of, wasGivenUp } from "../api.js";
import { h, refill, uniqueId } from "../dom.js";
import { digits, percent, plain, whole } from "../format.js";
import { announce, empty, failure, loading } from "../notices.js";
import { go, here } from "../place.js";
import { canvas } from "./canvas.js";
import { painted } from "./palette.js";
import { pointCard } from "./point.js";

const HITS = 10;
const isDark = () => getComputedStyle(document.documentElement).colorScheme === "dark";

export function mount(root, { collection, stats }) {
  const active = stats.generations.find((one) => one.number === stats.active) ?? null;
  const mapped = stats.generations.filter((one) => one.recipe.dimension !== null && one.status !== "damaged");
  if (active === null || mapped.length === 0) {
    refill(root, empty("No vectors, so no map", "A build with an embedder makes them:", `outcrop build ${collection} --embedder static --promote`));
    return { show() {} };
  }
  let shown = null; // {key, found, painted}
  let hidden = new Set();
  let running = null;
  const remember = (change) => go({ ...here(), values: { ...here().values, ...change } }, { replace: !("q" in change) });

  const color = choice("Colour by", [["", "nothing"], ...stats.fields.map((name) => [name, name])], (value) => remember({ color: value }));
  const generation = choice("Generation", mapped.map((one) => [one.status === "active" ? "" : String(one.number), `${one.number}${one.status === "active" ? ", active" : ""}`]), (value) => remember({ generation: value }));
  const query = h("input", { type: "search", "aria-label": "Query to place on the map", placeholder: "Place a query among them", autocomplete: "off", spellcheck: "false", data: { query: "" } });
  const tooltip = h("div", { class: "map-tooltip", role: "tooltip", hidden: true });
  const legend = h("div", { class: "map-legend" });
  const about = h("p", { class: "small" });
  const side = h("aside", { class: "map-side stack", "aria-label": "What lies there" });
  const problem = h("div", {});
  const board = canvas({ pointed, chosen });
  const tool = (label, sign, act) => h("button", { type: "button", "aria-label": label, title: label, on: { click: act } }, sign);
  refill(
    root,
    h(
      "form",
      {
        class: "row map-form",
        role: "search",
        on: {
          submit: (event) => {
            event.preventDefault();
            remember({ q: query.value });
          },
        },
      },
      query,
      h("button", { class: "primary" }, "Place"),
      color.element,
      generation.element,
    ),
    problem,
    h(
      "div",
      { class: "map" },
      h(
        "div",
        { class: "map-board panel" },
        board.element,
        tooltip,
        h("div", { class: "map-tools" }, tool("Nearer", "+", () => board.zoom(1.5)), tool("Farther", "−", () => board.zoom(1 / 1.5)), tool("All of it", "⤢", board.whole)),
        legend,
      ),
      side,
    ),
    about,
  );

  async function draw(values) {
    const key = JSON.stringify([values.generation ?? "", values.color ?? ""]);
    if (shown?.key !== key) {
      refill(problem, loading(shown === null ? "Laying out the vectors; the first time this takes some seconds" : "Colouring"));
      const found = await ask(of(collection, "map"), { query: { generation: values.generation, color: values.color }, signal: running.signal });
      shown = { key, found };
      hidden = new Set();
      refill(problem);
      paint();
    }
    await place(values);
  }

  function paint() {
    const { found } = shown;
    const made = painted(found.point_count, found.colours, isDark());
    board.show(found, made, `${whole(found.point_count)} points of generation ${found.generation}`);
    refill(
      legend,
      made.legend.map(([label, paintOf, code]) =>
        code === null
          ? h("span", { class: "legend-entry" }, h("i", { class: "key", style: { background: paintOf } }), label)
          : h("button", { type: "button", class: "quiet small legend-entry", "aria-pressed": "true", on: { click: (event) => toggle(code, event.currentTarget) } }, h("i", { class: "key", style: { background: paintOf } }), label),
      ),
    );
    const sampled = found.point_count < found.chunk_count ? `${whole(found.point_count)} of ${whole(found.chunk_count)} chunks, evenly taken` : `${whole(found.point_count)} chunks`;
    const true_ = found.neighbours_kept === null ? "" : ` Of the ten nearest in all dimensions ${percent(found.neighbours_kept, 0)} are among the nearest two per cent here.`;
    about.textContent = `${sampled}, of generation ${found.generation} as of write ${whole(found.sequence)}.${true_} What lies together is alike; how far apart heaps lie means little. Two plain axes would hold ${percent(found.variance_share)} of the variance.`;
    announce(`Map of ${sampled}`);
  }

  function toggle(code, button) {
    if (hidden.has(code)) hidden.delete(code);
    else hidden.add(code);
    button.setAttribute("aria-pressed", String(!hidden.has(code)));
    board.hide(hidden);
  }

  async function place(values) {
    if (!values.q) {
      board.mark([]);
      refill(side, h("p", { class: "small" }, "Point at a dot to read it, click it to keep it here. Drag to move, wheel or pinch to come nearer."));
      return;
    }
    const placed = await ask(of(collection, "map", "place"), { body: { query: values.q, k: HITS, ...(values.generation ? { generation: Number(values.generation) } : {}) }, signal: running.signal });
    board.mark([...placed.hits, { ...placed, rank: null }]);
    refill(
      side,
      h("h2", {}, `Nearest to “${plain(values.q, 60)}”`),
      h("ol", { class: "near" }, placed.hits.map((one) => h("li", {}, h("span", { class: "rank" }, one.rank), h("span", {}, h("b", {}, one.title ?? one.id), " ", h("span", { class: "small" }, `${digits(one.score)} · ${plain(one.text, 110)}`))))),
    );
    announce(`Placed, with ${placed.hits.length} nearest chunks marked`);
  }

  function pointed(one, [left, top]) {
    tooltip.hidden = one < 0;
    if (one < 0) return;
    const { found } = shown;
    refill(tooltip, h("b", {}, found.titles[one] ?? found.ids[one]), h("p", {}, found.texts[one]), value(found, one));
    tooltip.style.setProperty("left", `${Math.max(8, Math.min(left + 14, board.element.clientWidth - 290))}px`);
    tooltip.style.setProperty("top", `${top > board.element.clientHeight / 2 ? top - tooltip.offsetHeight - 12 : top + 14}px`);
  }

  function chosen(one) {
    if (one >= 0) refill(side, pointCard(collection, shown.found.ids[one], () => place(here().values)));
  }

  const repaint = () => shown !== null && paint();
  addEventListener("themechange", repaint);
  return {
    async show(values) {
      running?.abort();
      running = new AbortController();
      query.value = values.q ?? "";
      color.select.value = values.color ?? "";
      generation.select.value = values.generation ?? "";
      try {
        await draw(values);
      } catch (error) {
        if (!wasGivenUp(error)) refill(problem, failure(error, () => this.show(here().values)));
      }
    },
    leave() {
      running?.abort();
      removeEventListener("themechange", repaint);
    },
  };
}

function value({ colours }, one) {
  if (colours === null) return null;
  const found = colours.kind === "numbers" ? colours.values[one] : colours.names[colours.codes[one]];
  return h("span", { class: "chip" }, h("b", {}, colours.field), ` ${found ?? "–"}`);
}

function choice(label, options, chosen) {
  const select = h("select", { id: uniqueId("choice"), on: { change: () => chosen(select.value) } }, options.map(([value_, text]) => h("option", { value: value_ }, text)));
  return { select, element: h("div", { class: "row" }, h("label", { class: "small", for: select.id }, label), select) };
}
