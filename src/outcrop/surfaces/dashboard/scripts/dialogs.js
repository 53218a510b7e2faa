// Dialogs. The browser keeps the focus in them, closes them with Esc, and gives the focus back.

import { h, refill, uniqueId } from "./dom.js";
import { failure } from "./notices.js";

/** Show a dialog until it is closed. `fill` gives its content and is handed a function that closes it. */
export function dialog(title, fill, { closed = () => {}, wide = false } = {}) {
  const named = uniqueId("dialog");
  const shown = h("dialog", { class: wide ? "wide" : null, "aria-labelledby": named });
  const close = () => shown.close();
  shown.append(
    h(
      "header",
      {},
      h("h2", { id: named }, title),
      h("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: close } }, "✕"),
    ),
    ...[fill(close)].flat(),
  );
  shown.addEventListener("click", (event) => {
    if (event.target === shown) close(); // the backdrop
  });
  shown.addEventListener("close", () => {
    shown.remove();
    closed();
  });
  document.body.append(shown);
  shown.showModal();
  return shown;
}

/**
 * Ask before something is done. `act` does it; while it runs the buttons wait, and what it raises is shown in the dialog, by
 * `told` if that is given. Resolves to what `act` gave, or to null if the person turned away.
 */
export function confirmed(title, content, { label, act, dangerous = false, told = failure }) {
  return new Promise((resolve) => {
    let result = null;
    dialog(
      title,
      (close) => {
        const told_ = h("div", { "aria-live": "polite" });
        const yes = h("button", { type: "button", class: dangerous ? "primary dangerous" : "primary" }, label);
        const no = h("button", { type: "button", on: { click: close } }, "Cancel");
        yes.addEventListener("click", async () => {
          yes.disabled = true;
          yes.setAttribute("aria-busy", "true");
          refill(told_);
          try {
            result = await act();
            close();
          } catch (error) {
            refill(told_, told(error));
          } finally {
            yes.disabled = false;
            yes.removeAttribute("aria-busy");
          }
        });
        return [h("div", { class: "dialog-body" }, content, told_), h("footer", {}, no, yes)];
      },
      { closed: () => resolve(result) },
    );
  });
}
