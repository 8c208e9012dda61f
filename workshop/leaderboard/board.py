"""The board in the memory of one web worker: read from the database, rendered once for everybody.

A poller asks the database for its revision; only when that has moved it reads what changed. What
viewers get is rendered and compressed once per change, however many they are.
"""

import asyncio
import contextlib
import functools
import gzip
import json
import logging
import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from workshop.leaderboard import ranking
from workshop.leaderboard.database import Database
from workshop.leaderboard.records import (
    REMOVED,
    BoardState,
    Competition,
    Entry,
    LiveRun,
    Queue,
    Rejected,
    Submission,
)
from workshop.leaderboard.shown import LIVE_ENDED_MS, LIVE_QUIET_MS, MOST_LIVE

POLL_S = 0.25
PAUSE_S = 1.0  # between two messages of a kind
QUEUE_S = 5.0  # after which the figures of a queue that moves are read again
AFTER_FAILURE_S = 1.0
RENDERED_S = 2.0  # for which a rendered board is good for newcomers
KEPT_MESSAGES = 8
CLAIM_MARGIN = 0.03  # by which a validation accuracy may exceed the test's interval

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rendered:
    """Bytes to send, plain or compressed: each form is made when first asked for."""

    plain: bytes

    @functools.cached_property
    def zipped(self) -> bytes:
        """As a whole gzip file."""
        return gzip.compress(self.plain, 5, mtime=0)

    @functools.cached_property
    def piece(self) -> bytes:
        """As a piece of a compressed stream that refers to nothing before it.

        So one piece serves all viewers, whatever each has got before.
        """
        packer = zlib.compressobj(5, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.plain) + packer.flush(zlib.Z_FULL_FLUSH)

    @functools.cached_property
    def etag(self) -> str:
        """What says whether a viewer has these bytes already."""
        return f'"{zlib.crc32(self.plain):08x}-{len(self.plain):x}"'


@dataclass(frozen=True)
class News:
    """One message of the event stream; `whole` ones replace all before them."""

    version: int
    whole: bool
    bytes: Rendered


