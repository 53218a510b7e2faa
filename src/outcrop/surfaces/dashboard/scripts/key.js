// The key that requests carry. It is kept for this tab only, and goes when the tab does.

const NAME = "outcrop.key";
let inMemory = null;

export function key() {
  try {
    return sessionStorage.getItem(NAME) ?? inMemory;
  } catch {
    return inMemory;
  }
}

/** Keep a key, or none. */
export function keep(given) {
  inMemory = given;
  try {
    if (given === null) sessionStorage.removeItem(NAME);
    else sessionStorage.setItem(NAME, given);
  } catch {
    // Kept in memory, for as long as the page is open.
  }
}
