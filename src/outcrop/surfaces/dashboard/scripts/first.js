// Runs before anything is painted, so that nobody who chose the dark sees a flash of light.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("outcrop.theme");
  } catch {
    // A browser that keeps nothing shows what the system prefers.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
