"""What travels over HTTP, and within which limits."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, StringConstraints

LATEST = 2**53  # what JavaScript and JSON hold exactly
ENDINGS = (".yaml", ".json", ".txt", ".png", ".patch", ".csv")
MOST_COLONS = 20_000  # of one body
NUMBER_WORDS = Literal["NaN", "Infinity", "-Infinity"]

# Without what is invisible or changes the direction of text.
ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*$"
NO_NUL = r"^[^\u0000]*$"  # PostgreSQL's text cannot hold it

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, StringConstraints(pattern=ONE_LINE, min_length=1, max_length=250)]
Line = Annotated[str, StringConstraints(pattern=ONE_LINE, max_length=300)]
Text = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=8000)]
Time = Annotated[int, Field(ge=0, le=LATEST, description="ms since 1970, UTC")]
Step = Annotated[int, Field(ge=-LATEST, le=LATEST)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Value = Finite | NUMBER_WORDS
Measured = Annotated[tuple[Step, Time, Value], FailFast()]
Texts = Annotated[dict[Name, Text], Field(max_length=300)]


def check_path(path: str) -> str:
    """Return a path that stays inside its folder on every system, or raise ValueError."""
    parts = path.split("/")
    if "\\" in path or ":" in path or any(part.strip(" .") == "" for part in parts):
        raise ValueError(
            "the path of a file must be relative, with / between its parts and without .., \\ and :"
        )
    if not path.lower().endswith(ENDINGS):
        raise ValueError(f"only files that end in {', '.join(ENDINGS)} are taken")
    return path


FilePath = Annotated[
    str,
    StringConstraints(pattern=ONE_LINE, min_length=1, max_length=200),
    AfterValidator(check_path),
    Field(description=f"relative, ending in {', '.join(ENDINGS)}"),
]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class Join(Strict):
    code: Line
    name: Annotated[str, StringConstraints(max_length=200)]


class Point(Strict):
    metric: Name
    step: Step
    time: Time
    value: Value


class LiveRunHead(Strict):
    id: RunId
    name: Line
    started: Time
    epochs: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    params: Texts = {}


class Live(Strict):
    run: LiveRunHead
    position: Annotated[int, Field(ge=0, le=2**31 - 1)]
    points: Annotated[list[Point], Field(max_length=1000, fail_fast=True)]
    status: Literal["running", "finished", "failed", "killed"]


class Claim(Strict):
    metric: Name
    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class RunHead(Strict):
    id: RunId
    name: Line
    started: Time


class Submit(Strict):
    run: RunHead
    model: Sha256
    data: Literal["digits", "fashion_mnist"]
    data_digest: Line
    claim: Claim | None = None
    kind: Literal["torch", "sklearn"]
    params: Texts = {}
    metrics: Annotated[
        dict[Name, Annotated[list[Measured], Field(max_length=100_000, fail_fast=True)]],
        Field(max_length=200, description="name: [[step, time, value], …]"),
    ] = {}
    tags: Texts = {}
    files: Annotated[dict[FilePath, Sha256], Field(max_length=100)] = {}
    training_seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    dirty: bool | None = None
    summary: Line = ""


class Problem(BaseModel):
    """What went wrong and what to do."""

    model_config = ConfigDict(extra="allow")
    error: str


class Health(BaseModel):
    state: Literal["ok", "waiting"]
    revision: int
    competition: str | None = Field(description="its seed's hash, at whatever address")
    time: int = Field(description="the clock of the server, in seconds since 1970")


class Joined(BaseModel):
    participant: int
    name: str
    token: str


class Position(BaseModel):
    position: int


class QuotaLeft(BaseModel):
    per_hour: int
    left: int
    next: int | None = Field(description="when the next submission is possible, ms")


class CompetitionHead(BaseModel):
    name: str
    data: str
    state: Literal["open", "frozen", "closed"]


class Me(BaseModel):
    participant: int
    name: str
    competition: CompetitionHead
    state: Literal["open", "frozen", "closed"]
    quota: QuotaLeft


class Stored(BaseModel):
    sha256: str
    size: int


class Submitted(BaseModel):
    id: int
    state: Literal["queued", "scoring", "scored", "refused"]


class ClaimShown(BaseModel):
    metric: str
    value: float


class SubmissionShown(BaseModel):
    id: int
    participant: int
    name: str
    time: int
    state: Literal["queued", "scoring", "scored", "refused"]
    ahead: int = Field(description="how many are scored before it")
    reason: str | None
    score: float | None
    low: float | None
    high: float | None
    test: float | None
    claim: ClaimShown | None
    contradicted: bool
    rank: int | None = Field(description="null also when an earlier one of theirs is better")
    of: int
    best: bool = Field(description="whether this is the participant's ranked entry")
    disqualified: str | None
    suspect: str | None
    link: str


class Reference(BaseModel):
    name: str
    score: float | None
    test: float | None


class CompetitionShown(BaseModel):
    name: str
    data: str
    state: Literal["open", "frozen", "closed"]
    rule: str
    seed_sha256: str
    images_sha256: str | None
    seed: str | None = Field(description="null until the competition is closed")
    quota_per_hour: int
    join: str | None
    address: str
    now: int
    references: list[Reference]


class EntryShown(BaseModel):
    rank: int | None
    participant: int
    name: str
    submission: int
    time: int
    score: float
    low: float
    high: float
    test: float
    test_low: float
    test_high: float
    claim: ClaimShown | None
    contradicted: bool
    parameters: int | None
    inference_ms: float | None
    training_seconds: float | None
    summary: str
    commit: str | None
    dirty: bool | None
    reproduced: Literal["untried", "reproduced", "differs"]
    submissions: int
    disqualified: str | None
    suspect: str | None
    note: str | None = Field(description="on a better submission of theirs that has no rank")
    mlflow: str | None


class LiveRunShown(BaseModel):
    participant: int
    name: str
    run: str
    run_name: str
    status: Literal["running", "finished", "failed", "killed"]
    epoch: int | None
    epochs: int | None
    metrics: dict[str, float | NUMBER_WORDS]
    updated: int


class QueueShown(BaseModel):
    waiting: int
    scoring: int
    per_minute: int
    oldest_seconds: int | None


class Snapshot(BaseModel):
    competition: CompetitionShown
    entries: list[EntryShown]
    live: list[LiveRunShown]
    queue: QueueShown


class HistoryShown(BaseModel):
    participant: int
    name: str
    submission: int
    time: int
    score: float
    test: float | None


class History(BaseModel):
    records: list[HistoryShown]


def has_too_many_keys(body: bytes) -> bool:
    """Say whether a body may hold more keys than are worth reading.

    pydantic lists an error for every wrong key before it is done: minutes and gigabytes for 10 MB
    of them. Each key needs a colon; those within texts are counted, too.
    """
    return body.count(b":") > MOST_COLONS


def sentence(error: dict) -> str:
    """Return one line on the first thing that pydantic found wrong."""
    place = ".".join(str(part) for part in error["loc"] if part != "[key]")
    message = re.sub(r"^Value error, ", "", error["msg"])
    if "pattern" in (context := error.get("ctx") or {}):
        message = {
            ONE_LINE: "Text on one line is expected, without invisible or directional characters",
            NO_NUL: "The character NUL cannot be stored",
        }.get(context["pattern"], message)
    return f"{place[:200]}: {message}." if place else f"{message}."
