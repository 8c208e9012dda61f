// Best-so-far curves: step lines over time, reference lines, names at the ends of the best.

import { byId, drawn, element } from "./dom.js";
import { percent, short, time } from "./format.js";
import { series } from "./history.js";

const LABELLED = 10;
const NAMES = 9; // em: the room for a name at the end of its line
const FEW = 12; // participants of whom none is left out of sight for being far behind
const WIDEST = 0.15; // accuracy between the best and what is left out of sight
const ROWS = 500; // improvements in the table
const MANY = 60; // grey lines that are drawn thinner
const NEAR = 28; // pixels within which the pointer finds a line

const MINUTE = 60_000;
const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080].map(
  (m) => m * MINUTE,
);
const SHARES = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];

/** Steps of a round size, at most `most` of them between two values. */
export function ticks(from, to, sizes, most, origin = 0) {
  const size = sizes.find((one) => (to - from) / one <= most) ?? sizes[sizes.length - 1];
  const found = [];
  for (let i = Math.ceil((from - origin) / size - 1e-9); origin + i * size <= to + 1e-9; i += 1) {
    found.push(origin + i * size);
    if (found.length > 50) break;
  }
  return found;
}

/** Move sorted positions apart by at least `gap`, within [low, high], moving them little. */
export function spread(positions, gap, low, high) {
  const placed = [...positions];
  for (let i = 0; i < placed.length; i += 1) {
    placed[i] = Math.max(placed[i], i === 0 ? low : placed[i - 1] + gap);
  }
  for (let i = placed.length - 1; i >= 0; i -= 1) {
    placed[i] = Math.min(placed[i], i === placed.length - 1 ? high : placed[i + 1] - gap);
  }
  return placed;
}

export class Curves {
  #chart = byId("chart");
  #svg = byId("plot");
  #given = null; // what was last asked to be shown
  #lines = []; // series, the best first
  #slots = new Map(); // participant → number of a colour, kept while among the labelled
  #hot = null; // participant under the pointer or reached by keys
  #picked = null; // participant to be highlighted always
  #geometry = null;
  #ruler = document.createElement("canvas").getContext("2d");
  #which = "score";

