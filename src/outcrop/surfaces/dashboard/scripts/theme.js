// Light, dark, or as the system prefers.

const NAME = "outcrop.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const SIGNS = { system: "◐", light: "☀", dark: "☾" };

/** Have a button switch between the three. */
export function switchedBy(button) {
  const show = () => {
    const chosen = document.documentElement.dataset.theme ?? "system";
    button.textContent = SIGNS[chosen];
    button.title = `Colours: ${chosen}`;
    button.setAttribute("aria-label", `Colours: ${chosen}; switch to ${NEXT[chosen]}`);
  };
  button.addEventListener("click", () => {
    choose(NEXT[document.documentElement.dataset.theme ?? "system"]);
    show();
    dispatchEvent(new Event("themechange"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
  show();
}

/** A colour of the style sheet, as it is now. For what is painted and not styled. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function choose(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem(NAME);
    else localStorage.setItem(NAME, theme);
  } catch {
    // For as long as the page is open, then.
  }
}
