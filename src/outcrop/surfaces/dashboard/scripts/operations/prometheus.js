// Reads Prometheus's text format, and works out of two readings what happened between them.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { n: "\n", "\\": "\\", '"': '"' };

/** A reading: for each name its series, as {labels, value}. */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = line[0] === "#" ? null : LINE.exec(line);
    if (match === null) continue;
    const [, name, labels = "", value] = match;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels: labelsOf(labels), value: numberOf(value) });
  }
  return found;
}

/** The sum of the series of a name that have these labels; null if there is none. */
export function sum(reading, name, wanted = {}) {
  const series = (reading.get(name) ?? []).filter(({ labels }) => has(labels, wanted));
  return series.length === 0 ? null : series.reduce((total, one) => total + one.value, 0);
}

/** By how much a counter has grown. One that fell has begun anew, with its process: what it counts since is what it says. */
export function growth(before, after, name, wanted = {}) {
  return added(before.get(name) ?? [], after.get(name) ?? [], wanted).reduce((total, one) => total + one.value, 0);
}

/** The buckets of a histogram for what happened between two readings: [[upper bound, how many up to it], ...], rising. */
export function buckets(before, after, name, wanted = {}) {
  const counts = new Map();
  for (const { labels, value } of added(before.get(`${name}_bucket`) ?? [], after.get(`${name}_bucket`) ?? [], wanted)) {
    const bound = numberOf(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

/**
 * The value below which this share of what was counted lies, by straight lines within buckets, as Prometheus's histogram_quantile
 * has it; null where nothing was counted. In the last bucket, which has no end, it is where that begins.
 */
export function quantile(found, share) {
  const total = found.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const wanted = share * total;
  let [below, lower] = [0, 0];
  for (const [bound, count] of found) {
    if (count >= wanted) {
      if (!Number.isFinite(bound)) return lower;
      return count === below ? bound : lower + ((bound - lower) * (wanted - below)) / (count - below);
    }
    [below, lower] = [count, bound];
  }
  return lower;
}

function added(before, after, wanted) {
  const earlier = new Map(before.map((one) => [keyOf(one.labels), one.value]));
  return after
    .filter(({ labels }) => has(labels, wanted))
    .map(({ labels, value }) => {
      const had = earlier.get(keyOf(labels)) ?? 0;
      return { labels, value: value >= had ? value - had : value };
    });
}

const has = (labels, wanted) => Object.entries(wanted).every(([name, value]) => labels[name] === value);
const keyOf = (labels) => JSON.stringify(Object.entries(labels).sort());
const labelsOf = (text) => Object.fromEntries([...text.matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, (_, one) => ESCAPED[one] ?? one)]));
const numberOf = (text) => (text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));
