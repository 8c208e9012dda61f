"""Live progress: what a run logs to its own store is copied to the shared server beside it.

The training writes to its own store and waits for nobody. A thread of low ambition reads that store
and sends what is new; the store is the queue, and the server knows how much of it has arrived.
What cannot be sent now is sent by the next shared run, by `workshop sync` or by submit.py.
"""

import contextlib
import json
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from samerun.errors import RecordError
from samerun.reproduce import REPEATS
from workshop.participant.connection import Connection, NoAnswer, Refused, is_passing
from workshop.participant.membership import Membership, config_folder, current
from workshop.participant.run_log import Gone, RunLog, open_log

BATCH = 1000  # points in a request
REQUEST_SECONDS = 1.0  # of one request, while training goes on
# What the end of a run waits for its last points to be sent: a share of its duration, in seconds at
# least and at most. What takes longer goes on in the background, as long as the process lives.
PATIENCE, LEAST_PATIENCE, MOST_PATIENCE = 0.005, 0.05, 0.5
LONGEST_PAUSE = 30.0  # seconds between two attempts
CATCH_UP = 30.0  # seconds between two looks for what earlier runs could not send
UNSENT = "unsent"  # in the configuration folder: a file for each run that is not all sent
LATER = "What is missing is sent later: uv run workshop sync"

log = logging.getLogger(__name__)


class Publisher:
    """Publishes the active run while it is entered, and never stands in the way of the training.

    A repetition of a run (`workshop reproduce`) is not published: it would count as another one.

    every : seconds between two looks for news

    Raises
    ------
    WorkshopError
        When it is made: nobody has joined a leaderboard from this computer.
    """

    def __init__(self, every: float = 0.5):
        self._is_repetition = REPEATS in os.environ
        self._every = every
        self._membership = None if self._is_repetition else current()
        self._status: str | None = None  # how the run ended
        self._closing = threading.Event()
        self._is_away = False
        self._began = time.monotonic()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        self._began = time.monotonic()
        if self._is_repetition:
            return
        try:
            import mlflow

            run_id, store = mlflow.active_run().info.run_id, mlflow.get_tracking_uri()
            unsent = Unsent(run_id, store, self._membership.address)
            unsent.claim()  # first: a note without a lock is of a run whose process has ended
            unsent.note()
            feed = Feed(open_log(store, run_id), self._membership.connection())
            work = (feed, unsent)
            self._thread = threading.Thread(target=self._work, args=work, daemon=True)
            self._thread.start()
        except Exception as error:  # whatever it is, the training matters more
            log.warning("This run is not published: %s", error)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._status = "finished" if kind is None else "killed" if stopped else "failed"
        self._closing.set()
        if self._thread and not self._is_away:
            share = PATIENCE * (time.monotonic() - self._began)
            self._thread.join(min(max(share, LEAST_PATIENCE), MOST_PATIENCE))

    def _work(self, feed: "Feed", unsent: "Unsent") -> None:
        whole = False
        try:
            whole = self._publish(feed)
        except Exception as error:
            self._say(logging.WARNING, f"This run is not published any more: {error}")
        finally:
            with contextlib.suppress(Exception):  # the process may be about to end
                feed.close()
                if whole:
                    unsent.forget()
                unsent.release()

    def _publish(self, feed: "Feed") -> bool:
        """Send what is new until the run has ended; return whether all of it has arrived."""
        pause: float | None = self._every
        failures, others, next_look = 0, [], 0.0
        while True:
            closing = self._closing.wait(pause)
            try:
                while not feed.send(REQUEST_SECONDS, self._status if closing else "running"):
                    pass
            except RecordError as error:
                failures = min(failures + 1, 10)
                longest = min(LONGEST_PAUSE, self._every * 2**failures)
                pause = longest * random.uniform(0.5, 1) if is_passing(error) else None
                if not self._is_away:
                    self._is_away = True
                    self._say(logging.WARNING, f"{error} The training goes on. {LATER}")
                if closing:
                    return False
                continue
            if closing:
                return True
            if self._is_away:
                self._is_away = False
                self._say(logging.INFO, "The shared server is back, and has everything so far.")
            failures, pause = 0, self._every
            if not others and time.monotonic() >= next_look:
                others = list(waiting(self._membership.address))
                next_look = time.monotonic() + CATCH_UP
            if others:  # one in a turn, so that this run's own news do not wait for long
                with contextlib.suppress(RecordError):
                    connection = self._membership.connection()
                    others.pop(0).send(connection, REQUEST_SECONDS, self._closing)

    def _say(self, level: int, message: str) -> None:
        """Log a line without breaking a progress bar; nothing when the process may be ending."""
        if self._closing.is_set():
            return
        from tqdm.contrib.logging import logging_redirect_tqdm

        with logging_redirect_tqdm():
            log.log(level, "%s", message)


