// What the keyboard does everywhere.

import { h } from "./dom.js";
import { dialog } from "./dialogs.js";
import { go, here } from "./place.js";

const TYPED_IN = "input:not([type=checkbox]):not([type=range]):not([type=radio]), textarea, select, [contenteditable]";

/** Listen for them; the digits choose among the views. */
export function listenForShortcuts(views) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches(TYPED_IN);
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    if (event.key === "/") {
      event.preventDefault();
      const field = document.querySelector("[data-query]");
      if (field === null) go({ ...here(), view: "search", values: {} });
      else field.select();
      field?.focus();
    } else if (event.key === "?") showShortcuts();
    else if (/^[1-9]$/.test(event.key) && views[event.key - 1]) go({ ...here(), view: views[event.key - 1], values: {} });
  });
}

export function showShortcuts() {
  const keys = [
    ["/", "to the query"],
    ["1 … 6", "the views, from left to right"],
    ["↑ ↓", "from hit to hit; ← → to the same place in another column"],
    ["Enter", "on a hit: why it ranks where it does"],
    ["← →", "between tabs; on the map: pan, with + and − to zoom"],
    ["Esc", "closes a dialog, leaves a field"],
    ["?", "this"],
  ];
  dialog("Keyboard", () =>
    h(
      "dl",
      { class: "facts dialog-body" },
      keys.map(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)]),
    ),
  );
}
