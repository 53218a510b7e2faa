// The generations of a collection: when each one served, what it is made of, what its gate said; put one live, or go back.

import { ask, of } from "../api.js";
import { h, refill } from "../dom.js";
import { counted } from "../format.js";
import { announce, empty, failure, guarded, loading } from "../notices.js";
import { card } from "./card.js";
import { rolledBack } from "./changing.js";
import { log } from "./log.js";
import { promoted } from "./promoting.js";
import { timeline } from "./timeline.js";

export function mount(root, { collection, access, stats, remount }) {
  const body = h("div", { class: "stack" });
  refill(root, body);

  async function load() {
    refill(body, loading("Reading the generations"));
    try {
      const [{ generations }, { history }] = await Promise.all([ask(of(collection, "generations")), ask(of(collection, "history"))]);
      refill(body, shown(generations, history));
    } catch (error) {
      refill(body, failure(error, load));
    }
  }

  function shown(generations, history) {
    if (generations.length === 0) {
      return empty("No generation yet", "A build makes one, and puts it live with --promote:", `outcrop build ${collection} corpus.jsonl --promote`);
    }
    const active = generations.find((one) => one.status === "active") ?? null;
    const promotions = history.filter((one) => one.kind !== "quarantine" && one.generation === active?.number);
    const back = promotions.at(-1)?.previous ?? null;
    const act = async (change, ...rest) => {
      const done = await change({ collection, ...Object.assign({}, ...rest) });
      if (done === null) return;
      announce(`Generation ${done.number} is active`);
      remount();
    };
    const most = Math.max(...generations.map((one) => one.size_bytes));
    return [
      h(
        "div",
        { class: "row apart" },
        h("p", {}, h("b", {}, counted(generations.length, "generation")), active === null ? ", none of them active" : `, number ${active.number} is active`),
        back === null
          ? null
          : guarded(access, "admin", { on: { click: () => act(rolledBack, { to: null, active }) } }, `Roll back to ${back}`),
      ),
      h("section", { class: "panel", "aria-label": "Time line" }, timeline(generations, history)),
      h(
        "div",
        { class: "stack", role: "list", "aria-label": "Generations, the newest first" },
        [...generations].reverse().map((one) =>
          card(one, {
            most,
            history,
            actions:
              one.status === "active" || one.status === "damaged"
                ? []
                : [
                    guarded(access, "admin", { on: { click: () => act(promoted, { generation: one, active }) } }, "Promote"),
                    one.promoted_at === null || active === null
                      ? null
                      : guarded(access, "admin", { class: "quiet", on: { click: () => act(rolledBack, { to: one.number, active }) } }, "Roll back to it"),
                  ],
          }),
        ),
      ),
      h("section", { class: "panel", "aria-label": "What was put live when" }, h("h2", {}, "What was put live when"), log(history)),
    ];
  }

  return {
    show() {
      if (!body.hasChildNodes()) load();
    },
  };
}
