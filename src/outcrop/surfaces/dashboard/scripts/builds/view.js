// Builds: begin one, follow it while it runs, cancel it; and how the last ones ended.

import { ask, of } from "../api.js";
import { h, refill } from "../dom.js";
import { announce, empty, failure, guarded, loading, obstacle } from "../notices.js";
import { buildCard } from "./card.js";
import { followed } from "./following.js";
import { orderForm } from "./form.js";

const UNDER_WAY = ["running", "cancelling"];

export function mount(root, { collection, access, stats, remount }) {
  const list = h("div", { class: "stack", "aria-label": "Builds, the newest first" });
  const form = h("div", {});
  const cards = new Map();
  const following = new AbortController();
  let begun = false;
  refill(root, h("div", { class: "stack" }, form, list));

  async function load() {
    refill(list, loading("Reading the builds"));
    try {
      const { builds } = await ask(of(collection, "builds"));
      const why = obstacle(access, "admin");
      if (why === null) showForm(await ask(of(collection, "build-choices")));
      else refill(form, h("p", { class: "notice warning" }, why));
      refill(list);
      if (builds.length === 0) refill(list, empty("No build was begun here", "Those of the command line are not listed; their generations are."));
      for (const build of [...builds].reverse()) add(build, false);
    } catch (error) {
      const lacks = error.status === 404 || error.status === 405;
      refill(list, lacks ? empty("This server does not build", "Build with the command line:", `outcrop build ${collection} corpus.jsonl --promote`) : failure(error, load));
    }
  }

  /** A new one for each build, so that nothing of the last is left in it. */
  function showForm(choices) {
    const ordered = (build) => {
      add(build, true);
      showForm(choices);
    };
    refill(form, orderForm({ collection, stats, choices, ordered }));
  }

  function add(build, isNew) {
    list.querySelector(".empty")?.remove();
    const place = h("div", { tabindex: -1 });
    cards.set(build.id, place);
    list.prepend(place);
    show(build);
    if (isNew) {
      announce("The build has begun");
      place.focus();
    }
    if (UNDER_WAY.includes(build.state)) follow(build);
  }

  async function follow(build) {
    try {
      const ended = await followed(of(collection, "builds", build.id, "events"), show, following.signal);
      if (ended === null) return;
      announce(`The build is ${ended.state}`);
      if (ended.promoted) remount();
    } catch (error) {
      cards.get(build.id)?.append(failure(error, () => follow(build)));
    }
  }

  function show(build) {
    const cancel = UNDER_WAY.includes(build.state)
      ? guarded(access, "admin", { disabled: build.state === "cancelling", on: { click: () => cancelled(build) } }, build.state === "cancelling" ? "Being cancelled" : "Cancel")
      : build.resumable
        ? guarded(access, "admin", { on: { click: () => resumed(build) } }, "Go on")
        : null;
    refill(cards.get(build.id), buildCard(build, cancel));
  }

  async function resumed(build) {
    try {
      add(await ask(of(collection, "builds", build.id, "resume"), { method: "POST" }), true);
    } catch (error) {
      cards.get(build.id).append(failure(error));
    }
  }

  async function cancelled(build) {
    try {
      show(await ask(of(collection, "builds", build.id), { method: "DELETE" }));
    } catch (error) {
      cards.get(build.id).append(failure(error));
    }
  }

  return {
    show() {
      if (begun) return;
      begun = true;
      load();
    },
    leave: () => following.abort(),
  };
}
