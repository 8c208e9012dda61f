"""The real MLflow server, for reading: its pages and searches, reached through proxy.py only.

It runs in this process on one worker, without MLflow's job runner, on a Unix socket that only its
owner can open (on Windows: a port of 127.0.0.1). Its connections to the database cannot write.
"""

import asyncio
import contextlib
import functools
import gzip
import mimetypes
import os
import re
import socket
import threading
from pathlib import Path

import uvicorn
from sqlalchemy import Engine, event
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from workshop.leaderboard.proxy import PREFIX, ReadOnly
from workshop.leaderboard.settings import Settings

PREFERENCES = "/static-files/preferences.js"
PREFERRED = """\
const preferred = {
  "mlflow.workflowType_v1": "machine_learning",
  "mlflow.settings.telemetry.enabled_v1": false,
  "mlflow.telemetry.info.alert.dismissed_v1": true,
  "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": true,
};
for (const [key, value] of Object.entries(preferred))
  if (localStorage.getItem(key) === null) localStorage.setItem(key, JSON.stringify(value));
"""


def run(settings: Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set."""
    from workshop.leaderboard import mirror

    configure(settings)
    never_write()
    from mlflow.server.fastapi_app import app  # reads the environment as it is imported

    if not mirror.wait_for_store(settings, stop):
        return
    # Its pages load 9 MB, which compress to a quarter: a room shares one wireless network.
    served = GZipMiddleware(ReadOnly(Pages(app)), minimum_size=2_000, compresslevel=4)
    config = uvicorn.Config(
        served, log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_end, args=(server, stop), daemon=True).start()
    with listening(settings.mlflow_socket) as inherited:
        server.run(sockets=[inherited])


class Pages:
    """MLflow's page and its scripts, each compressed once for all readers.

    The page opens as a workshop needs it, until a reader chooses otherwise: with what concerns
    models, and without an assistant that would answer nothing here.
    """

    def __init__(self, app: ASGIApp) -> None:
        import mlflow.server

        self.app = app
        self.folder = Path(mlflow.server.__file__).parent / mlflow.server.REL_STATIC_DIR
        page = (self.folder / "index.html").read_text(encoding="utf-8")
        script = f'<head><script src="{PREFERENCES[1:]}"></script>'
        self.page = page.replace("<head>", script, 1)
        self.packed = functools.lru_cache(maxsize=500)(self._packed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = await self._own(Request(scope)) if scope["type"] == "http" else None
        await (own or self.app)(scope, receive, send)

    async def _own(self, request: Request) -> Response | None:
        path = request.scope["path"]
        if path == f"{PREFIX}/":
            return HTMLResponse(self.page, headers={"cache-control": "no-cache"})
        if path == PREFIX + PREFERENCES:
            return Response(PREFERRED, media_type="text/javascript")
        name = path.removeprefix(f"{PREFIX}/static-files/")
        takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
        if name == path or not takes_gzip or not name.endswith((".js", ".css", ".svg")):
            return None
        packed = await asyncio.to_thread(self.packed, name)
        if packed is None:
            return None
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        # Their names change with their contents.
        headers = {
            "vary": "accept-encoding",
            "content-encoding": "gzip",
            "cache-control": "public, max-age=2419200, immutable",
        }
        return Response(packed, media_type=kind, headers=headers)

    def _packed(self, name: str) -> bytes | None:
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            return None
        return gzip.compress(path.read_bytes(), 6)


def configure(settings: Settings) -> None:
    """Set what MLflow's server reads from the environment, as its command line would."""
    from workshop.leaderboard import mirror

    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "_MLFLOW_SERVER_FILE_STORE": mirror.store_uri(settings),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": mirror.artifact_root(settings),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_STATIC_PREFIX": PREFIX,
    }


def never_write() -> None:
    """Let every database connection of this process from now on refuse to write."""

    @event.listens_for(Engine, "connect")
    def read_only(connection, _) -> None:
        if _is_sqlite(connection):
            connection.execute("PRAGMA query_only=1")
        else:
            connection.read_only = True  # psycopg: every transaction begins so

    @event.listens_for(Engine, "checkout")  # MLflow sets its own upon connecting, after us
    def search_quickly(connection, record, _) -> None:
        if _is_sqlite(connection) and not record.info.get("searches quickly"):
            record.info["searches quickly"] = True
            connection.create_function("regexp", 2, matches)


def matches(pattern: str | None, text: str | None) -> bool:
    """Say whether a text matches, for SQLite's REGEXP; MLflow's pages search names with it.

    A pattern that could take for ever, and this process with it, is looked for as it is written.
    """
    if pattern is None or text is None:
        return False
    if "(" in pattern or len(re.findall(r"[*+?{]", pattern)) > 1:
        return pattern in text
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _is_sqlite(connection: object) -> bool:
    return "sqlite" in type(connection).__module__


@contextlib.contextmanager
def listening(address: str):
    """Yield a listening socket at a path, which is its owner's alone, or at HOST:PORT."""
    if "/" not in address:
        host, port = address.rsplit(":", 1)
        with socket.create_server((host, int(port))) as made:
            yield made
        return
    path = Path(address)
    path.unlink(missing_ok=True)  # left by a process that was killed
    with socket.socket(socket.AF_UNIX) as made:
        before = os.umask(0o177)
        try:
            made.bind(address)
        finally:
            os.umask(before)
        made.listen(128)
        yield made


def _end(server: uvicorn.Server, stop: threading.Event) -> None:
    stop.wait()
    server.should_exit = True
