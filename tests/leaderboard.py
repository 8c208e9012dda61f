"""A leaderboard for tests: its database, its HTTP, and participants without training."""

import contextlib
import hashlib
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import httpx
import numpy as np
import pytest
import servers
import sqlalchemy as sa
import uvicorn

from workshop.leaderboard import board
from workshop.leaderboard.api import create_app
from workshop.leaderboard.database import Database
from workshop.leaderboard.records import Job, NewSubmission, Participant, Score, Submission
from workshop.leaderboard.settings import Settings

IMAGES = 400  # hidden ones of these tests


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms

    def forward(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL for all tests of a session."""
    # Not below pytest's folder, which every start of pytest closes to other users.
    with tempfile.TemporaryDirectory() as folder, servers.postgresql(Path(folder)) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{(tmp_path / 'leaderboard.db').as_posix()}"
    return fresh_database(request.getfixturevalue("postgresql"))


def fresh_database(server: str) -> str:
    """Return the address of an empty database: a schema, which is made in no time."""
    name = f"test_{secrets.token_hex(6)}"
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{server}?options=-csearch_path%3D{name}"


@pytest.fixture
def db(url: str, clock: Clock) -> Iterator[Database]:
    """A database with an open competition on the digits."""
    found = begun(url, clock)
    yield found
    found.close()


def begun(url: str, clock: Clock | None = None) -> Database:
    found = Database(url, clock)
    found.create()
    found.start_competition(data="digits", name="Test", quota_per_hour=5)
    return found


def joined(db: Database, name: str) -> Participant:
    return db.join(name, db.competition().join_code)[0]


def sent(db: Database, participant: Participant | int, model: str = "") -> Submission:
    """Submit a model, made up, of a run, made up."""
    id = participant if isinstance(participant, int) else participant.id
    sha256 = hashlib.sha256((model or secrets.token_hex(8)).encode()).hexdigest()
    new = NewSubmission(secrets.token_hex(16), sha256, "digits", "0" * 32, {"files": {}})
    return db.submit(id, new)[0]


def bits(accuracy: float, seed: int = 0) -> bytes:
    """Return which images a model got right that is right on a share of them.

    With the same seed a better model is right wherever a worse one is.
    """
    chosen = np.random.default_rng(seed).permutation(IMAGES)[: round(accuracy * IMAGES)]
    right = np.zeros(IMAGES, bool)
    right[chosen] = True
    return np.packbits(right).tobytes()


def score(accuracy: float, suspect: str | None = None, seed: int = 0) -> Score:
    low, high = max(0.0, accuracy - 0.05), min(1.0, accuracy + 0.05)
    return Score(
        accuracy, low, high, accuracy, low, high, accuracy, bits(accuracy, seed), 1000, 1.5, suspect
    )


def scored(
    db: Database,
    participant: Participant | int,
    accuracy: float,
    suspect: str | None = None,
    seed: int = 0,
) -> Submission:
    """Submit and score a model. Nothing else may wait."""
    submission = sent(db, participant)
    job = claimed(db)
    assert job.id == submission.id
    assert db.finish(job.id, "scorer", score(accuracy, suspect, seed))
    return db.submission(submission.id)


def claimed(db: Database, owner: str = "scorer", lease_ms: int = 30_000) -> Job:
    job = db.claim(owner, lease_ms)
    assert job is not None, "nothing waits for a score"
    return job


@dataclass
class Room:
    """A server that runs in a thread of this process."""

    settings: Settings
    server: uvicorn.Server
    client: httpx.Client
    db: Database
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return httpx.URL(self.settings.address).port

    @property
    def state(self):
        """What the requests of the server share."""
        return self.server.config.app.state.worker

    def join(self, name: str, code: str | None = None) -> httpx.Response:
        code = code or self.db.competition().join_code
        answer = self.client.post("/api/join", json={"code": code, "name": name})
        if answer.status_code == 201:
            self.tokens[name] = answer.json()["token"]
        return answer

    def auth(self, name: str) -> dict[str, str]:
        """Headers of a participant, who joins if need be."""
        if name not in self.tokens:
            assert self.join(name).status_code == 201
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    def someone(self) -> str:
        """The name of a new participant."""
        name = f"P{secrets.token_hex(6)}"
        assert self.join(name).status_code == 201
        return name

    def live(self, name: str, **changes: object) -> httpx.Response:
        body = live_body() | changes
        return self.client.post("/api/live", json=body, headers=self.auth(name))

    def upload(self, name: str, content: bytes, sha256: str | None = None) -> httpx.Response:
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        return self.client.put(f"/api/blobs/{sha256}", content=content, headers=self.auth(name))

    def submit(self, name: str, content: bytes = b"model", **changes: object) -> httpx.Response:
        """Upload a model and submit it."""
        assert self.upload(name, content).status_code in (200, 201)
        return self.post_submission(name, submission_body(content) | changes)

    def post_submission(self, name: str, body: dict) -> httpx.Response:
        return self.client.post("/api/submissions", json=body, headers=self.auth(name))

    def board(self) -> dict:
        """The board as soon as it shows everything that is in the database."""
        revision = self.db.revision()
        wait(lambda: self.state.board.revision >= revision)
        wait(lambda: not self.state.board.is_behind)
        return self.client.get("/api/board").json()

    @contextlib.contextmanager
    def events(self, headers: dict[str, str] | None = None) -> Iterator[Iterator[tuple[str, dict]]]:
        """The events of a viewer, as (kind, message)."""
        with self.client.stream("GET", "/api/events", headers=headers, timeout=15) as answer:
            assert answer.status_code == 200
            yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[tuple[str, dict]]:
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def live_body() -> dict:
    """Three points of a run."""
    points = [{"metric": "val_accuracy", "step": i, "time": 5, "value": i / 10} for i in range(3)]
    run = {"id": "a" * 32, "name": "run", "started": 5, "epochs": 10, "params": {"lr": "0.1"}}
    return {"run": run, "position": 0, "points": points, "status": "running"}


def submission_body(content: bytes = b"model", run: str = "b" * 32) -> dict:
    return {
        "run": {"id": run, "name": "run", "started": 5},
        "model": hashlib.sha256(content).hexdigest(),
        "data": "digits",
        "data_digest": "0" * 32,
        "claim": {"metric": "test_accuracy", "value": 0.9},
        "kind": "torch",
        "params": {"lr": "0.1"},
        "metrics": {"loss": [[0, 5, 1.5], [1, 6, "NaN"]]},
        "tags": {"mlflow.runName": "run"},
        "files": {},
        "training_seconds": 12.5,
        "commit": "c" * 40,
        "dirty": False,
        "summary": "mlp, Adam 0.001",
    }


def wait(true, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.01)


@contextlib.contextmanager
def running(folder: Path, pause: float = 0.1, **changes: object) -> Iterator[Room]:
    """Run a server on data in a folder; `pause` is what lies between two of its events, in s."""
    port = servers.free_port()
    settings = Settings.of(folder, f"http://127.0.0.1:{port}", **changes)
    folder.mkdir(exist_ok=True)
    db = begun(settings.database_url)
    config = uvicorn.Config(
        create_app(settings), port=port, log_level="error", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    quick = mock.patch.multiple(board, POLL_S=0.05, PAUSE_S=pause)
    thread.start()
    quick.start()
    try:
        wait(lambda: server.started or not thread.is_alive())
        with httpx.Client(base_url=settings.address) as client:
            room = Room(settings, server, client, db)
            wait(lambda: client.get("/health").status_code == 200)
            yield room
    finally:
        config.app.state.worker.board.end()
        server.should_exit = True
        thread.join(20)
        quick.stop()
        db.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def shared_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A running server for tests that leave nothing behind."""
    with running(tmp_path_factory.mktemp("shared") / "leaderboard") as found:
        yield found


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A running server with an open competition on the digits."""
    with running(tmp_path / "leaderboard") as found:
        yield found
