// A row of tabs, of which one is chosen; arrow keys, Home and End move between them.

import { h, refill } from "./dom.js";

/**
 * Fill a list of tabs. `items` are [value, label] pairs; `chosen` is called with the value of the one that is chosen. Gives a
 * function that shows another one as chosen.
 */
export function tabs(list, items, chosen, { controls = null } = {}) {
  const buttons = items.map(([value, label]) =>
    h("button", { type: "button", role: "tab", class: "tab", data: { value }, "aria-controls": controls, on: { click: () => chosen(value) } }, label),
  );
  list.setAttribute("role", "tablist");
  refill(list, buttons);
  list.onkeydown = (event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = buttons[(to + buttons.length) % buttons.length];
    next.focus();
    chosen(next.dataset.value);
  };
  return (value) => {
    for (const button of buttons) {
      const is = button.dataset.value === value;
      button.setAttribute("aria-selected", String(is));
      button.tabIndex = is ? 0 : -1;
    }
  };
}
