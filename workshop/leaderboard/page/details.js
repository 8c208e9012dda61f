// Everything about one entry, in a dialog; `#entry-ID` opens it.

import { byId, element, mlflowPath, setAttribute, setText } from "./dom.js";
import {
  count,
  duration,
  interval,
  metric,
  milliseconds,
  percent,
  place,
  short,
  time,
} from "./format.js";
import { reasonOf } from "./ranking.js";
import { ask } from "./stream.js";

const REPEATED = {
  reproduced: "yes: a repetition gave the same figures",
  differs: "no: a repetition gave other figures",
  untried: "not tried yet",
};

const WAITING = { queued: "waits to be scored", scoring: "is being scored", refused: "refused" };

const measured = (value, low, high) => {
  const between = interval(low, high);
  return percent(value) + (between ? ` (95 %: ${between})` : "");
};

export class Details {
  #dialog = byId("details");
  #find;
  #asked = null; // the submission in the address
  #opened = null; // the submission in the dialog

  /** `find(submission)` returns {entry, shared, records} as the board knows them, or null. */
  constructor(find) {
    this.#find = find;
    byId("details-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // beside it
    });
    this.#dialog.addEventListener("close", () => {
      // The event comes late: by then another entry may have been asked for, or shown.
      if (this.#dialog.open) return;
      if (this.#asked === this.#opened) this.#asked = null;
      if (location.hash === `#entry-${this.#opened}`)
        history.replaceState(null, "", location.pathname + location.search);
    });
    addEventListener("hashchange", () => this.follow());
  }

  /** Open, change or close as the address asks. */
  async follow() {
    const wanted = /^#entry-(\d{1,15})$/.exec(location.hash);
    if (!wanted) {
      if (this.#dialog.open) this.#dialog.close();
      return;
    }
    const submission = Number(wanted[1]);
    this.#asked = submission;
    if (this.#dialog.open) this.#opened = submission;
    const known = this.#find(submission);
    if (known) this.#fill(known);
    else await this.#fetch(submission);
    if (this.#asked !== submission || this.#dialog.open) return;
    this.#opened = submission;
    this.#dialog.showModal();
  }

  /** Bring an open dialog up to date. */
  refresh() {
    if (!this.#dialog.open || this.#asked === null) return;
    const known = this.#find(this.#asked);
    if (known) this.#fill(known);
  }

  #fill({ entry, shared, records }) {
    const { claim } = entry;
    let claimed = null;
    if (claim) {
      claimed = `${short(claim.metric, 60)}: ${metric(claim.metric, claim.value)}`;
      if (entry.contradicted)
        claimed += ` ✗ contradicted: the server measured ${measured(entry.test, entry.test_low, entry.test_high)}`;
    }
    this.#write(entry.name, reasonOf(entry), [
      [
        "Rank",
        entry.rank === null ? "none" : place(entry.rank, shared) + (shared ? " (shared)" : ""),
      ],
      ["Score on the hidden images", measured(entry.score, entry.low, entry.high)],
      ["Accuracy on the test set", measured(entry.test, entry.test_low, entry.test_high)],
      ["Claimed", claimed ?? "nothing"],
      ["Configuration", entry.summary],
      ["Parameters", `${count(entry.parameters)}`],
      ["1000 images on one thread", milliseconds(entry.inference_ms)],
      ["Training", duration(entry.training_seconds)],
      [
        "Commit",
        entry.commit
          ? entry.commit + (entry.dirty ? ", with changes that are not committed" : "")
          : null,
      ],
      ["Reproduced", REPEATED[entry.reproduced]],
      ["Submitted", `${time.whole(entry.time)}, number ${entry.submission}`],
      ["Submissions so far", entry.submissions],
      ["Remark", entry.note ?? (entry.rank !== null ? entry.suspect : null)],
    ]);
    const target = mlflowPath(entry.mlflow);
    byId("details-mlflow").hidden = target === null;
    setAttribute(byId("details-mlflow").firstElementChild, "href", target);
    const steps = records.slice(-50).map((record) => {
      const step = element("li", "", `${time.second(record.time)}  `);
      step.append(
        element("strong", "", percent(record.score)),
        ` test set ${percent(record.test)}`,
      );
      return step;
    });
    byId("details-steps").replaceChildren(...steps);
    byId("details-history").hidden = steps.length === 0;
  }

  /** A submission that is nobody's best: the server knows it. */
  async #fetch(submission) {
    byId("details-mlflow").hidden = true;
    byId("details-history").hidden = true;
    this.#write(`Submission ${submission}`, null, [["State", "looking it up…"]]);
    try {
      const found = await ask(`/api/submissions/${submission}`);
      if (this.#asked !== submission) return;
      const ahead = found.ahead ? `, ${found.ahead} ahead of it` : "";
      const rank = found.rank ? ` of ${found.of}` : "";
      this.#write(found.name, null, [
        ["Submission", submission],
        [
          "State",
          found.state === "scored"
            ? "scored"
            : (WAITING[found.state] ?? String(found.state)) + ahead,
        ],
        ["Reason", found.reason],
        ["Rank", found.rank ? found.rank + rank : null],
        [
          "Score on the hidden images",
          found.score === null ? null : measured(found.score, found.low, found.high),
        ],
        ["Accuracy on the test set", found.test === null ? null : percent(found.test)],
        [
          "Claimed",
          found.claim
            ? `${short(found.claim.metric, 60)}: ${metric(found.claim.metric, found.claim.value)}${found.contradicted ? " ✗ contradicted" : ""}`
            : null,
        ],
        ["Remark", found.suspect],
      ]);
    } catch {
      if (this.#asked !== submission) return;
      this.#write(`Submission ${submission}`, null, [
        ["State", "there is none with this number on the board"],
      ]);
    }
  }

  #write(name, reason, facts) {
    setText(byId("details-name"), String(name));
    byId("details-reason").hidden = reason === null;
    setText(byId("details-reason"), reason ?? "");
    const shown = facts.filter(([, text]) => text !== null && text !== undefined && text !== "");
    const made = shown.flatMap(([label, text]) => {
      const value = element("dd");
      value.append(element("bdi", "", String(text)));
      return [element("dt", "", label), value];
    });
    byId("details-list").replaceChildren(...made);
  }
}
