// The ranking: one row per participant; only what changed is written, and rows move to their place.

import { byId, mlflowPath, setAttribute, setText, wantsStillness } from "./dom.js";
import {
  count,
  duration,
  interval,
  metric,
  milliseconds,
  percent,
  place,
  short,
} from "./format.js";

const FRESH = 8000; // ms for which a new best is highlighted
const MOVE = 700; // ms that a row takes to its new place

const PROJECTED = 12; // rows in projector mode, as in projector.css
const FEW = 13; // entries of which none is left off the strips' scale for being far behind
const WIDEST = 0.12; // accuracy that a strip spans

const REPEAT = { reproduced: "✓ reproduced", differs: "✗ differs", untried: "not tried" };

/** Entries as they stand on the board: by rank, the unranked ones below. */
export function inOrder(entries) {
  const rank = (entry) => entry.rank ?? Infinity;
  return [...entries].sort((a, b) => {
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    return (b.score ?? -1) - (a.score ?? -1) || a.time - b.time;
  });
}

/** The stretch of accuracies that the strips show: from below the main field to above the best. */
export function stretch(entries) {
  const ranked = entries.filter((entry) => entry.rank !== null);
  const highs = ranked.map((entry) => entry.high ?? entry.score);
  const lows = ranked.map((entry) => entry.low ?? entry.score).sort((a, b) => b - a);
  if (highs.length === 0) return [0, 1];
  const high = Math.max(...highs);
  const usual = lows[Math.floor((lows.length - 1) * (lows.length < FEW ? 1 : 0.5))] ?? high;
  const low = Math.max(usual, high - WIDEST);
  const step = high - low > 0.05 ? 0.02 : 0.01; // coarse, so that it seldom changes
  return [
    Math.max(0, Math.floor(low / step - 1e-9) * step),
    Math.min(1, Math.ceil(high / step + 1e-9) * step),
  ];
}

export class Ranking {
  #body = byId("rows");
  #template = byId("row-template");
  #rows = new Map(); // participant → row
  #stretch = "";
  #highlighted = null;

  /**
   * Show entries in their order. `fresh` holds the participants with a new best, `risen` how many
   * ranks others have gained.
   */
  show(entries, references, { past = false, fresh = new Set(), risen = new Map() } = {}) {
    const ordered = inOrder(entries);
    const inView = document.documentElement.hasAttribute("data-projector") ? PROJECTED : Infinity;
    const [low, high] = this.#scale(ordered.slice(0, inView), references);
    const sizes = new Map();
    for (const { rank } of ordered) sizes.set(rank, (sizes.get(rank) ?? 0) + 1);

    const present = new Set();
    const order = ordered.map((entry, i) => {
      present.add(entry.participant);
      let row = this.#rows.get(entry.participant);
      if (!row) {
        row = this.#make();
        this.#rows.set(entry.participant, row);
      }
      const shared = entry.rank !== null && sizes.get(entry.rank) > 1;
      const isFirst = ordered[i - 1]?.rank !== entry.rank;
      const isLast = ordered[i + 1]?.rank !== entry.rank;
      row.tie(shared ? (isFirst ? "first" : isLast ? "last" : "middle") : null);
      row.fill(entry, { shared, past, low, high });
      if (fresh.has(entry.participant)) row.freshen();
      if (risen.has(entry.participant)) row.climb(risen.get(entry.participant));
      row.node.toggleAttribute("data-beyond", i >= PROJECTED);
      return row;
    });
    this.#arrange(order, present);
    this.#mark();
    byId("no-entries").hidden = order.length > 0;
    byId("board").hidden = order.length === 0;
    byId("ties").hidden = past || ![...sizes].some(([rank, size]) => rank !== null && size > 1);
  }

  /** Mark the row of one participant, or of nobody (null). */
  highlight(participant, scroll = false) {
    this.#highlighted = participant;
    this.#mark();
    if (scroll && participant !== null) {
      const behavior = wantsStillness() ? "auto" : "smooth";
      this.#rows.get(participant)?.node.scrollIntoView({ block: "center", behavior });
    }
  }

