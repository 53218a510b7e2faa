// Where one is: collection, view and what is looked for, all of it in the address, so that it can be shared and Back works.
// The form is  #/collection/view?name=value ; without a collection the first part is empty.

/** The place that the address names. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [collection = "", view = ""] = path.split("/").map(decoded);
  return { collection, view, values: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a place. Values that are empty are left out. */
export function addressOf({ collection, view, values = {} }) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return `#/${encodeURIComponent(collection)}/${encodeURIComponent(view)}${query ? `?${query}` : ""}`;
}

/** Go there. With `replace` the place before is not kept for Back. */
export function go(place, { replace = false } = {}) {
  const next = addressOf(place);
  if (next === location.hash) return;
  if (replace) history.replaceState(null, "", next);
  else history.pushState(null, "", next);
  dispatchEvent(new Event("placechange"));
}

/** Call `shown` whenever the place has changed, by whatever way. */
export function onPlace(shown) {
  addEventListener("placechange", shown);
  addEventListener("popstate", shown);
  addEventListener("hashchange", shown);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
