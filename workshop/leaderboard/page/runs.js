// Runs in progress: a line each, which fades some time after its end.

import { byId, setAttribute, setText } from "./dom.js";
import { metric, time } from "./format.js";

const LINGER = 20_000; // ms for which an ended run stays
const FADE = 1500; // ms, as in board.css
const SILENT = 120_000; // ms without news after which a running one says so
const LENGTH = 60; // values in a sparkline

const ENDED = { finished: "finished", failed: "failed", killed: "stopped" };

const keyOf = (run) => `${run.participant} ${run.run}`;

/** The metric worth watching: validation accuracy, else an accuracy, else whatever there is. */
function watched(metrics) {
  const names = Object.keys(metrics ?? {});
  const fits = [/^val(idation)?_acc(uracy)?$/i, /^(?!best).*val.*acc/i, /acc/i, /./];
  for (const fit of fits) {
    const name = names.find((candidate) => fit.test(candidate));
    if (name !== undefined) return name;
  }
  return null;
}

export class Runs {
  #list = byId("run-list");
  #template = byId("run-template");
  #lines = new Map(); // participant and run → line

  /** Take in runs; `now` is the server's clock. With `all`, runs that are not named have gone. */
  show(runs, now, all = false) {
    const named = new Set();
    for (const run of runs) {
      const key = keyOf(run);
      named.add(key);
      let line = this.#lines.get(key);
      if (!line) {
        if (run.status in ENDED && now - run.updated > LINGER) continue;
        line = new Line(this.#template.content.firstElementChild.cloneNode(true));
        this.#lines.set(key, line);
        this.#list.prepend(line.node);
      }
      line.fill(run, now);
    }
    if (all) {
      for (const [key, line] of this.#lines) if (!named.has(key)) this.#drop(key, line);
    }
    this.tick(now);
  }

  /** What time alone changes: ended runs fade, silent ones say so. */
  tick(now) {
    let running = 0;
    for (const [key, line] of this.#lines) {
      if (line.endedAt !== null && now - line.endedAt > LINGER) {
        if (now - line.endedAt > LINGER + FADE) this.#drop(key, line);
        else line.node.classList.add("fading");
      } else {
        running += line.endedAt === null ? 1 : 0;
        line.hush(now);
      }
    }
    setText(byId("run-count"), running ? String(running) : "");
    byId("no-runs").hidden = this.#lines.size > 0;
    byId("runs-scroll").hidden = this.#lines.size === 0;
  }

  #drop(key, line) {
    line.node.remove();
    this.#lines.delete(key);
  }
}

class Line {
  #values = [];
  #epoch = null;
  #updated = 0;
  endedAt = null;

  constructor(node) {
    const find = (selector) => node.querySelector(selector);
    this.node = node;
    this.parts = {
      name: find(".name"),
      runName: find(".run-name"),
      accuracy: find(".accuracy"),
      epoch: find(".epoch"),
      bar: find("progress"),
      spark: find("polyline"),
    };
  }

  fill(run, now) {
    const p = this.parts;
    setText(p.name, run.name);
    setText(p.runName, run.run_name ?? "");
    const name = watched(run.metrics);
    const value = name === null ? null : run.metrics[name];
    setText(p.accuracy, name === null ? "" : metric(name, value));
    setAttribute(p.accuracy, "title", name);

    this.#updated = run.updated;
    if (run.status in ENDED) this.endedAt ??= Math.min(run.updated, now);
    else this.endedAt = null;
    this.node.classList.toggle("ended", this.endedAt !== null);
    this.node.classList.remove("fading");
    const of = Number.isInteger(run.epochs) && run.epochs > 0 ? run.epochs : null;
    const at = Number.isInteger(run.epoch) ? run.epoch : null;
    const done = at === null ? "starting" : of === null ? `epoch ${at}` : `epoch ${at} of ${of}`;
    setText(p.epoch, ENDED[run.status] ?? done);
    setAttribute(p.epoch, "data-status", run.status);
    setAttribute(p.bar, "max", String(of ?? 1));
    setAttribute(p.bar, "value", String(Math.min(at ?? 0, of ?? 0)));

    if (typeof value === "number" && Number.isFinite(value)) {
      if (at !== null && at === this.#epoch) this.#values[this.#values.length - 1] = value;
      else this.#values.push(value);
      if (this.#values.length > LENGTH) this.#values.shift();
      this.#epoch = at;
      this.#draw();
    }
  }

  hush(now) {
    const isSilent = this.endedAt === null && now - this.#updated > SILENT;
    if (isSilent) setText(this.parts.epoch, `no news since ${time.minute(this.#updated)}`);
    this.node.classList.toggle("silent", isSilent);
  }

  #draw() {
    const values = this.#values.length > 1 ? this.#values : [this.#values[0], this.#values[0]];
    const low = Math.min(...values);
    const span = Math.max(Math.max(...values) - low, 0.02 * Math.abs(low), 1e-9);
    const points = values.map((value, i) => {
      const x = (100 * i) / (values.length - 1);
      return `${x.toFixed(1)},${(27 - (24 * (value - low)) / span).toFixed(1)}`;
    });
    setAttribute(this.parts.spark, "points", points.join(" "));
  }
}
