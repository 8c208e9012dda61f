"""The process that scores: takes one submission after another and lets the sandbox run it."""

import hashlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from samerun.compare.intervals import wilson_interval
from workshop.data import Split, load_dataset
from workshop.errors import WorkshopError
from workshop.leaderboard import hidden
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.database import Database
from workshop.leaderboard.engines import is_away
from workshop.leaderboard.records import Competition, Job, Rejected, Score
from workshop.leaderboard.sandbox import (
    Killed,
    Limits,
    Outcome,
    Refused,
    ScorerFault,
    Stopped,
    protections,
    run_model,
)
from workshop.leaderboard.settings import Settings
from workshop.leaderboard.suspicion import Accuracies, hard_images, suspicion

__all__ = ["Limits", "Refused", "Score", "ScorerFault", "protections", "run", "score_model"]

LEASE_MS = 20_000  # so long does the room wait for a model whose scorer was killed
RENEW_S = 5.0
IDLE_S = 0.5  # between two looks for work
LONGEST_PAUSE_S = 30.0  # after faults of our own

CONTROLS = 2_500  # validation images, and as many training images, at most

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Part:
    """Labels of a set of images, and where these lie among all that a model is given."""

    places: np.ndarray
    labels: np.ndarray

    def hits(self, predictions: np.ndarray) -> np.ndarray:
        """Return an array of bool, one for each image of the set."""
        return predictions[self.places] == self.labels

    def only(self, which: Sequence[int]) -> "Part":
        """Return the part of the set that lies at these places in it."""
        chosen = np.array(which, np.int64)
        return Part(self.places[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class TestSets:
    """All images a model is given, mixed, and what is known of them.

    images : ndarray of shape (n, 28, 28), uint8
    test, hidden : the official test images, and those that rank
    control, changed_control : validation images, and the same ones changed like the hidden images
    changed_training : training images, changed like the hidden images
    hard, changed_hard : test images that networks get wrong, and their hidden copies; may be empty
    images_sha256 : of the hidden images and their labels, which the board shows
    """

    images: np.ndarray
    test: Part
    hidden: Part
    control: Part
    changed_control: Part
    changed_training: Part
    hard: Part
    changed_hard: Part
    images_sha256: str

    def accuracies(self, predictions: np.ndarray) -> Accuracies:
        """Return how often the predicted classes, one for each image, are right on each set."""
        found = {}
        for item in fields(Accuracies):
            hits = getattr(self, item.name).hits(predictions)
            found[item.name] = float(hits.mean()) if len(hits) else None
        return Accuracies(**found)


@lru_cache(maxsize=2)
def load_test_sets(data: str, seed: bytes) -> TestSets:
    """Return what models for a data set are scored on.

    The sets are mixed in an order that the seed decides: neither the place of an image nor its
    neighbours tell a model whether its answer ranks.

    Raises
    ------
    WorkshopError
        The data set cannot be had.
    """
    dataset = load_dataset(data)

    def some(split: Split, word: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = hidden.generator(seed, word).permutation(len(split))[:CONTROLS]
        return split.images[chosen], split.labels[chosen]

    control, training = some(dataset.val, "control"), some(dataset.train, "training")
    test = dataset.test.images, dataset.test.labels
    secret = hidden.hidden_images(seed, *test)
    changed_control = hidden.hidden_images(seed, *control, "changed control")
    changed_training = hidden.hidden_images(seed, *training, "changed training")
    sets = [test, secret, control, changed_control, changed_training]
    images = np.concatenate([images for images, _ in sets])
    order = hidden.generator(seed, "order").permutation(len(images))
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    ends = np.cumsum([len(labels) for _, labels in sets])[:-1]
    parts = [
        Part(where, labels) for where, (_, labels) in zip(np.split(places, ends), sets, strict=True)
    ]
    hard = [part.only(hard_images(data)) for part in parts[:2]]
    return TestSets(images[order], *parts, *hard, hidden.digest_of(*secret))


def score_model(
    model: bytes,
    data: str,
    seed: bytes,
    limits: Limits | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Score:
    """Score the bytes of an ONNX model on "digits" or "fashion_mnist".

    The same model and seed give the same score on the same kind of processor, so that anybody can
    compute it again. Others round differently, which may turn an image whose best two scores are
    nearly equal.

    Raises
    ------
    Refused
        The model cannot be scored, by its own fault; the message says why.
    ScorerFault
        It could not be scored now, by ours.
    Stopped
        `stopped`, which is asked all the time, said yes.
    """
    sets = _test_sets(data, seed)
    return _judge(_run(model, sets, limits, stopped), data, sets)


def _test_sets(data: str, seed: bytes) -> TestSets:
    try:
        return load_test_sets(data, seed)
    except (WorkshopError, OSError) as error:
        raise ScorerFault(f"The test images cannot be had: {error}") from error


def _run(
    model: bytes, sets: TestSets, limits: Limits | None, stopped: Callable[[], bool] | None
) -> Outcome:
    try:
        return run_model(model, sets.images, limits, stopped)
    except Killed:
        pass  # once may be an accident; twice, and it would be so for ever
    try:
        return run_model(model, sets.images, limits, stopped)
    except Killed:
        raise Refused(
            "The system ended the process that ran this model twice, most likely because the "
            "server had no memory left. Submit a smaller model, or ask the instructor."
        ) from None


def _judge(outcome: Outcome, data: str, sets: TestSets) -> Score:
    hits = sets.hidden.hits(outcome.predictions)
    score, low, high = _accuracy(hits)
    test, test_low, test_high = _accuracy(sets.test.hits(outcome.predictions))
    found = sets.accuracies(outcome.predictions)
    return Score(
        score=score,
        low=low,
        high=high,
        test=test,
        test_low=test_low,
        test_high=test_high,
        control=found.control,
        correct=np.packbits(hits).tobytes(),
        parameters=outcome.parameters,
        inference_ms=outcome.inference_ms,
        suspect=suspicion(data, found),
    )


def _accuracy(hits: np.ndarray) -> tuple[float, float, float]:
    correct, n = int(hits.sum()), len(hits)
    return correct / n, *wilson_interval(correct, n)


# The process


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Score submissions until `stop` is set, or the process gets SIGTERM or SIGINT.

    A database that is away is waited for. A submission that the end interrupts is given back.
    """
    log.setLevel(logging.INFO)  # a line for each submission, however quiet the others are
    stop = stop or _stop_on_signals()
    database = Database(settings.database_url)
    try:
        Scorer(database, Blobs(settings.models_uri), stop).work()
    finally:
        database.close()


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


class Scorer:
    """Takes submissions from the database, one at a time, and records what comes of them."""

    def __init__(self, database: Database, blobs: Blobs, stop: threading.Event) -> None:
        self.database, self.blobs, self.stop = database, blobs, stop
        self.owner = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
        self.announced = False

    def work(self) -> None:
        """Score whatever is submitted, until `stop` is set."""
        pause = IDLE_S
        while not self.stop.is_set():
            try:
                if not self.step():
                    self.stop.wait(IDLE_S)
                pause = IDLE_S
                continue
            except ScorerFault as error:
                log.error("%s Trying again in %.0f s.", error, pause)
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("Waiting for the database: %s", type(error).__name__)
            self.stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def step(self) -> bool:
        """Score one submission; return whether there was one that could be dealt with.

        Raises
        ------
        ScorerFault
            Nothing can be scored at present; no submission was touched.
        """
        try:
            competition = self.database.competition()
        except Rejected:  # it has not begun
            return False
        self._prepare(competition)
        job = self.database.claim(self.owner, LEASE_MS)
        if job is None:
            return False
        with Lease(self.database, job.id, self.owner) as lease:
            return self._deal_with(job, competition, lease)

    def _prepare(self, competition: Competition) -> None:
        """Make the images before the first submission, and announce them."""
        sets = _test_sets(competition.data, bytes.fromhex(competition.seed))
        if competition.images_sha256 is None:
            self.database.update_competition(images_sha256=sets.images_sha256)
        elif competition.images_sha256 != sets.images_sha256:
            raise ScorerFault(
                f"The seed makes hidden images with the SHA-256 {sets.images_sha256[:12]}... here, "
                f"but those announced have {competition.images_sha256[:12]}...: another numpy or "
                "other data. Score on the machine or with the lock of the beginning."
            )
        if not self.announced:
            log.info("Models are run with: %s", ", ".join(protections()))
            if all(line.get("score") is None for line in competition.reference_scores):
                # Seconds of work, and the first submission does not wait for them.
                arguments = (competition,)
                threading.Thread(target=self._add_references, args=arguments, daemon=True).start()
            self.announced = True

    def _add_references(self, competition: Competition) -> None:
        try:
            seed = bytes.fromhex(competition.seed)
            found = hidden.reference_scores(competition.data, seed)
            self.database.update_competition(reference_scores=found)
        except Exception:
            log.exception("The board has no reference lines.")

    def _deal_with(self, job: Job, competition: Competition, lease: "Lease") -> bool:
        before = time.monotonic()
        try:
            model = self._model(job)
            seed = bytes.fromhex(competition.seed)
            score = score_model(
                model, competition.data, seed, stopped=lambda: self.stop.is_set() or lease.lost
            )
            said = f"{score.score:.4f}, on the test images {score.test:.4f}"
            if score.suspect:
                said += f"; {score.suspect}"
            kept = self._record(lambda: self.database.finish(job.id, self.owner, score))
        except Refused as error:
            said, reason = f"refused: {error}", str(error)
            kept = self._record(lambda: self.database.refuse(job.id, self.owner, reason))
        except ScorerFault as error:
            said, reason = f"given back: {error}", str(error)
            kept = self._record(lambda: self.database.give_back(job.id, self.owner, reason))
            # A pause, since this may concern all models, but one in which others have their turn:
            # the next step takes another submission, for this one is not due for some seconds.
            self.stop.wait(IDLE_S)
        except Stopped:
            said = "given back: the scorer was stopped"
            kept = not lease.lost and self.database.give_back(
                job.id, self.owner, "The scorer was stopped."
            )
        if not kept:
            said += " (not recorded: the submission is no longer ours)"
        log.info("submission %d: %s (%.1f s)", job.id, said, time.monotonic() - before)
        return True

    def _model(self, job: Job) -> bytes:
        try:
            model = self.blobs.get(job.model_sha256)
        except Exception as error:  # whatever a store may raise
            raise ScorerFault(f"The model cannot be read: {error}") from error
        if hashlib.sha256(model).hexdigest() != job.model_sha256:
            raise ScorerFault("The stored model is not the one that was sent: its SHA-256 differs.")
        return model

    def _record(self, write: Callable[[], bool]) -> bool:
        """Write to the database, as soon as it is there; return whether it was still ours."""
        pause = IDLE_S
        while True:
            try:
                return write()
            except Exception as error:
                if not is_away(error) or self.stop.is_set():
                    raise
                log.warning("A result waits for the database: %s", type(error).__name__)
            self.stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


class Lease:
    """Keeps a submission ours while the sandbox works on it: `with Lease(...) as lease`.

    lost : whether somebody else has taken it, because nothing was heard of us for too long
    """

    def __init__(self, database: Database, job_id: int, owner: str) -> None:
        self.database, self.job_id, self.owner = database, job_id, owner
        self.lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # and no join: a renewal may hang with its database

    def _renew(self) -> None:
        while not self._over.wait(RENEW_S):
            try:
                if not self.database.renew(self.job_id, self.owner, LEASE_MS):
                    self.lost = not self._over.is_set()
                    return
            except Exception as error:  # the next renewal may come through
                log.warning("A lease was not renewed: %s", type(error).__name__)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run(Settings.from_env())
