// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en");
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const HOUR = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const YEAR = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export const whole = (number) => WHOLE.format(number);

/** "1 document", "2 documents". */
export const counted = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;

/** A number with about three digits that tell something. */
export function digits(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 100) return WHOLE.format(Math.round(number));
  if (size >= 10) return number.toFixed(1);
  if (size >= 1) return number.toFixed(2);
  return size >= 0.001 ? number.toFixed(3) : number.toExponential(1);
}

export function milliseconds(number) {
  if (number === 0) return "0 ms";
  if (number >= 1000) return `${digits(number / 1000)} s`;
  return number < 0.01 ? "<0.01 ms" : `${number < 10 ? number.toFixed(2) : digits(number)} ms`;
}

export function seconds(number) {
  if (number < 1) return milliseconds(number * 1000);
  if (number < 120) return `${digits(number)} s`;
  if (number < 7200) return `${Math.round(number / 60)} min`;
  return `${digits(number / 3600)} h`;
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let left = number;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? left : digits(left)} ${units[unit]}`;
}

export const percent = (share, places = 1) => `${(share * 100).toFixed(places)} %`;

/** A moment of the server's (ISO 8601) as the reader's own clock shows it. */
export const moment = (text) => MOMENT.format(new Date(text));

/** As short as it can be told apart: the hour of today, the day of what is longer ago. */
export function short(text, now = new Date()) {
  const at = new Date(text);
  return at.toDateString() === now.toDateString() ? HOUR.format(at) : at.getFullYear() === now.getFullYear() ? DAY.format(at) : YEAR.format(at);
}

/** "3 hours ago". */
export function ago(text, now = Date.now()) {
  return apart((new Date(text).getTime() - now) / 1000);
}

function apart(secondsApart) {
  for (const [unit, size] of UNITS) {
    if (Math.abs(secondsApart) >= size) return RELATIVE.format(Math.round(secondsApart / size), unit);
  }
  return "just now";
}

/** A value of metadata, short enough to stand in a line. */
export function plain(value, length = 80) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return clipped(text ?? "", length);
}

export const clipped = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
