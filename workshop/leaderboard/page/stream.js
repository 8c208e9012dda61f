// The connection: the server's events, and asking for the board where they do not come.

const FIRST = 1500; // ms without an event after the start before the board is asked for
const QUIET = 25_000; // ms without an event before it is; pings are comments, which no page sees
const LONGEST = 15_000; // ms between attempts when the browser itself has given up
const PATIENCE = 8_000; // ms until a request is given up

/** Fetch JSON from this server; anything but an answer of the 200s is an error. */
export async function ask(path) {
  const answer = await fetch(path, {
    cache: "no-store",
    headers: { Accept: "application/json" },
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/**
 * Follow the board until the page is closed.
 *
 * `onBoard(snapshot)` and `onLive(message)` get what arrives; `onState(state, since)` gets "live"
 * or "reconnecting" with the time in ms since when.
 */
export function follow({ onBoard, onLive, onState }) {
  let source = null;
  let attempts = 0;
  let timer = 0;
  let asking = false;
  let heard = performance.now(); // of the latest event, answer or attempt
  let lostAt = null;

  function alive() {
    heard = performance.now();
    attempts = 0;
    lostAt = null;
    onState("live", null);
  }

  function lost() {
    lostAt ??= Date.now();
    onState("reconnecting", lostAt);
  }

  function open() {
    clearTimeout(timer);
    timer = 0;
    source?.close();
    source = new EventSource("/api/events");
    const mine = source;
    const receive = (kind, handle) =>
      mine.addEventListener(kind, (event) => {
        const message = JSON.parse(event.data);
        alive();
        handle(message);
      });
    receive("board", onBoard);
    receive("live", onLive);
    mine.onerror = () => {
      if (mine !== source) return;
      lost();
      if (mine.readyState === EventSource.CLOSED) again(); // else the browser tries by itself
    };
  }

  function again() {
    if (timer) return;
    const delay = Math.min(LONGEST, 1000 * 2 ** attempts) * (0.75 + 0.5 * Math.random());
    attempts += 1;
    timer = setTimeout(open, delay);
  }

  /** Ask once; a stream that has silently ended is replaced. */
  async function check() {
    if (asking) return;
    asking = true;
    const before = heard;
    try {
      const snapshot = await ask("/api/board");
      if (heard !== before) return; // an event was faster
      alive();
      onBoard(snapshot);
      if (source.readyState !== EventSource.OPEN) open();
    } catch {
      if (heard !== before) return;
      heard = performance.now();
      lost();
      if (source.readyState === EventSource.OPEN) open();
    } finally {
      asking = false;
    }
  }

  open();
  setTimeout(() => lostAt === null && performance.now() - heard >= FIRST - 50 && check(), FIRST);
  const quiet = QUIET + 5000 * Math.random(); // a room full of pages must not ask all at once
  setInterval(() => performance.now() - heard > quiet && check(), 5000);
  const recheck = () => {
    if (document.visibilityState === "visible" && performance.now() - heard > 10_000) check();
  };
  addEventListener("online", recheck);
  document.addEventListener("visibilitychange", recheck);
}
