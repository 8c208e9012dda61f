"""A stand-in for the leaderboard's server: the page's files, and what a test lets it say."""

import asyncio
import contextlib
import copy
import json
import math
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PAGE = Path(__file__).parents[1] / "workshop" / "leaderboard" / "page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self'",
    "X-Content-Type-Options": "nosniff",
}
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
START = int(1000 * time.time()) - 3_600_000  # an hour ago
QR = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M1 1h3v3h-3z"/></svg>'
NAMES = [
    *("Ada Lovelace", "Emmy Noether", "Alan Turing", "Grace Hopper", "Katherine Johnson"),
    *("Karl Pearson", "Sofja Kowalewskaja", "Андрей Колмогоров", "Mary Cartwright"),
    *("Ronald Fisher", "Florence Nightingale", "Srinivasa Ramanujan", "陈省身", "Hypatia"),
    *("Blaise Pascal", "Julia Robinson", "Évariste Galois", "Maryam Mirzakhani"),
    *("Thomas Bayes", "Rózsa Péter"),
]


def entry(participant: int, score: float | None, rank: int | None, **more: Any) -> dict[str, Any]:
    """One row of the board, with everything that the contract names."""
    made = {
        "rank": rank,
        "participant": participant,
        "name": f"Participant {participant}",
        "submission": 1000 + participant,
        "time": START + 60_000 * participant,
        "score": score,
        "low": score - 0.005,
        "high": score + 0.005,
        "test": score + 0.01,
        "test_low": score + 0.005,
        "test_high": score + 0.015,
        "claim": {"metric": "val_accuracy", "value": score + 0.011},
        "contradicted": False,
        "parameters": 52_650,
        "inference_ms": 38.2,
        "training_seconds": 84.0,
        "summary": "model=cnn optimizer=adamw training.epochs=12",
        "commit": "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
        "dirty": False,
        "reproduced": "untried",
        "submissions": 3,
        "disqualified": None,
        "suspect": None,
        "note": None,
        "mlflow": f"/mlflow/#/experiments/1/runs/{participant:032x}",
    }
    return made | more


def live_run(participant: int, epoch: int | None, value: Any, **more: Any) -> dict[str, Any]:
    made = {
        "participant": participant,
        "name": f"Participant {participant}",
        "run": f"{participant:032x}",
        "run_name": "cnn",
        "status": "running",
        "epoch": epoch,
        "epochs": 20,
        "metrics": {"train_loss": 0.3, "val_accuracy": value},
        "updated": int(1000 * time.time()),
    }
    return made | more


def record(participant: int, minute: float, score: float, **more: Any) -> dict[str, Any]:
    made = {
        "participant": participant,
        "name": f"Participant {participant}",
        "submission": 1000 + participant,
        "time": START + int(60_000 * minute),
        "score": score,
        "test": score + 0.01,
    }
    return made | more


def board(entries: list[dict[str, Any]] = (), live: list[dict[str, Any]] = ()) -> dict[str, Any]:
    """A snapshot of an open competition."""
    return {
        "competition": {
            "name": "Fashion-MNIST, Tuesday group",
            "data": "fashion_mnist",
            "state": "open",
            "rule": "Entries are ranked by accuracy on hidden images: the test images, each"
            " changed by a shift, noise, brightness or occlusion drawn from a secret seed, whose"
            " SHA-256 stands here from the start. Two entries share a rank while a paired test on"
            " those images cannot tell the lower one from the best of that rank.",
            "seed_sha256": "5f3a9c" + "0e71b2d4" * 7 + "ab",
            "images_sha256": "77aa" + "c3d1e9f0" * 7 + "beef",
            "seed": None,
            "quota_per_hour": 6,
            "join": "K7QM-2XPD@192.168.1.5:8765",
            "address": "http://192.168.1.5:8765",
            "now": int(1000 * time.time()),
            "references": [
                {"name": "logistic regression", "score": 0.742, "test": 0.842},
                {"name": "human", "score": None, "test": 0.835},
                {"name": "known CNN", "score": 0.874, "test": 0.925},
            ],
        },
        "entries": list(entries),
        "live": list(live),
        "queue": {"waiting": 0, "scoring": 0, "per_minute": 0.0, "oldest_seconds": None},
    }


