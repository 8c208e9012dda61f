// How figures are written. What is not a finite number is written as a dash.

const NARROW = "\u202f"; // a narrow space that does not break
const DASH = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** 0.9231 as "92.31 %". */
export const percent = (value, digits = 2) =>
  isNumber(value) ? (100 * value).toFixed(digits) + NARROW + "%" : DASH;

/** 0.91 and 0.93 as "91.0–93.0". */
export const interval = (low, high) =>
  isNumber(low) && isNumber(high) ? `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}` : "";

/** 52650 as "52.7 k". */
export function count(value) {
  if (!isNumber(value)) return DASH;
  for (const [size, unit] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (value >= size) {
      const scaled = value / size;
      return scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0) + NARROW + unit;
    }
  }
  return String(Math.round(value));
}

/** Milliseconds as "38 ms" or "1.2 s". */
export function milliseconds(value) {
  if (!isNumber(value)) return DASH;
  if (value < 10) return value.toFixed(1) + NARROW + "ms";
  return value < 1000 ? value.toFixed(0) + NARROW + "ms" : (value / 1000).toFixed(1) + NARROW + "s";
}

/** Seconds as "42 s", "12 min" or "3.5 h". */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  if (seconds < 100) return seconds.toFixed(seconds < 10 ? 1 : 0) + NARROW + "s";
  if (seconds < 6000) return (seconds / 60).toFixed(seconds < 600 ? 1 : 0) + NARROW + "min";
  return (seconds / 3600).toFixed(1) + NARROW + "h";
}

/** A claimed or live metric: accuracies between 0 and 1 as per cent, others to four digits. */
export function metric(name, value) {
  if (!isNumber(value)) return value === null || value === undefined ? DASH : short(value, 12);
  const isShare = /acc/i.test(name) && value >= 0 && value <= 1;
  return isShare ? percent(value) : String(Number(value.toPrecision(4)));
}

/** "2=" for a rank that several entries share, "" for none. */
export const place = (rank, shared) => (rank === null ? "" : shared ? `${rank}=` : String(rank));

const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const toMinute = new Intl.DateTimeFormat("en-GB", CLOCK);
const toSecond = new Intl.DateTimeFormat("en-GB", { ...CLOCK, second: "2-digit" });
const toDay = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const whole = new Intl.DateTimeFormat("en-GB", {
  ...CLOCK,
  second: "2-digit",
  day: "numeric",
  month: "short",
  year: "numeric",
});

/** Milliseconds UTC in the viewer's own time. */
export const time = {
  minute: (ms) => (isNumber(ms) ? toMinute.format(ms) : DASH),
  second: (ms) => (isNumber(ms) ? toSecond.format(ms) : DASH),
  day: (ms) => (isNumber(ms) ? toDay.format(ms) : DASH),
  whole: (ms) => (isNumber(ms) ? whole.format(ms) : DASH),
};

const characters = typeof Intl.Segmenter === "function" ? new Intl.Segmenter("en") : null;

// Marks of direction, which could turn around what stands beside a name in the same line.
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * A text for a place where it cannot be isolated, such as a title or the middle of a sentence: at
 * most `length` characters as a reader counts them, with "…" where something was left out.
 */
export function short(text, length) {
  const whole = String(text).replace(TURNING, "");
  if (whole.length <= length) return whole;
  const head = whole.slice(0, 16 * length); // one character may be long: an emoji, or piled accents
  const split = characters
    ? Array.from(characters.segment(head), (s) => s.segment)
    : Array.from(head);
  if (split.length <= length && head === whole) return whole;
  return split.slice(0, length - 1).join("") + "…";
}