  #mark() {
    for (const [participant, row] of this.#rows) {
      row.node.classList.toggle("mine", participant === this.#highlighted);
    }
  }

  #make() {
    return new Row(this.#template.content.firstElementChild.cloneNode(true));
  }

  #scale(entries, references) {
    const [low, high] = stretch(entries);
    const marks = references
      .map((mark) => (mark.score - low) / (high - low))
      .filter((at) => at > 0 && at < 1)
      .slice(0, 3);
    const now = [low, high, ...marks].join();
    if (now !== this.#stretch) {
      this.#stretch = now;
      setText(byId("axis-low"), percent(low, 0));
      setText(byId("axis-high"), percent(high, 0));
      const { style } = byId("board");
      for (let i = 0; i < 3; i += 1) {
        style.setProperty(`--mark${i}`, i in marks ? `${(100 * marks[i]).toFixed(2)}%` : "-9px");
      }
    }
    return [low, high];
  }

  /** Bring the rows into `order`; those in sight glide from where they were. */
  #arrange(order, present) {
    const body = this.#body;
    const gone = [...this.#rows].filter(([participant]) => !present.has(participant));
    const isSame =
      gone.length === 0 &&
      body.children.length === order.length &&
      order.every((row, i) => body.children[i] === row.node);
    if (isSame) return;

    const before = new Map();
    if (!wantsStillness()) {
      for (const row of order) {
        if (row.node.isConnected) before.set(row, row.node.getBoundingClientRect());
      }
    }
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    for (const [participant, row] of gone) {
      row.node.remove();
      this.#rows.delete(participant);
    }
    order.forEach((row, i) => {
      if (body.children[i] !== row.node) body.insertBefore(row.node, body.children[i] ?? null);
    });
    if (focused?.isConnected && focused !== document.activeElement) {
      focused.focus({ preventScroll: true }); // moving a node takes its focus away
    }
    if (before.size === 0) return;
    for (const row of order) row.still();
    const inSight = (box) => box.height > 0 && box.bottom > -100 && box.top < innerHeight + 100;
    const glides = [];
    for (const row of order) {
      const from = before.get(row);
      const to = row.node.getBoundingClientRect();
      if (!inSight(to) && !(from && inSight(from))) continue;
      const distance = from && from.height > 0 ? from.top - to.top : null;
      if (distance !== 0) glides.push([row, distance]);
    }
    for (const [row, distance] of glides) row.glide(distance);
  }
}

class Row {
  #freshTimer = 0;
  #risenTimer = 0;
  #glide = null;
  #lastScore = "";

  constructor(node) {
    const find = (selector) => node.querySelector(selector);
    this.node = node;
    this.parts = {
      rank: find(".rank"),
      place: find(".place"),
      risen: find(".risen"),
      link: find(".name"),
      name: find(".name bdi"),
      fresh: find(".fresh"),
      remark: find(".remark"),
      summary: find(".summary bdi"),
      value: find(".value"),
      interval: find(".interval"),
      strip: find(".strip"),
      test: find(".test .a"),
      claim: find(".claim"),
      verdict: find(".verdict"),
      parameters: find(".cost .a"),
      inference: find(".cost .b"),
      training: find(".work .a"),
      submissions: find(".work .b"),
      commit: find(".code code"),
      dirty: find(".dirty"),
      repeat: find(".repeat"),
      mlflow: find(".more a"),
    };
  }