class Board:
    """What one worker knows of the competition.

    db : read by a thread of its own
    address : of the page, for the join line
    show_code : whether the page shows the join line
    """

    def __init__(self, db: Database, address: str, show_code: bool = True) -> None:
        self.db, self.address, self.show_code = db, address, show_code
        self.competition: Competition | None = None
        self.revision = 0
        self.ended = False
        self.heard = 0.0  # monotonic time of the last answer of the database
        self._entries: dict[int, Entry] = {}
        self._ranks: dict[int, int] = {}
        self._live: dict[int, LiveRun] = {}
        self._queue = Queue(0, 0, 0, None)
        self._queue_read = 0.0
        self._board_changed = False
        self._live_changed: set[int] = set()
        self._board_sent = self._live_sent = -PAUSE_S
        self._version = 0
        self._messages: deque[News] = deque(maxlen=KEPT_MESSAGES)
        self._whole: tuple[Rendered, News] | None = None
        self._rendered = 0.0
        self._history: tuple[int, Rendered] | None = None
        self._entries_revision = 0
        self._history_lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._polled = asyncio.Event()
        self._kicked = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "board")

    async def run(self) -> None:
        """Follow the database until `end`; it may be away for any time."""
        failures = 0
        while not self.ended:
            try:
                await self._poll()
                self._publish()
                failures = 0
            except Exception as error:
                failures += 1
                if failures in (1, 10, 100) or failures % 1000 == 0:
                    log.warning("the board cannot be read (%d times): %r", failures, error)
            await self._pause(AFTER_FAILURE_S if failures else POLL_S)

    def end(self) -> None:
        """Let the poller and all streams end."""
        self.ended = True
        self._kicked.set()
        self._wake()

    def close(self) -> None:
        """Let go of the thread, after `run` has ended."""
        self._thread.shutdown(wait=False)

    # What the requests read

    async def at_least(self, revision: int, seconds: float = 2.0) -> None:
        """Wait until the board shows a revision, or for some seconds."""
        deadline = time.monotonic() + seconds
        while self.revision < revision and not self.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._kicked.set()
            try:
                await asyncio.wait_for(self._polled.wait(), left)
            except TimeoutError:
                return

    @property
    def is_behind(self) -> bool:
        """Whether there is something that viewers have not got yet."""
        return self._board_changed or bool(self._live_changed)

    def place(self, participant_id: int) -> tuple[int | None, int]:
        """Return the rank of a participant's entry, and how many have one."""
        return self._ranks.get(participant_id), len(self._ranks)

    def snapshot(self) -> Rendered:
        """Return the whole board as JSON."""
        return self._current()[0]

    async def history(self) -> Rendered:
        """Return all personal bests as JSON."""
        async with self._history_lock:
            revision = self._entries_revision
            if self._history is None or self._history[0] != revision:
                records = await self._read(self.db.history)
                text = _json({"records": [_record(record) for record in records]})
                self._history = revision, Rendered(text)
            return self._history[1]

    async def news(self, seen: int) -> list[News]:
        """Wait for messages after version `seen`; none if the streams shall end.

        Whoever is new (0), or so slow that messages are gone, gets the whole board.
        """
        while seen >= self._version and not self.ended:
            await self._news.wait()
        if self.ended:
            return []
        later = [news for news in self._messages if news.version > seen]
        if seen == 0 or len(later) < self._version - seen:
            return [self._current()[1]]
        wholes = [i for i, news in enumerate(later) if news.whole]
        return later[wholes[-1] :] if wholes else later

    # Inside

    async def _poll(self) -> None:
        revision = await self._read(self.db.revision)
        self.heard = now = time.monotonic()
        moves = self._queue.waiting or self._queue.scoring or self._queue.per_minute
        if revision != self.revision or (moves and now - self._queue_read > QUEUE_S):
            again = revision < self.revision  # another database took the place of the first
            state = await self._read(self.db.changes_since, 0 if again else self.revision)
            if again or not self.revision:
                self._entries.clear()
                self._live.clear()
                self._board_changed = True
            self.take(state)
            self._queue_read = now
        self._forget_old_runs()
        self._polled.set()
        self._polled = asyncio.Event()

    def take(self, state: BoardState) -> None:
        """Take over what the database says."""
        changed = [  # somebody who joined has nothing to show yet
            entry
            for entry in state.entries
            if entry.best or entry.unranked or entry.participant.id in self._entries
        ]
        same = self.competition and _facts(self.competition) == _facts(state.competition)
        if not same or changed or state.queue != self._queue:
            self._board_changed = True
        for entry in changed:
            self._entries.pop(entry.participant.id, None)
            if entry.best or entry.unranked:
                self._entries[entry.participant.id] = entry
        if changed:
            ranked = [entry for entry in self._entries.values() if entry.best]
            found = ranking.ranks([entry.best for entry in ranked])
            self._ranks = {
                entry.participant.id: rank for entry, rank in zip(ranked, found, strict=True)
            }
            self._entries_revision = state.revision
        removed = {one.participant.id for one in state.entries if one.participant.name == REMOVED}
        if removed:
            self._live = {
                id: run for id, run in self._live.items() if run.participant_id not in removed
            }
            self._live_changed &= self._live.keys()
            self._board_changed = True
        for run in state.live:
            self._live[run.id] = run
            self._live_changed.add(run.id)
        self.competition, self._queue = state.competition, state.queue
        self.revision = state.revision

    def _forget_old_runs(self) -> None:
        now = self.db.now()
        old = [run.id for run in self._live.values() if not _is_shown(run, now)]
        if len(self._live) - len(old) > MOST_LIVE:
            kept = sorted(set(self._live) - set(old), key=lambda id: self._live[id].revision)
            old += kept[: len(kept) - MOST_LIVE]
        for id in old:
            del self._live[id]
            self._live_changed.discard(id)
            self._board_changed = True

    def _publish(self) -> None:
        now = time.monotonic()
        if self._board_changed and now - self._board_sent >= PAUSE_S:
            self._board_changed = False
            self._live_changed.clear()
            self._board_sent = self._live_sent = now
            self._version += 1
            self._messages.clear()
            self._messages.append(self._current()[1])
        elif self._live_changed and now - self._live_sent >= PAUSE_S:
            runs = [self._live[id] for id in self._live_changed]
            self._live_changed.clear()
            self._live_sent = now
            self._version += 1
            text = _json({"runs": [_live_run(run) for run in runs]})
            self._messages.append(News(self._version, False, _event(b"live", text)))
        else:
            return
        self._wake()

    def _current(self) -> tuple[Rendered, News]:
        """Return the board as it is now, alone and as a message; rendered once for all."""
        if self.competition is None:
            raise Rejected(503, "The board is not read yet. Try again in a second.", retry_after=1)
        now = time.monotonic()
        # Rendered anew after a while even if nothing changed: it tells the server's time.
        is_old = now - self._rendered > RENDERED_S
        if self._whole is None or is_old or self._whole[1].version != self._version:
            text = _json(self.shown())
            self._whole = Rendered(text), News(self._version, True, _event(b"board", text))
            self._rendered = now
        return self._whole

    def shown(self) -> dict:
        """Return the whole board as JSON holds it."""
        now = self.db.now()
        entries = [
            _entry(entry, self._ranks.get(id) if entry.best else None)
            for id, entry in self._entries.items()
        ]
        last = len(entries) + 1
        entries.sort(key=lambda one: (one["rank"] or last, -one["score"], one["submission"]))
        live = sorted(self._live.values(), key=lambda run: (run.started, run.id))
        oldest = self._queue.oldest
        return {
            "competition": _competition(self.competition, self.address, now, self.show_code),
            "entries": entries,
            "live": [_live_run(run) for run in live],
            "queue": {
                "waiting": self._queue.waiting,
                "scoring": self._queue.scoring,
                "per_minute": self._queue.per_minute,
                "oldest_seconds": None if oldest is None else max(0, now - oldest) // 1000,
            },
        }

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _read(self, query: Callable, *arguments: object):
        return await asyncio.get_running_loop().run_in_executor(self._thread, query, *arguments)

    async def _pause(self, seconds: float) -> None:
        self._kicked.clear()
        if not self.ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._kicked.wait(), seconds)


