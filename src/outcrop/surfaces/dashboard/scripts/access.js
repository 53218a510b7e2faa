// Asks the person for a key, and shows the one that is used.

import { h } from "./dom.js";
import { dialog } from "./dialogs.js";
import { keep } from "./key.js";

/** Ask for a key, because the server has refused what it got. Resolves to null if there is none. */
export function askForKey(problem) {
  return new Promise((resolve) => {
    let given = null;
    dialog(
      "This server wants a key",
      (close) => {
        const field = h("input", {
          id: "key-field",
          type: "password",
          autocomplete: "off",
          spellcheck: "false",
          placeholder: "oc_…",
          required: true,
        });
        const form = h(
          "form",
          {
            class: "dialog-body",
            on: {
              submit: (event) => {
                event.preventDefault();
                given = field.value.trim();
                close();
              },
            },
          },
          h("p", {}, problem.detail),
          h("label", { for: "key-field" }, "Key"),
          field,
          h("p", { class: "small" }, "It is kept in this tab alone, until the tab is closed. ", h("code", {}, "outcrop keys create NAME --scope read"), " makes one."),
          h("footer", {}, h("button", { class: "primary" }, "Use this key")),
        );
        return form;
      },
      { closed: () => resolve(given) },
    );
  });
}

/** Show whose key is used and how far it goes, and let it be forgotten. */
export function showKey(access, changed) {
  dialog("The key", (close) => [
    h(
      "div",
      { class: "dialog-body" },
      h(
        "dl",
        { class: "facts" },
        [
          ["Name", access.key],
          ["Scope", access.scope],
          ["Collections", access.collections === null ? "all" : access.collections.join(", ")],
        ].map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
    ),
    h(
      "footer",
      {},
      h(
        "button",
        {
          type: "button",
          on: {
            click: () => {
              keep(null);
              close();
              changed();
            },
          },
        },
        "Forget it and use another",
      ),
    ),
  ]);
}
