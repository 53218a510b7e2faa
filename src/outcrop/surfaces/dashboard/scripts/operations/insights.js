// What the query log tells: slow queries, and queries that found nothing. A server without a query log says nothing of it.

import { ask } from "../api.js";
import { h, refill } from "../dom.js";
import { failure } from "../notices.js";

/** Fill a place with it. */
export async function insights(place, path) {
  try {
    const found = await ask(path, { query: { days: 7 } });
    refill(place, shown(found));
  } catch (error) {
    refill(place, error.status === 404 || error.status === 405 ? [] : failure(error));
  }
}

const shown = (found) => h("section", { class: "panel" }, h("h2", {}, "Queries of the last seven days"), h("pre", {}, JSON.stringify(found, null, 1)));