  fill(entry, { shared, past, low, high }) {
    const p = this.parts;
    const isRanked = entry.rank !== null;
    const reason = reasonOf(entry);
    const shown = isRanked ? place(entry.rank, shared) : "–";
    setText(p.place, shown);
    p.place.toggleAttribute("data-long", shown.length > 3);
    setAttribute(p.rank, "aria-label", isRanked ? null : "not ranked");
    setText(p.name, entry.name);
    setAttribute(p.link, "href", `#entry-${Number(entry.submission)}`);
    setText(p.remark, entry.note ? "✗ remark" : "");
    setAttribute(p.remark, "title", entry.note ?? null);
    setText(p.summary, reason ?? entry.summary ?? "");
    this.node.classList.toggle("unranked", !isRanked);
    this.node.classList.toggle("best", entry.rank === 1);
    this.node.classList.toggle("known", !entry.partial);

    setText(p.value, percent(entry.score));
    setText(p.interval, interval(entry.low, entry.high));
    const share = (value) =>
      (100 * Math.min(1, Math.max(0, (value - low) / (high - low)))).toFixed(2);
    const ends = Number.isFinite(entry.low) ? [entry.low, entry.high] : [entry.score, entry.score];
    const drawn = `${share(ends[0])} ${share(ends[1])} ${share(entry.score)}`;
    if (drawn !== this.#lastScore) {
      this.#lastScore = drawn;
      const [from, to, at] = drawn.split(" ");
      p.strip.style.setProperty("--from", `${from}%`);
      p.strip.style.setProperty("--to", `${to}%`);
      p.strip.style.setProperty("--at", `${at}%`);
      p.strip.classList.toggle("below", entry.score < low);
    }

    setText(p.test, percent(entry.test));
    setText(
      p.claim,
      entry.claim ? metric(entry.claim.metric, entry.claim.value) : past ? "" : "none",
    );
    setAttribute(p.claim, "title", entry.claim ? String(entry.claim.metric) : null);
    this.node.classList.toggle("contradicted", Boolean(entry.contradicted));
    setText(p.verdict, entry.contradicted ? "✗ contradicted" : "");
    setText(p.parameters, entry.partial ? "" : count(entry.parameters));
    setText(p.inference, entry.partial ? "" : milliseconds(entry.inference_ms));
    setText(p.training, entry.partial ? "" : duration(entry.training_seconds));
    setText(p.submissions, entry.submissions ? `${entry.submissions} sent` : "");
    setText(p.commit, entry.commit ? String(entry.commit).slice(0, 7) : "");
    setText(p.dirty, entry.commit && entry.dirty ? "changed" : "");
    setText(p.repeat, entry.partial ? "" : (REPEAT[entry.reproduced] ?? ""));
    setAttribute(p.repeat, "data-state", String(entry.reproduced));
    const target = mlflowPath(entry.mlflow);
    p.mlflow.hidden = target === null;
    setAttribute(p.mlflow, "href", target);
    setAttribute(p.mlflow, "aria-label", target ? `${short(entry.name, 40)} in MLflow` : null);
    setAttribute(p.mlflow, "title", target ? "open the run in MLflow" : null);
  }

  tie(where) {
    setAttribute(this.node, "data-tie", where);
  }

  freshen() {
    clearTimeout(this.#freshTimer);
    this.node.classList.add("new-best");
    setText(this.parts.fresh, "new best");
    this.#freshTimer = setTimeout(() => {
      this.node.classList.remove("new-best");
      setText(this.parts.fresh, "");
    }, FRESH);
  }

  climb(ranks) {
    clearTimeout(this.#risenTimer);
    setText(this.parts.risen, `▲${ranks}`);
    this.#risenTimer = setTimeout(() => setText(this.parts.risen, ""), FRESH);
  }

  still() {
    if (this.#glide === null) return;
    this.#glide.cancel();
    this.#glide = null;
    this.node.classList.remove("rising");
  }

  /** Glide from `distance` pixels away, or appear in place (null). */
  glide(distance) {
    const frames =
      distance === null
        ? [{ opacity: 0 }, { opacity: 1 }]
        : [{ transform: `translateY(${distance}px)` }, { transform: "none" }];
    this.node.classList.toggle("rising", distance > 0); // above those that it overtakes
    const easing = "cubic-bezier(0.2, 0.8, 0.2, 1)";
    this.#glide = this.node.animate(frames, { duration: MOVE, easing });
    this.#glide.onfinish = () => this.still();
  }
}

/** Why an entry has no rank, or null. */
export function reasonOf(entry) {
  if (typeof entry.disqualified === "string") return `Disqualified: ${entry.disqualified}`;
  if (typeof entry.suspect === "string" && entry.rank === null)
    return `Held back: ${entry.suspect}`;
  return null;
}
