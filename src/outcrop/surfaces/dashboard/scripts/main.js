// The frame: which collection, which view, and what stands above them. Views are loaded when they are looked at.

import { ask, keysComeFrom, of } from "./api.js";
import { askForKey, showKey } from "./access.js";
import { byId, h, refill } from "./dom.js";
import { empty, failure, loading } from "./notices.js";
import { go, here, onPlace } from "./place.js";
import { listenForShortcuts, showShortcuts } from "./shortcuts.js";
import { tabs } from "./tabs.js";
import { switchedBy } from "./theme.js";

const VIEWS = {
  search: { title: "Search", load: () => import("./search/view.js") },
  generations: { title: "Generations", load: () => import("./generations/view.js") },
  builds: { title: "Builds", load: () => import("./builds/view.js") },
  compare: { title: "Compare", load: () => import("./compare/view.js") },
  map: { title: "Map", load: () => import("./map/view.js") },
  operations: { title: "Operations", load: () => import("./operations/view.js") },
};
const FIRST = "search";

const page = { access: null, collections: [], shown: null, view: null, chooseTab: () => {} };

async function start() {
  switchedBy(byId("theme"));
  keysComeFrom(askForKey);
  byId("skip").addEventListener("click", () => byId("view").focus());
  byId("help").addEventListener("click", showShortcuts);
  byId("key").addEventListener("click", () => showKey(page.access, start_));
  byId("collection").addEventListener("change", (event) => go({ collection: event.target.value, view: here().view }));
  const items = Object.entries(VIEWS).map(([name, { title }]) => [name, title]);
  page.chooseTab = tabs(byId("views"), items, (view) => go({ ...here(), view, values: {} }), { controls: "view" });
  listenForShortcuts(Object.keys(VIEWS));
  onPlace(show);
  await start_();
}

/** Learn what there is, and show it. Also when the key has changed. */
async function start_() {
  refill(byId("view"), loading("Asking the server"));
  try {
    page.access = await ask("v1/access");
    page.collections = (await ask("v1/collections")).collections;
  } catch (error) {
    refill(byId("view"), failure(error, start_));
    return;
  }
  byId("key").textContent = page.access.key === null ? "No key" : `Key: ${page.access.key}`;
  byId("key").hidden = page.access.scope === null;
  refill(byId("collection"), page.collections.map((name) => h("option", { value: name }, name)));
  byId("collection").disabled = page.collections.length === 0;
  page.shown = null;
  await show();
}

async function show() {
  const place = here();
  if (page.collections.length === 0) return showNothing();
  if (place.collection === "" || !(place.view in VIEWS)) {
    const collection = page.collections.includes(place.collection) ? place.collection : page.collections[0];
    return go({ ...place, collection, view: place.view in VIEWS ? place.view : FIRST }, { replace: true });
  }
  byId("collection").value = place.collection;
  page.chooseTab(place.view);
  document.title = `${VIEWS[place.view].title}, ${place.collection} · Outcrop`;
  const wanted = `${place.collection}/${place.view}`;
  if (page.shown !== wanted) await mount(place, wanted);
  else page.view?.show(place.values);
}

async function mount(place, wanted) {
  page.view?.leave?.();
  page.shown = wanted;
  page.view = null;
  const root = byId("view");
  root.setAttribute("aria-label", VIEWS[place.view].title);
  refill(root, loading("Loading"));
  try {
    const stats = await ask(of(place.collection));
    const { mount: mounted } = await VIEWS[place.view].load();
    if (page.shown !== wanted) return; // somebody went elsewhere meanwhile
    showStanding(stats);
    const remount = () => mount(here(), page.shown); // what is shown by then: what took long may end when somebody is elsewhere
    page.view = mounted(refill(root), { collection: place.collection, access: page.access, stats, remount });
    page.view.show(here().values);
  } catch (error) {
    if (page.shown === wanted) refill(root, failure(error, () => mount(here(), wanted)));
  }
}

/** One line on what serves, above everything. */
function showStanding(stats) {
  const state = stats.degraded === null ? "good" : "bad";
  const active = stats.active === null ? "no active generation" : `generation ${stats.active}`;
  refill(
    byId("standing"),
    h("span", { class: `dot ${state}`, "aria-hidden": "true" }),
    h("span", { title: stats.degraded ?? "" }, stats.degraded === null ? active : `${active}, degraded`),
    page.access.read_only ? h("span", { class: "tag" }, "read only") : null,
  );
}

function showNothing() {
  const limited = page.access.collections !== null;
  refill(
    byId("view"),
    limited
      ? empty("No collection is open to this key", `It opens ${page.access.collections.join(", ")}, and there is none of that name.`)
      : empty(
          "No collection yet",
          "Build one from a file of documents, one JSON object a line with id and text, and put it live:",
          "outcrop build papers corpus.jsonl --promote",
          `curl --json '{"name": "papers"}' ${new URL("v1/collections", document.baseURI)}`,
        ),
    h("p", {}, h("button", { type: "button", on: { click: start_ } }, "Look again")),
  );
}

start();
