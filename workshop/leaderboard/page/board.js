// The page: takes in what the server says, keeps the state, and shows the present or the past.

import { Announcer } from "./announce.js";
import { Curves } from "./curves.js";
import { Details } from "./details.js";
import { byId, element, setAttribute, setText } from "./dom.js";
import { duration, percent, place, short, time } from "./format.js";
import { boardAfter, usable } from "./history.js";
import { inOrder, Ranking } from "./ranking.js";
import { Replay } from "./replay.js";
import { Runs } from "./runs.js";
import { ask, follow } from "./stream.js";

const STATES = { open: "open", frozen: "frozen: no more submissions", closed: "closed" };
const SOON = 5000; // ms, about, until the history is fetched again after a new score
const CHOICE = "workshop-leaderboard-highlight";

const ranking = new Ranking();
const curves = new Curves();
const runs = new Runs();
const announcer = new Announcer();
const details = new Details(findEntry);
const replay = new Replay(showMoment);

let snapshot = null;
let arrived = null; // the snapshot that waits for the next frame
let liveNews = []; // runs that wait for the next frame
let records = []; // of the history, as the server gave them
let past = []; // those that may be shown
let ahead = 0; // ms by which the server's clock is ahead of ours
let frame = 0;
let seen = new Map(); // participant → entry of the last frame, to see what is new
let connection = "connecting";

const serverNow = () => Date.now() + ahead;

// ---- what arrives ----

function onBoard(message) {
  arrived = message;
  liveNews = []; // the snapshot holds them
  ahead = message.competition.now - Date.now();
  schedule();
}

function onLive(message) {
  liveNews.push(...message.runs);
  schedule();
}

function schedule() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (arrived) takeIn(arrived);
    if (liveNews.length) runs.show(liveNews.splice(0), serverNow());
  });
}

function takeIn(message) {
  arrived = null;
  const isFirst = snapshot === null;
  snapshot = message;
  const { competition, entries, live, queue } = message;
  showCompetition(competition);
  showQueue(queue);
  showChoice(entries);
  setText(byId("entry-count"), entries.length ? String(entries.length) : "");
  runs.show(live, serverNow(), true);

  const news = isFirst ? null : compare(entries);
  seen = new Map(entries.map((entry) => [entry.participant, entry]));
  if (replay.shown === null) {
    showRanking(news ?? {});
    if (news) announcer.changed(news.changed, leader);
  }
  if (isFirst) {
    fetchHistory(0);
    showHistory();
    details.follow();
  } else if (news.scored || news.altered) {
    if (news.scored) {
      record(entries);
      fetchHistory(SOON * (0.5 + Math.random())); // the room must not ask all at once
    }
    showHistory();
  } else {
    details.refresh();
  }
}

/** What is new against the last snapshot: bests, ranks won, and what to announce. */
function compare(entries) {
  const news = { fresh: new Set(), risen: new Map(), changed: [], scored: false, altered: false };
  for (const entry of entries) {
    const before = seen.get(entry.participant);
    const isNew = before?.submission !== entry.submission || before?.score !== entry.score;
    if (isNew) news.scored = true;
    if (before && before.name !== entry.name) news.altered = true;
    if (entry.rank === null) {
      if (before && before.rank !== null) news.altered = true;
      continue;
    }
    if (before?.rank === null) news.altered = true;
    if (isNew && !(before?.score >= entry.score)) news.fresh.add(entry.participant);
    if (entry.rank < before?.rank) news.risen.set(entry.participant, before.rank - entry.rank);
    if (news.fresh.has(entry.participant) || entry.rank < before?.rank) news.changed.push(entry);
  }
  if (entries.length < seen.size) news.scored = true; // somebody was removed
  return news;
}

const leader = () => inOrder(snapshot.entries).find((entry) => entry.rank === 1);

let historyTimer = 0;
let historyAsked = 0;

