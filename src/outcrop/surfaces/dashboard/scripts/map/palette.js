// Colours of points. The categories are told apart by people who see colours otherwise too (after Paul Tol's "muted").

const CATEGORIES = {
  light: ["#332288", "#44aa99", "#cc6677", "#999933", "#88b8dd", "#882255", "#117733", "#c9ac3c", "#aa4499", "#661100"],
  dark: ["#8f8bff", "#4fc4b0", "#ee8899", "#b8b84c", "#8fcdf0", "#d9659a", "#5fbf6a", "#eedd88", "#cc88dd", "#d98f5c"],
};
const RAMP = {
  light: ["#d9c55a", "#7fb77e", "#3d8f8d", "#3b5d8a", "#3f2a6b"],
  dark: ["#3f4fa0", "#3d86a8", "#4fb58e", "#a8d46a", "#fbe76b"],
};
const REST = { light: "#c4beb2", dark: "#4d525a" };
const ONE = { light: "#1f6266", dark: "#6fc0bd" };
const STEPS = 12;

/**
 * For each point the place of its colour in `colours`, and a legend of [label, colour, code] with the code that is -1 for what has
 * no value. Numbers are coloured by their rank, so that a few huge ones do not leave all others alike.
 */
export function painted(count, found, isDark) {
  const theme = isDark ? "dark" : "light";
  if (found === null) return { codes: new Int16Array(count), colours: [ONE[theme]], legend: [] };
  if (found.kind === "categories") return categories(found, theme);
  return numbers(found, theme);
}

function categories(found, theme) {
  const colours = found.names.map((name, place) => (name === "other" && place === found.names.length - 1 ? REST[theme] : CATEGORIES[theme][place]));
  const codes = Int16Array.from(found.codes, (code) => (code < 0 ? colours.length : code));
  const legend = found.names.map((name, place) => [name, colours[place], place]);
  if (found.codes.includes(-1)) legend.push([`without ${found.field}`, REST[theme], colours.length]);
  return { codes, colours: [...colours, REST[theme]], legend };
}

function numbers(found, theme) {
  const sorted = found.values.filter((one) => one !== null).sort((a, b) => a - b);
  const colours = Array.from({ length: STEPS }, (_, step) => between(RAMP[theme], step / (STEPS - 1)));
  const codes = Int16Array.from(found.values, (one) => (one === null ? STEPS : Math.min(STEPS - 1, Math.floor((rankOf(sorted, one) / sorted.length) * STEPS))));
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  const legend = [0, 0.25, 0.5, 0.75, 0.9999].map((share) => [String(at(share)), colours[Math.min(STEPS - 1, Math.floor(share * STEPS))], null]);
  return { codes, colours: [...colours, REST[theme]], legend };
}

function rankOf(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function between(stops, share) {
  const at = share * (stops.length - 1);
  const from = Math.min(stops.length - 2, Math.floor(at));
  const parts = [1, 3, 5].map((start) => {
    const [a, b] = [stops[from], stops[from + 1]].map((one) => parseInt(one.slice(start, start + 2), 16));
    return Math.round(a + (b - a) * (at - from));
  });
  return `rgb(${parts.join(" ")})`;
}