def drawn(db: Database, address: str) -> dict:
    """Return the board as JSON holds it, without a worker that follows the database."""
    board = Board(db, address)
    try:
        board.take(db.board())
        return board.shown()
    finally:
        board.close()


def is_contradicted(found: Submission) -> bool:
    """Say whether the server's score contradicts what the run claims of itself."""
    if found.claim_value is None or found.test is None:
        return False
    if found.claim_metric == "test_accuracy":
        return not found.test_low <= found.claim_value <= found.test_high
    if found.claim_metric in ("val_accuracy", "best_val_accuracy"):
        return found.claim_value > found.test_high + CLAIM_MARGIN
    return False


def claim_of(found: Submission) -> dict | None:
    """Return the claim of a submission as it is sent."""
    if found.claim_metric is None:
        return None
    return {"metric": found.claim_metric, "value": found.claim_value}


def join_line(code: str, address: str) -> str:
    """Return what participants type: CODE@HOST:PORT, or CODE@https://host."""
    return f"{code}@{address.removeprefix('http://')}"


def _facts(competition: Competition) -> tuple:
    return tuple(
        value for name, value in vars(competition).items() if name not in ("revision", "created")
    )


def _is_shown(run: LiveRun, now: int) -> bool:
    return run.updated > now - (LIVE_QUIET_MS if run.status == "running" else LIVE_ENDED_MS)


def _competition(found: Competition, address: str, now: int, show_code: bool) -> dict:
    is_closed = found.state == "closed"
    shows = show_code and not is_closed
    return {
        "name": found.name,
        "data": found.data,
        "state": found.state,
        "rule": found.rule,
        "seed_sha256": found.seed_sha256,
        "images_sha256": found.images_sha256,
        "seed": found.seed if is_closed else None,
        "quota_per_hour": found.quota_per_hour,
        "join": join_line(found.join_code, address) if shows else None,
        "address": address,
        "now": now,
        "references": found.reference_scores,
    }


def _entry(entry: Entry, rank: int | None) -> dict:
    shown = entry.best or entry.unranked
    note = None
    better = entry.unranked
    if entry.best and better and better.score >= entry.best.score:
        note = (
            f"Submission {better.id} ({better.score:.4f}) has no rank: "
            f"{better.disqualified or better.suspect}"
        )
    link = None
    if shown.mlflow_run:
        link = f"/mlflow/#/experiments/{shown.mlflow_experiment}/runs/{shown.mlflow_run}"
    return {
        "rank": rank,
        "participant": entry.participant.id,
        "name": entry.participant.name,
        "submission": shown.id,
        "time": shown.created,
        "score": shown.score,
        "low": shown.low,
        "high": shown.high,
        "test": shown.test,
        "test_low": shown.test_low,
        "test_high": shown.test_high,
        "claim": claim_of(shown),
        "contradicted": is_contradicted(shown),
        "parameters": shown.parameters,
        "inference_ms": shown.inference_ms,
        "training_seconds": shown.training_seconds,
        "summary": shown.summary,
        "commit": shown.commit_id,
        "dirty": shown.dirty,
        "reproduced": shown.reproduced,
        "submissions": entry.participant.submissions,
        "disqualified": shown.disqualified,
        "suspect": shown.suspect,
        "note": note,
        "mlflow": link,
    }


def _live_run(run: LiveRun) -> dict:
    return {
        "participant": run.participant_id,
        "name": run.participant,
        "run": run.run_id,
        "run_name": run.name,
        "status": run.status,
        "epoch": run.step,
        "epochs": run.epochs,
        "metrics": run.latest,
        "updated": run.updated,
    }


def _record(record) -> dict:
    return {
        "participant": record.participant_id,
        "name": record.participant,
        "submission": record.submission,
        "time": record.time,
        "score": record.score,
        "test": record.test,
    }


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _event(kind: bytes, text: bytes) -> Rendered:
    return Rendered(b"event: %s\ndata: %s\n\n" % (kind, text))