/** Fetch the history after a while, if that is not about to happen anyway. */
function fetchHistory(delay, failures = 0) {
  historyTimer ||= setTimeout(async () => {
    historyTimer = 0;
    historyAsked += 1;
    const mine = historyAsked;
    try {
      const answer = await ask("/api/history");
      if (mine !== historyAsked) return; // a later one is on its way
      records = answer.records;
      showHistory();
    } catch {
      fetchHistory(
        Math.min(30_000, 2000 * 2 ** failures) * (0.75 + 0.5 * Math.random()),
        failures + 1,
      );
    }
  }, delay);
}

/** New bests enter the history at once; what the server recorded of them replaces this later. */
function record(entries) {
  const known = new Map(records.map((one) => [one.submission, one]));
  const fresh = entries.filter(({ submission, score }) => known.get(submission)?.score !== score);
  const replaced = new Set(fresh.map((entry) => entry.submission));
  records = records.filter((one) => !replaced.has(one.submission));
  for (const { participant, name, submission, time, score, test } of fresh) {
    records.push({ participant, name, submission, time, score, test });
  }
}

function showHistory() {
  past = usable(records, snapshot.entries);
  replay.records = past;
  showCurves();
  details.refresh();
}

function onState(state, since) {
  if (state === connection) return;
  if (state === "live" && connection === "reconnecting" && snapshot)
    fetchHistory(SOON * Math.random());
  connection = state;
  setAttribute(byId("connection"), "data-state", state);
  setText(
    byId("connection-text"),
    state === "live" ? "live" : `reconnecting since ${time.minute(since)}`,
  );
  showTitle();
}

// ---- what is shown ----

