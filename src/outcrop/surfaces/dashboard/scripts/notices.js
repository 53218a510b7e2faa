// What is said where there is nothing else to show: it loads, it failed, it is empty. And what is read aloud.

import { byId, h } from "./dom.js";

/** An error, with what happened and the request's id. `again` is what the button to try again does. */
export function failure(error, again = null) {
  const problem = error.title !== undefined;
  return h(
    "div",
    { class: "notice failure", role: "alert" },
    h("strong", {}, problem ? error.title : "The dashboard failed"),
    h("p", {}, problem ? error.detail : `${error.name}: ${error.message}`),
    h(
      "p",
      { class: "small" },
      problem && error.status ? `Status ${error.status}` : null,
      problem && error.requestId ? [", request ", h("code", {}, error.requestId)] : null,
    ),
    again === null ? null : h("button", { type: "button", on: { click: again } }, "Try again"),
  );
}

export const loading = (what) => h("p", { class: "loading", role: "status" }, h("span", { class: "spinner" }), `${what} …`);

/** Nothing here yet: what that means, and what to do, with commands to copy. */
export const empty = (title, advice, ...commands) =>
  h(
    "div",
    { class: "notice empty" },
    h("strong", {}, title),
    h("p", {}, advice),
    commands.map((one) => h("pre", { class: "command" }, h("code", {}, one))),
  );

export const warning = (...texts) => h("p", { class: "notice warning" }, ...texts);

/** Have it read aloud by a screen reader, when it has finished what it reads. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** What an action that needs a scope says where the key has none, or null where nothing stands against it. */
export function obstacle(access, scope) {
  if (access.read_only) return "The server was started to read only.";
  const order = ["read", "write", "admin"];
  if (access.scope !== null && order.indexOf(access.scope) < order.indexOf(scope)) {
    return `The key “${access.key}” may ${access.scope}; this needs one of scope ${scope}.`;
  }
  return null;
}

/** A button for an action that needs a scope. Where the key has it not, it cannot be pressed, and says why. */
export function guarded(access, scope, attributes, ...children) {
  const why = obstacle(access, scope);
  if (why === null) return h("button", { type: "button", ...attributes }, ...children);
  const { on: _, ...rest } = attributes;
  return h("button", { type: "button", ...rest, "aria-disabled": "true", title: why, "aria-description": why }, ...children);
}
