// What a screen reader hears of the ranking: seldom, short, and summed up when much happens.

import { byId } from "./dom.js";
import { percent, short } from "./format.js";

const PAUSE = 6000; // ms between two announcements
const MOST = 3; // changes said one by one

const spoken = (entry) =>
  `${short(entry.name, 40)}, rank ${entry.rank} with ${percent(entry.score, 1)}`;

export class Announcer {
  #node = byId("announcer");
  #waiting = new Map(); // participant → entry
  #timer = 0;
  #last = -PAUSE;

  /** Entries whose rank or best has changed; `leader` is said when there are many. */
  changed(entries, leader) {
    for (const entry of entries) this.#waiting.set(entry.participant, entry);
    if (this.#waiting.size === 0 || this.#timer) return;
    const wait = Math.max(200, this.#last + PAUSE - performance.now());
    this.#timer = setTimeout(() => this.#say(leader), wait);
  }

  /** Say one thing now, such as that the past is shown. */
  say(text) {
    this.#node.textContent = text;
    this.#last = performance.now();
  }

  #say(leader) {
    this.#timer = 0;
    const entries = [...this.#waiting.values()].sort((a, b) => a.rank - b.rank);
    this.#waiting.clear();
    if (entries.length <= MOST) this.say(`${entries.map(spoken).join(". ")}.`);
    else this.say(`${entries.length} new results. ${spoken(leader() ?? entries[0])} leads.`);
  }
}
