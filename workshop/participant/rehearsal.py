"""A leaderboard of one, in memory: for the check of TODO 3.8, for tests and for measurements.

It answers as the real one does, takes any token and any code, and gives every model the same score.
"""

import contextlib
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = secrets.token_urlsafe(16)


class Rehearsal(ThreadingHTTPServer):
    """What arrived is in `names`, `points`, `statuses`, `runs`, `blobs` and `submissions`.

    trick : called with every request before it is answered; it may wait, or answer by itself and
        return true
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.trick: Callable[[_Handler], bool | None] | None = None
        self.competition = secrets.token_hex(32)  # which one it is, at whatever address
        self.names: list[str] = []
        self.runs: dict[str, dict] = {}
        self.points: dict[str, list[dict]] = {}
        self.statuses: dict[str, str] = {}
        self.blobs: dict[str, bytes] = {}
        self.submissions: list[dict] = []
        self.seen: list[str] = []  # method and path of every request
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: Rehearsal

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_GET

    def _handle(self) -> None:
        board = self.server
        board.seen.append(f"{self.command} {self.path}")
        if board.trick and board.trick(self):
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with board.lock:
            self.answer(*self._route(board, body))

    def _route(self, board: Rehearsal, body: bytes) -> tuple[int, dict]:
        match self.command, self.path.strip("/").split("/"):
            case "POST", ["api", "join"]:
                name = json.loads(body)["name"]
                if name.casefold() in board.names:
                    return 409, {"error": "That name is taken."}
                board.names.append(name.casefold())
                return 201, {"participant": len(board.names), "name": name, "token": TOKEN}
            case "GET", ["health"]:
                return 200, {"state": "ok", "revision": 1, "competition": board.competition}
            case _ if not str(self.headers["Authorization"]).startswith("Bearer "):
                return 401, {"error": "A token is missing."}
            case "GET", ["api", "me"]:
                return 200, {"participant": 1, "name": "Ada"}
            case "POST", ["api", "live"]:
                return _take_points(board, json.loads(body))
            case "PUT", ["api", "blobs", digest]:
                if hashlib.sha256(body).hexdigest() != digest:
                    return 400, {"error": "The bytes are not those of the name."}
                board.blobs[digest] = body
                return 201, {}
            case "POST", ["api", "submissions"]:
                return _take_submission(board, json.loads(body))
            case "GET", ["api", "submissions", number]:
                return 200, {
                    "id": int(number), "state": "scored", "ahead": 0, "score": 0.8, "low": 0.79,
                    "high": 0.81, "test": 0.9, "rank": 1, "of": 1, "contradicted": False,
                    "claim": None, "suspect": None, "link": f"/#entry-{number}",
                }  # fmt: skip
        return 404, {"error": "There is nothing here."}

    def answer(self, status: int, body: dict | bytes, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _take_points(board: Rehearsal, body: dict) -> tuple[int, dict]:
    run = body["run"]
    points = board.points.setdefault(run["id"], [])
    if body["position"] > len(points):
        return 409, {"error": "A gap.", "position": len(points)}
    points += body["points"][len(points) - body["position"] :]
    board.runs.setdefault(run["id"], run)
    board.statuses[run["id"]] = body["status"]
    return 200, {"position": len(points)}


def _take_submission(board: Rehearsal, body: dict) -> tuple[int, dict]:
    for number, known in enumerate(board.submissions, 1):
        if (known["run"], known["model"]) == (body["run"], body["model"]):
            return 200, {"id": number, "state": "scored"}
    missing = {body["model"], *body["files"].values()} - set(board.blobs)
    if missing:
        return 404, {"error": f"The blob {min(missing)} is missing."}
    board.submissions.append(body)
    return 201, {"id": len(board.submissions), "state": "queued"}


@contextlib.contextmanager
def rehearsal(port: int = 0) -> Iterator[Rehearsal]:
    """Start one on 127.0.0.1, at a free port unless it is given."""
    with Rehearsal(port) as board:
        thread = threading.Thread(target=board.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield board
        finally:
            board.shutdown()
            thread.join()