  constructor() {
    new ResizeObserver(() => this.#draw()).observe(this.#chart);
    this.#chart.addEventListener("pointermove", (event) => this.#point(event));
    this.#chart.addEventListener("pointerdown", (event) => this.#point(event));
    this.#chart.addEventListener("pointerleave", () => this.#heat(null));
    this.#chart.addEventListener("blur", () => this.#heat(null));
    this.#chart.addEventListener("keydown", (event) => this.#walk(event));
    byId("which").addEventListener("change", (event) => {
      this.#which = event.target.value;
      this.#draw();
    });
    byId("curve-table").addEventListener("toggle", () => this.#tabulate());
  }

  /** Show records, from `start` to `end` in ms; `cursor` is the moment of the past, or null. */
  show({ records, references, start, end, cursor }) {
    this.#given = { records, references, start, end, cursor };
    this.#lines = series(records);
    this.#draw();
    this.#tabulate();
  }

  highlight(participant) {
    this.#picked = participant;
    this.#draw();
  }

  #value(record) {
    return this.#which === "test" ? record.test : record.score;
  }

  /** The labelled lines keep their colour while others come and go. */
  #colours(labelled) {
    const here = new Set(labelled.map((one) => one.participant));
    for (const participant of this.#slots.keys()) {
      if (!here.has(participant)) this.#slots.delete(participant);
    }
    const free = [...Array(LABELLED).keys()].filter(
      (slot) => ![...this.#slots.values()].includes(slot),
    );
    for (const { participant } of labelled) {
      if (!this.#slots.has(participant)) this.#slots.set(participant, free.shift());
    }
  }

  #limits(references) {
    const values = this.#lines
      .map((one) => this.#value(one.points[one.points.length - 1]))
      .filter(Number.isFinite)
      .sort((a, b) => b - a);
    const marks = references.map((mark) => mark[this.#which]).filter(Number.isFinite);
    const high = Math.max(values[0] ?? 0, ...marks, values.length + marks.length ? 0 : 1);
    const isFew = values.length < FEW;
    const field =
      values[Math.floor((values.length - 1) * (isFew ? 1 : 0.6))] ?? Math.min(high, ...marks);
    let low = Math.max(field, high - WIDEST);
    if (isFew) {
      const firsts = this.#lines.map((one) => this.#value(one.points[0]));
      low = Math.min(low, ...firsts.filter((first) => first > high - WIDEST));
    }
    const reach = high - 1.6 * Math.max(high - low, 0.02); // a mark further down is named at the edge
    low = Math.min(low, ...marks.filter((mark) => mark >= reach));
    const room = Math.max(0.01, (high - low) * 0.08);
    return [Math.max(0, low - room), Math.min(1, high + room)];
  }

  #draw() {
    const given = this.#given;
    const { clientWidth: width, clientHeight: height } = this.#chart;
    if (!given || width < 50 || height < 50) return;
    const { references, start, end, cursor } = given;
    const svg = this.#svg;
    const em = parseFloat(getComputedStyle(svg).fontSize);
    const labelled = this.#lines.slice(
      0,
      Math.min(LABELLED, Math.floor((height - 2 * em) / (1.25 * em))),
    );
    this.#colours(labelled);

    const box = {
      left: 2,
      top: 0.8 * em,
      right: width - (labelled.length ? (NAMES + 1.6) * em : 0.5 * em),
      bottom: height - 1.9 * em,
    };
    const [low, high] = this.#limits(references);
    const x = (t) => box.left + ((t - start) / (end - start)) * (box.right - box.left);
    const y = (v) => box.bottom - ((v - low) / (high - low)) * (box.bottom - box.top);
    const last = cursor ?? end;
    this.#geometry = { box, x, y, last };

    const grid = drawn("g", { class: "grid" });
    const scale = drawn("g", { class: "grid" });
    for (const value of ticks(
      low,
      high,
      SHARES,
      Math.max(3, Math.floor((box.bottom - box.top) / (3 * em))),
    )) {
      const at = y(value).toFixed(1);
      grid.append(drawn("line", { x1: box.left, x2: box.right, y1: at, y2: at }));
      if (at > 1.2 * em)
        scale.append(
          drawn(
            "text",
            { x: box.left, y: (at - 0.25 * em).toFixed(1) },
            `${Number((100 * value).toFixed(1))} %`,
          ),
        );
    }
    const midnight = new Date(start).setHours(0, 0, 0, 0);
    const isLong = end - start > 36 * 60 * MINUTE;
    for (const moment of ticks(
      start,
      end,
      TIMES,
      Math.max(2, Math.floor((box.right - box.left) / (5.2 * em))),
      midnight,
    )) {
      const at = x(moment);
      if (at < box.left + 1.6 * em || at > box.right - 1.4 * em) continue;
      const label = isLong ? time.day(moment) : time.minute(moment);
      grid.append(
        drawn("line", {
          class: "tick",
          x1: at.toFixed(1),
          x2: at.toFixed(1),
          y1: box.bottom,
          y2: box.bottom + 4,
        }),
      );
      grid.append(
        drawn(
          "text",
          { x: at.toFixed(1), y: (box.bottom + 1.4 * em).toFixed(1), "text-anchor": "middle" },
          label,
        ),
      );
    }
    grid.append(
      drawn("line", { class: "base", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    );

    const clip = drawn("clipPath", { id: "inside" });
    clip.append(
      drawn("rect", {
        x: box.left,
        y: 0,
        width: Math.max(0, box.right - box.left + 4),
        height: box.bottom,
      }),
    );

    const field = drawn("g", { class: "field", "clip-path": "url(#inside)" });
    const others = this.#lines.slice(labelled.length).map((one) => this.#path(one, x, y, last));
    if (others.length)
      field.append(
        drawn("path", {
          class: others.length > MANY ? "others many" : "others",
          d: others.join(""),
        }),
      );
    for (const one of [...labelled].reverse()) {
      const slot = this.#slots.get(one.participant);
      const leads = one === labelled[0] ? " leads" : "";
      field.append(
        drawn("path", { class: `line c${slot}${leads}`, d: this.#path(one, x, y, last) }),
      );
    }
    for (const participant of new Set([this.#picked, this.#hot])) {
      const one = this.#lines.find((line) => line.participant === participant);
      if (one) field.append(...this.#highlighted(one, x, y, last));
    }

    const [lines, labels] = this.#marks(references, box, y, em);
    const parts = [
      clip,
      grid,
      lines,
      field,
      scale,
      labels,
      this.#names(labelled, box, x, y, last, em),
    ];
    if (cursor !== null) {
      const at = x(cursor).toFixed(1);
      parts.push(drawn("line", { class: "cursor", x1: at, x2: at, y1: box.top, y2: box.bottom }));
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(...parts);
    this.#read();
  }

  #path(one, x, y, last) {
    let path = "";
    for (const record of one.points) {
      const value = this.#value(record);
      if (!Number.isFinite(value)) continue;
      const at = x(record.time).toFixed(1);
      path += path ? `H${at}V${y(value).toFixed(1)}` : `M${at},${y(value).toFixed(1)}`;
    }
    return path ? `${path}H${x(last).toFixed(1)}` : "";
  }

  #highlighted(one, x, y, last) {
    const d = this.#path(one, x, y, last);
    const dots = one.points.map((record) =>
      drawn("circle", {
        class: "dot",
        cx: x(record.time).toFixed(1),
        cy: y(this.#value(record)).toFixed(1),
        r: 3,
      }),
    );
    return [
      drawn("path", { class: "halo", d }),
      drawn("path", { class: "hot", d }),
      ...dots.slice(-60),
    ];
  }

  #marks(references, box, y, em) {
    const lines = drawn("g", { class: "marks" });
    const labels = drawn("g", { class: "marks" });
    const shown = references
      .map((mark) => ({ name: mark.name, value: mark[this.#which] }))
      .filter((mark) => Number.isFinite(mark.value))
      .sort((a, b) => b.value - a.value);
    const isBelow = (mark) => y(mark.value) > box.bottom;
    const wanted = shown.map((mark) => Math.min(y(mark.value), box.bottom) - 0.35 * em);
    const places = spread(wanted, 1.2 * em, box.top + 0.6 * em, box.bottom - 0.35 * em);
    shown.forEach((mark, i) => {
      const at = y(mark.value).toFixed(1);
      if (!isBelow(mark))
        lines.append(drawn("line", { x1: box.left, x2: box.right, y1: at, y2: at }));
      const label = `${isBelow(mark) ? "▾ " : ""}${short(mark.name, 28)} ${percent(mark.value, 1)}`;
      labels.append(drawn("text", { x: box.left + 3 * em, y: places[i].toFixed(1) }, label));
    });
    return [lines, labels];
  }

  /** Names at the ends of their lines, moved apart where they would overlap. */
  #names(labelled, box, x, y, last, em) {
    const group = drawn("g", { class: "names" });
    const ends = labelled
      .map((one) => ({ one, at: y(this.#value(one.points[one.points.length - 1])) }))
      .filter((end) => Number.isFinite(end.at))
      .sort((a, b) => a.at - b.at);
    const inside = ends.map((end) => Math.min(end.at, box.bottom));
    const places = spread(inside, 1.22 * em, box.top, box.bottom);
    const from = x(last);
    ends.forEach(({ one }, i) => {
      const slot = this.#slots.get(one.participant);
      const to = box.right + 0.9 * em;
      group.append(
        drawn("path", {
          class: `lead c${slot}`,
          d: `M${from.toFixed(1)},${inside[i].toFixed(1)}H${box.right.toFixed(1)}L${to.toFixed(1)},${places[i].toFixed(1)}`,
        }),
      );
      group.append(
        drawn("circle", {
          class: `end c${slot}`,
          cx: to.toFixed(1),
          cy: places[i].toFixed(1),
          r: (0.28 * em).toFixed(1),
        }),
      );
      const name = drawn(
        "text",
        { x: (to + 0.6 * em).toFixed(1), y: (places[i] + 0.35 * em).toFixed(1) },
        this.#fit(one.name, NAMES * em),
      );
      if (one.participant === this.#hot || one.participant === this.#picked)
        name.classList.add("chosen");
      group.append(name);
    });
    return group;
  }

  /** As much of a name as fits into `room` pixels. */
  #fit(name, room) {
    const { fontFamily, fontSize } = getComputedStyle(this.#svg);
    this.#ruler.font = `700 ${fontSize} ${fontFamily}`;
    for (let length = 24; length > 2; length -= 1) {
      const shortened = short(name, length);
      if (this.#ruler.measureText(shortened).width <= room) return shortened;
    }
    return "…";
  }

  /** Find the line that is nearest to the pointer, at the pointer's time. */
  #point(event) {
    if (!this.#geometry) return;
    const { box, x, y, last } = this.#geometry;
    const frame = this.#svg.getBoundingClientRect();
    const at = { x: event.clientX - frame.left, y: event.clientY - frame.top };
    let nearest = null;
    let distance = NEAR;
    for (const one of this.#lines) {
      let value = null;
      for (const record of one.points) {
        if (value !== null && x(record.time) > Math.min(at.x, x(last))) break;
        if (x(record.time) > at.x + NEAR) break;
        value = this.#value(record);
      }
      if (value === null) continue;
      const away = Math.abs(Math.min(y(value), box.bottom) - at.y);
      if (away < distance) [nearest, distance] = [one.participant, away];
    }
    this.#heat(nearest);
  }

  #walk(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || this.#lines.length === 0) return;
    event.preventDefault();
    const at = this.#lines.findIndex((one) => one.participant === this.#hot);
    const step = steps[event.key];
    const next =
      at === -1 && Number.isFinite(step) ? (step > 0 ? 0 : this.#lines.length - 1) : at + step;
    this.#heat(this.#lines[Math.min(this.#lines.length - 1, Math.max(0, next))].participant);
  }

  #heat(participant) {
    if (participant === this.#hot) return;
    this.#hot = participant;
    this.#draw();
  }

  #read() {
    const shown = this.#hot ?? this.#picked;
    const place = this.#lines.findIndex((one) => one.participant === shown);
    const readout = byId("readout");
    readout.replaceChildren();
    if (place === -1) return;
    const { name, points } = this.#lines[place];
    const record = points[points.length - 1];
    readout.append(element("bdi", "", short(name, 40)));
    readout.append(` ${percent(this.#value(record))} since ${time.minute(record.time)}`);
  }

  #tabulate() {
    if (!byId("curve-table").open || !this.#given) return;
    const rows = this.#given.records.slice(-ROWS).reverse();
    const body = byId("curve-rows");
    body.replaceChildren(
      ...rows.map((record) => {
        const row = element("tr");
        const name = element("th");
        name.scope = "row";
        name.append(element("bdi", "", record.name));
        row.append(element("td", "", time.second(record.time)), name);
        row.append(
          element("td", "", percent(record.score)),
          element("td", "", percent(record.test)),
        );
        return row;
      }),
    );
  }
}