class Feed:
    """One run on its way to the server: what is new, in order, each point once.

    The points are a log that only grows, and the server says how much of it it has: a batch whose
    answer got lost is sent again, and the server skips what it knows.
    """

    def __init__(self, log: RunLog, connection: Connection):
        self._log, self._connection = log, connection
        self._position: int | None = None  # what the server has; None: ask it
        self._told: str | None = None  # the status it has

    def send(self, seconds: float, status: str | None = None) -> bool:
        """Send one batch, if there is news; return whether everything has arrived.

        Parameters
        ----------
        seconds : for the request, at most
        status : of the run; None takes what the store says, where a run that is marked as running
            has lost its process

        Raises
        ------
        WorkshopError
            The server cannot be reached or refuses, or the store cannot be read.
        """
        known = self._position is not None
        points = self._log.points(self._position, BATCH) if known else []
        last = known and len(points) < BATCH
        if last and not points and status and status == self._told:
            return True
        about = self._log.about()
        if not known and status == "running" and not about.params:
            return True  # it is registered with its parameters, which are not there yet
        if status is None:
            status = "killed" if about.status == "running" else about.status
        position, told = self._position or 0, status if last else "running"
        body = {
            "run": {
                "id": about.id,
                "name": about.name,
                "started": about.started,
                "epochs": about.epochs,
                "params": about.params,
            },
            "position": position,
            "points": points,
            "status": told,
        }
        self._position = None  # until the server has said it
        try:
            answer = self._connection.request("POST", "/api/live", body, seconds=seconds)
        except Refused as error:
            if error.status != 409:
                raise
            raise NoAnswer(f"{self._connection.address} has fewer points than it said.") from None
        has = answer.get("position")
        if not isinstance(has, int) or has < position + len(points):
            raise NoAnswer(f"{self._connection.address} has lost count of this run.")
        self._position, self._told = has, told
        return last

    def close(self) -> None:
        self._log.close()


@dataclass
class Unsent:
    """The note that a run is not all sent, and the lock of whoever sends it.

    A note lies in the configuration folder, so that it takes no MLflow to find it. Its lock is held
    while the run's process lives: a note that can be claimed is of a run that has ended somehow.
    """

    run_id: str
    store: str
    address: str

    def __post_init__(self) -> None:
        self._path = config_folder() / UNSENT / f"{self.run_id}.json"
        self._lock = FileLock(self._path.with_suffix(".lock"), timeout=0, thread_local=False)

    def note(self) -> None:
        unfinished = self._path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(
            json.dumps({"store": self.store, "address": self.address}), encoding="utf-8"
        )
        unfinished.replace(self._path)

    def claim(self) -> bool:
        """Lock the note; return false if somebody else has."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        self._lock.release()
        if not self._path.exists():
            with contextlib.suppress(OSError):
                self._path.with_suffix(".lock").unlink()

    def send(
        self, connection: Connection, seconds: float, stop: threading.Event | None = None
    ) -> bool:
        """Send all that is missing of a run whose process has ended.

        Returns false if its process lives, which sends by itself, or if `stop` was set. Raises as
        Feed.send does; a run that was deleted is forgotten.
        """
        if not self.claim():
            return False
        try:
            if not self._path.exists():
                return False  # somebody else has just sent it
            feed = Feed(open_log(self.store, self.run_id), connection)
            try:
                while not feed.send(seconds):
                    if stop and stop.is_set():
                        return False
            finally:
                feed.close()
            self.forget()
            return True
        except Gone:
            self.forget()
            raise
        finally:
            self.release()


def waiting(address: str) -> Iterator[Unsent]:
    """Yield the runs of which this server lacks something, the oldest first."""
    folder = config_folder() / UNSENT
    for path in sorted(folder.glob("*.json"), key=_age):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(path.read_text(encoding="utf-8"))
            if note["address"] == address:
                yield Unsent(path.stem, str(note["store"]), address)


def redirect(old: str, new: str) -> None:
    """Let what a server lacks go to the address to which it has moved."""
    for unsent in list(waiting(old)):
        if unsent.claim():  # a run that trains goes on with the address it began with
            try:
                Unsent(unsent.run_id, unsent.store, new).note()
            finally:
                unsent.release()


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


@dataclass(frozen=True)
class Synced:
    """What `sync` did: runs sent, runs that still train, and of the others why they wait."""

    sent: list[str]
    training: list[str]
    failed: dict[str, str]


def sync(membership: Membership, seconds: float = 10.0) -> Synced:
    """Send what earlier shared runs could not send.

    Raises
    ------
    NoAnswer
        The server cannot be reached.
    """
    sent, training, failed = [], [], {}
    left = list(waiting(membership.address))
    while left:
        unsent = left.pop(0)
        try:
            whole = unsent.send(membership.connection(), seconds)
            (sent if whole else training).append(unsent.run_id)
        except NoAnswer:
            raise
        except RecordError as error:
            pause = error.retry_after if isinstance(error, Refused) else None
            if pause is not None and pause <= seconds:  # too many at once, but soon welcome
                time.sleep(pause)
                left.insert(0, unsent)
                continue
            failed[unsent.run_id] = str(error)
    return Synced(sent, training, failed)