def competition(people: int, seed: int = 1) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A board of many entries after an hour, and the history that led to it."""
    chance = random.Random(seed)
    now = int(1000 * time.time())
    start = now - 3_600_000
    history, bests = [], []
    submission = 0
    for participant in range(1, people + 1):
        name = NAMES[(participant - 1) % len(NAMES)]
        if participant > len(NAMES):
            name += f" {participant // len(NAMES) + 1}"
        top = 0.9 - 0.13 * chance.betavariate(1.6, 2.2)
        joined = chance.uniform(0, 0.5)
        best: dict[str, Any] | None = None
        for i in range(chance.randint(1, 8)):
            submission += 1
            at = joined + (1 - joined) * chance.random() ** 1.2
            score = top - 0.09 * chance.random() * math.exp(-3 * at) - 0.004 * chance.random()
            history.append((start + int(3_600_000 * at), participant, name, submission, score, i))
    history.sort()
    records, sent = [], {}
    found: dict[int, dict[str, Any]] = {}
    for at, participant, name, submission, score, _ in history:
        sent[participant] = sent.get(participant, 0) + 1
        best = found.get(participant)
        if best and best["score"] >= score:
            best["submissions"] = sent[participant]
            continue
        half = 1.96 * math.sqrt(score * (1 - score) / 10_000)
        test = min(0.97, score + 0.045 + 0.01 * chance.random())
        claim = test + chance.gauss(0.003, 0.003)
        found[participant] = entry(
            participant,
            round(score, 4),
            None,
            name=name,
            submission=submission,
            time=at,
            low=score - half,
            high=score + half,
            test=round(test, 4),
            test_low=test - 0.005,
            test_high=test + 0.005,
            claim=None if chance.random() < 0.15 else {"metric": "val_accuracy", "value": claim},
            parameters=int(10 ** chance.uniform(3.9, 6.6)),
            inference_ms=10 ** chance.uniform(0.3, 2.6),
            training_seconds=10 ** chance.uniform(1, 3.4),
            summary=f"model={chance.choice(['cnn', 'own', 'mlp', 'resnet'])}"
            f" optimizer={chance.choice(['adamw', 'sgd'])} augmentation=flip_and_shift"
            f" training.epochs={chance.randint(4, 30)} seed={chance.randint(0, 9)}",
            dirty=chance.random() < 0.2,
            reproduced=chance.choice(["untried", "untried", "reproduced", "differs"]),
            submissions=sent[participant],
        )
        test_record = {"test": found[participant]["test"], "name": name, "submission": submission}
        records.append(record(participant, 0, round(score, 4), **test_record) | {"time": at})
    bests = sorted(found.values(), key=lambda one: -one["score"])
    for i, one in enumerate(bests):
        leader = bests[i - 1] if i and bests[i - 1]["score"] - one["score"] < 0.0012 else None
        one["rank"] = leader["rank"] if leader else i + 1
    if people >= 20:
        bests[4]["claim"] = {"metric": "test_accuracy", "value": 0.991}
        bests[4]["contradicted"] = True
        bests[-1] |= {"rank": None, "disqualified": "trained on the test images"}
        bests[7] |= {
            "rank": None,
            "suspect": "knows the test set: 0.981 there, 0.902 on images that nobody has published",
        }
    state = board(bests)
    state["competition"]["now"] = now
    state["queue"] = {"waiting": 3, "scoring": 1, "per_minute": 14.2, "oldest_seconds": 35}
    return state, records


class FakeLeaderboard:
    """Serves the page and what `board`, `history` and `submissions` hold, on 127.0.0.1."""

    def __init__(self) -> None:
        self.board: dict[str, Any] = board()
        self.history: list[dict[str, Any]] = []
        self.submissions: dict[int, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.is_broken = False
        self.port = 0
        self._viewers: set[asyncio.Queue[bytes]] = set()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/assets/{name}", self._asset),
                Route("/qr.svg", lambda _: Response(QR, media_type="image/svg+xml")),
                Route("/api/board", self._board),
                Route("/api/history", self._history),
                Route("/api/submissions/{id:int}", self._submission),
                Route("/api/events", self._events),
            ]
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def _page(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    def _asset(self, request: Request) -> Response:
        path = PAGE / request.path_params["name"]
        if not path.is_file():
            return Response(status_code=404)
        return FileResponse(path, headers=HEADERS, media_type=TYPES[path.suffix])

    def _submission(self, request: Request) -> Response:
        found = self.submissions.get(request.path_params["id"])
        return JSONResponse(found) if found else JSONResponse({"error": "none"}, status_code=404)

    def _board(self, request: Request) -> Response:
        self.asked.append("board")
        return JSONResponse(self.board, status_code=503 if self.is_broken else 200)

    def _history(self, request: Request) -> Response:
        self.asked.append("history")
        return JSONResponse({"records": self.history})

    async def _events(self, request: Request) -> Response:
        self.asked.append("events")
        if self.is_broken:  # a browser does not try again by itself
            return Response(status_code=503)
        self.board["competition"]["now"] = int(1000 * time.time())
        news: asyncio.Queue[bytes] = asyncio.Queue()
        self._viewers.add(news)
        news.put_nowait(b"retry: 200\n\n" + sse("board", self.board))

        async def stream():
            try:
                while True:
                    yield await news.get()
            finally:
                self._viewers.discard(news)

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _say(self, what: bytes) -> None:
        for news in list(self._viewers):
            news.put_nowait(what)

    def publish(self, **changes: Any) -> None:
        """Change parts of the board (`entries`, `live`, `queue`), and tell every viewer."""
        self.board = copy.deepcopy(self.board) | changes
        self.board["competition"]["now"] = int(1000 * time.time())
        self._loop.call_soon_threadsafe(self._say, sse("board", self.board))

    def publish_competition(self, **changes: Any) -> None:
        self.publish(competition=self.board["competition"] | changes)

    def live(self, *runs: dict[str, Any]) -> None:
        """Tell every viewer of runs; the board holds their latest state, too."""
        known = {(run["participant"], run["run"]): run for run in self.board["live"]}
        known |= {(run["participant"], run["run"]): run for run in runs}
        self.board = self.board | {"live": list(known.values())}
        self._loop.call_soon_threadsafe(self._say, sse("live", {"runs": list(runs)}))

    def start(self) -> None:
        """Listen on the port of before, if there was one."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(self.app, log_level="critical", timeout_graceful_shutdown=0)
        self._server = server = uvicorn.Server(config)
        started = threading.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            started.set()
            await server.serve(sockets=[listening])

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        self._thread.start()
        assert started.wait(10), "the stand-in did not start within 10 s"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the stand-in did not stop within 10 s"
        self._viewers.clear()


def sse(event: str, data: Any) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


@contextlib.contextmanager
def fake_leaderboard() -> Iterator[FakeLeaderboard]:
    server = FakeLeaderboard()
    server.start()
    try:
        yield server
    finally:
        server.stop()
