// The scrubber: each of its steps is one improvement; its right end is the present.

import { byId, setText } from "./dom.js";
import { percent, short, time } from "./format.js";

const WHOLE = 40_000; // ms that a replay takes at most
const STEP = 900; // ms between two improvements at most
const TICK = 160; // ms between two frames at least

export class Replay {
  #scrubber = byId("scrubber");
  #records = [];
  #shown = null; // how many improvements are shown; null is the present
  #timer = 0;
  #changed;

  /** `changed(n)` is called with the number of improvements to show, or with null for the present. */
  constructor(changed) {
    this.#changed = changed;
    this.#scrubber.addEventListener("input", () => {
      const value = Number(this.#scrubber.value); // before pausing writes what is shown
      this.pause();
      this.#go(value >= this.#records.length ? null : value);
    });
    byId("play").addEventListener("click", () => this.toggle());
    byId("back").addEventListener("click", () => {
      this.live();
      this.#scrubber.focus();
    });
  }

  get shown() {
    return this.#shown;
  }

  /** The records of the past, in order of time; they may grow while the past is shown. */
  set records(records) {
    this.#records = records;
    if (this.#shown !== null && this.#shown >= records.length) this.live();
    this.#scrubber.max = String(records.length);
    this.#write();
    byId("replay").hidden = records.length < 2;
  }

  /** Play from where the scrubber stands (from the start, if that is the present), or pause. */
  toggle() {
    if (this.#timer) return this.pause();
    if (this.#records.length < 2) return;
    const wanted = WHOLE / this.#records.length;
    const pace = Math.min(STEP, Math.max(TICK, wanted));
    const stride = Math.max(1, Math.round(pace / wanted));
    if (this.#shown === null) this.#go(1);
    this.#timer = setInterval(() => {
      const next = this.#shown + stride;
      if (next >= this.#records.length) this.live();
      else this.#go(next);
    }, pace);
    this.#write();
  }

  pause() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#write();
  }

  live() {
    this.pause();
    this.#go(null);
  }

  #go(shown) {
    const same = shown === this.#shown;
    this.#shown = shown;
    this.#write();
    if (!same) this.#changed(shown);
  }

  #write() {
    const records = this.#records;
    const at = this.#shown ?? records.length;
    this.#scrubber.value = String(at);
    const latest = records[at - 1];
    let text = "live";
    if (this.#shown !== null) {
      text = latest
        ? `${time.second(latest.time)}, ${at} of ${records.length} improvements; ${short(latest.name, 40)} reaches ${percent(latest.score)}`
        : "before the first result";
      setText(byId("past-text"), text);
    }
    this.#scrubber.setAttribute("aria-valuetext", text);
    setText(byId("play-text"), this.#timer ? "Pause" : "Replay");
    byId("play").dataset.playing = String(this.#timer !== 0);
  }
}