function showCompetition(competition) {
  const { name, state, rule, seed, join, address } = competition;
  setText(byId("title"), name);
  setText(byId("data"), competition.data);
  setText(byId("state"), STATES[state] ?? String(state));
  setAttribute(byId("state"), "data-state", state);
  setText(byId("rule"), rule ?? "");

  byId("seed-line").hidden = !seed && !competition.seed_sha256;
  setText(byId("seed-label"), seed ? "Seed of the hidden images" : "Secret seed, SHA-256");
  setText(byId("seed"), seed ?? competition.seed_sha256 ?? "");
  byId("images-line").hidden = !competition.images_sha256;
  setText(byId("images"), competition.images_sha256 ?? "");

  let isWeb = false;
  try {
    isWeb = /^https?:$/.test(new URL(address).protocol);
  } catch {
    // an address that is none is shown as nothing
  }
  byId("join").hidden = !isWeb;
  byId("join-tab").hidden = !isWeb;
  setText(byId("join-title"), join ? "Take part" : "Watch along");
  if (isWeb) {
    setText(byId("address"), address.replace(/^http:\/\//, "").replace(/\/$/, ""));
    setAttribute(byId("address"), "href", new URL(address).href);
    setText(byId("join-code"), join ? `${join} ` : "");
    byId("command").hidden = !join;
    showCode(address);
  }
  showTitle();
}

/** The QR code, fetched again when the address changes. */
function showCode(address) {
  const image = byId("qr");
  const source = `/qr.svg?for=${encodeURIComponent(address)}`;
  if (image.getAttribute("src") === source) return;
  image.alt = `QR code of ${address}`;
  image.onload = () => (image.hidden = false);
  image.onerror = () => (image.hidden = true);
  image.src = source;
}

function showTitle() {
  if (!snapshot) return;
  const { name, state } = snapshot.competition;
  const first = leader();
  const lead = first ? `${percent(first.score, 1)} ${short(first.name, 24)}, ` : "";
  const mark = replay.shown !== null ? "past" : connection === "live" ? state : connection;
  document.title = `(${mark}) ${lead}${name}`;
}

function showQueue(queue) {
  const { waiting, scoring, per_minute: rate, oldest_seconds: oldest } = queue;
  const facts = [];
  if (waiting || scoring) {
    facts.push(`${waiting} waiting`, `${scoring} being scored`);
    if (oldest) facts.push(`oldest ${duration(oldest)}`);
  } else {
    facts.push("nothing waits to be scored");
  }
  if (rate) facts.push(`${Number(rate.toFixed(1))} per minute`);
  setText(byId("queue"), facts.join(" · "));
}

let choices = "";

/** Whose row and curve to highlight; remembered in this browser. */
function showChoice(entries) {
  const sorted = [...entries].sort((a, b) => a.name.localeCompare(b.name));
  const now = JSON.stringify(sorted.map((entry) => [entry.participant, entry.name]));
  if (now === choices) return;
  choices = now;
  const select = byId("follow");
  const wanted = select.value || remembered();
  const options = sorted.map((entry) => {
    const option = element("option", "", short(entry.name, 40));
    option.value = String(entry.participant);
    return option;
  });
  select.replaceChildren(select.firstElementChild, ...options);
  select.value = wanted;
  if (select.value !== wanted) select.value = "";
  choose(false);
}

function remembered() {
  try {
    return localStorage.getItem(CHOICE) ?? "";
  } catch {
    return ""; // a browser that keeps nothing
  }
}

function choose(scroll) {
  const { value } = byId("follow");
  const participant = value === "" ? null : Number(value);
  ranking.highlight(participant, scroll);
  curves.highlight(participant);
}

function showRanking(news = {}) {
  const { entries, competition } = snapshot;
  const isPast = replay.shown !== null;
  const shown = isPast ? boardAfter(past.slice(0, replay.shown), entries) : entries;
  ranking.show(shown, competition.references, { past: isPast, ...news });
}

function showCurves() {
  const { competition } = snapshot;
  const count = replay.shown;
  const shown = count === null ? past : past.slice(0, count);
  const first = past[0]?.time ?? serverNow() - 60_000;
  const last = past[past.length - 1]?.time ?? first;
  const isOver = competition.state === "closed";
  const end = Math.max(isOver ? last : Math.max(last, serverNow()), first + 60_000);
  curves.show({
    records: shown,
    references: competition.references,
    start: first - 0.01 * (end - first),
    end,
    cursor: count === null ? null : (shown[shown.length - 1]?.time ?? first),
  });
}

/** The past after `count` improvements, or the present for null. */
function showMoment(count) {
  const isPast = count !== null;
  const wasPast = !byId("past").hidden;
  document.documentElement.toggleAttribute("data-past", isPast);
  byId("past").hidden = !isPast;
  showRanking();
  showCurves();
  showTitle();
  if (isPast !== wasPast)
    announcer.say(isPast ? "Showing the past. Escape returns to live." : "Showing the present.");
}

function findEntry(submission) {
  const entry = snapshot?.entries.find((one) => one.submission === submission);
  if (!entry) return null;
  const shared =
    entry.rank !== null && snapshot.entries.filter((one) => one.rank === entry.rank).length > 1;
  return { entry, shared, records: past.filter((one) => one.participant === entry.participant) };
}

// ---- what the viewer does ----

function project(on) {
  document.documentElement.toggleAttribute("data-projector", on);
  setAttribute(byId("projector"), "aria-pressed", String(on));
  const url = new URL(location.href);
  if (on) url.searchParams.set("projector", "");
  else url.searchParams.delete("projector");
  history.replaceState(
    null,
    "",
    url.pathname + url.search.replace(/projector=(?=&|$)/, "projector") + url.hash,
  );
  if (snapshot) showRanking();
}

const isProjected = () => document.documentElement.hasAttribute("data-projector");

byId("projector").addEventListener("click", () => project(!isProjected()));
byId("follow").addEventListener("change", () => {
  try {
    localStorage.setItem(CHOICE, byId("follow").value);
  } catch {
    // a browser that keeps nothing still highlights
  }
  choose(true);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("dialog, select, input:not([type=range]):not([type=radio])")) return;
  if (event.key === "Escape" && replay.shown !== null) replay.live();
  else if (event.key === "p") project(!isProjected());
  else if (event.key === "r" && snapshot) replay.toggle();
});

if (new URLSearchParams(location.search).has("projector")) project(true);
follow({ onBoard, onLive, onState });
setInterval(() => runs.tick(serverNow()), 1000);
setInterval(() => snapshot && replay.shown === null && showCurves(), 15_000);
