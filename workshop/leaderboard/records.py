"""What the leaderboard's database takes and returns. Times are milliseconds since 1970, UTC."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from workshop.errors import WorkshopError

REMOVED = "(removed)"  # the name of a participant who was
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


class Rejected(WorkshopError):
    """A request that the rules do not allow; `status` is the fitting HTTP status."""

    def __init__(self, status: int, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.more = more  # further keys of the answer


@dataclass(frozen=True)
class Competition:
    """The one competition of a database. `seed` is hex and secret until `state` is closed."""

    id: int
    name: str
    data: str
    data_digest: str | None
    state: str
    seed: str
    seed_sha256: str
    images_sha256: str | None
    join_code: str
    quota_per_hour: int
    created: int
    closed_at: int | None
    revision: int
    reference_scores: list[dict]
    rule: str


@dataclass(frozen=True)
class Participant:
    """Somebody who joined. `submissions` counts all they sent."""

    id: int
    name: str
    joined: int
    submissions: int
    best_submission_id: int | None
    unranked_submission_id: int | None
    revision: int


@dataclass(frozen=True)
class LivePoint:
    """One value of one metric; `value` may be NaN or infinite, `time` is in ms."""

    metric: str
    step: int
    time: int
    value: float


@dataclass(frozen=True)
class LiveBatch:
    """The part of a run's append-only log that begins at `position`."""

    run_id: str
    name: str
    started: int
    epochs: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    position: int = 0
    points: Sequence[LivePoint] = ()
    status: str = "running"


@dataclass(frozen=True)
class LiveRun:
    """A run in progress as the board shows it; `latest` maps each metric to its last value."""

    id: int
    participant_id: int
    participant: str
    run_id: str
    name: str
    status: str
    epochs: int | None
    step: int | None
    latest: dict[str, float]
    started: int
    updated: int
    revision: int


@dataclass(frozen=True)
class NewSubmission:
    """A submission as it arrives. `record` is the whole request, kept as it was sent."""

    run_id: str
    model_sha256: str
    data: str
    data_digest: str
    record: dict
    claim_metric: str | None = None
    claim_value: float | None = None
    training_seconds: float | None = None
    summary: str = ""
    commit_id: str | None = None
    dirty: bool | None = None

    @property
    def key(self) -> str:
        """What makes a repeated submission the same one."""
        return hashlib.sha256(f"{self.run_id}\n{self.model_sha256}".encode()).hexdigest()


@dataclass(frozen=True)
class Submission:
    """A submission without its `record`, which may be large: see `Database.record`."""

    id: int
    participant_id: int
    key: str
    run_id: str
    model_sha256: str
    data_digest: str
    claim_metric: str | None
    claim_value: float | None
    created: int
    state: str
    attempts: int
    lease_until: int | None
    lease_owner: str | None
    counts: bool
    scored_at: int | None
    score: float | None
    low: float | None
    high: float | None
    test: float | None
    test_low: float | None
    test_high: float | None
    control: float | None
    parameters: int | None
    inference_ms: float | None
    training_seconds: float | None
    commit_id: str | None
    dirty: bool | None
    reproduced: str
    personal_best: bool
    mirrored: bool
    mlflow_experiment: str | None
    mlflow_run: str | None
    revision: int
    reason: str | None
    disqualified: str | None
    suspect: str | None
    summary: str
    correct: bytes | None


@dataclass(frozen=True)
class Job:
    """A submission to score: what the scorer needs of it."""

    id: int
    model_sha256: str
    attempts: int
    record: dict


@dataclass(frozen=True)
class Score:
    """What the server found. Accuracies in [0, 1], each with its 95 % interval.

    score : on the hidden images; what ranks
    correct : numpy.packbits of right and wrong, one bit per hidden image
    inference_ms : per 1000 images on one thread
    suspect : why the entry is shown without a rank, None if there is no reason
    """

    score: float
    low: float
    high: float
    test: float
    test_low: float
    test_high: float
    control: float
    correct: bytes
    parameters: int
    inference_ms: float
    suspect: str | None = None


@dataclass(frozen=True)
class Quota:
    """Submissions left in this hour; `next` is when a slot is free (ms), None if one is."""

    per_hour: int
    left: int
    next: int | None


@dataclass(frozen=True)
class Queue:
    """What waits for a score. `per_minute` were scored in the last minute."""

    waiting: int
    scoring: int
    per_minute: int
    oldest: int | None  # ms, when the oldest of them was sent


@dataclass(frozen=True)
class Entry:
    """One participant on the board: their best submission, or else an unranked one.

    `unranked` is their newest disqualified or suspect submission.
    """

    participant: Participant
    best: Submission | None
    unranked: Submission | None


@dataclass(frozen=True)
class BoardState:
    """What changed after a revision, or everything. `entries` without submissions are gone."""

    revision: int
    competition: Competition
    entries: list[Entry]
    live: list[LiveRun]
    queue: Queue


@dataclass(frozen=True)
class HistoryRecord:
    """A personal best."""

    participant_id: int
    participant: str
    submission: int
    time: int
    score: float
    test: float


@dataclass(frozen=True)
class LiveToMirror:
    """A live run whose points from `mirrored_position` on, or whose status, are not in MLflow.

    `points` are those that follow `mirrored_position`, in order, not necessarily all.
    """

    id: int
    participant_id: int
    participant: str
    run_id: str
    name: str
    status: str
    mirrored_status: str | None
    epochs: int | None
    params: dict[str, str]
    started: int
    updated: int
    position: int
    mirrored_position: int
    points: list[LivePoint]


@dataclass(frozen=True)
class SubmissionToMirror:
    """A submission that changed since it was last copied to MLflow."""

    participant: str
    submission: Submission
    record: dict


@dataclass(frozen=True)
class Unmirrored:
    """What MLflow does not have yet."""

    live: list[LiveToMirror]
    submissions: list[SubmissionToMirror]


def as_json(value: float) -> float | str:
    """Return a number as JSON can hold it: NaN and the infinities become text."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
