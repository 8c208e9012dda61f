"""The shared MLflow below the page's own address, for reading only.

What may pass is listed here, and nothing else does: what the pages of MLflow 3.17 ask for, and the
searches of its Python client. `refusal` is asked twice, here and again inside MLflow's process
(mlflow_ui.py), whose connections to the database cannot write either.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/mlflow"
LARGEST_QUERY = 1_000_000  # bytes of a search
MOST_AT_ONCE = 40  # requests that MLflow works on; the others wait
PATIENCE = httpx.Timeout(connect=5, write=20, read=60, pool=20)  # seconds

READ_ONLY = (
    "The shared MLflow is for reading; the leaderboard alone writes to it. Log your runs locally: "
    "tracking=shared shows them here."
)
WAITING = """\
<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">
<title>MLflow</title><p>{} This page reloads by itself.</p></html>
"""

PAGES = r"/|/health|/version|/static-files/.+|/get-artifact"
GETS = (  # below /api/ and /ajax-api/
    r"2\.0/mlflow/experiments/(get|get-by-name|search)",
    r"2\.0/mlflow/runs/get",
    r"2\.0/mlflow/artifacts/list",
    r"2\.0/mlflow/metrics/(get-history|get-history-bulk|get-history-bulk-interval)",
    r"2\.0/mlflow/(model-versions|registered-models)/search",
    r"2\.0/mlflow-artifacts/artifacts(/.+)?",
    r"3\.0/mlflow/server-info",
    r"3\.0/mlflow/datasets/search",
)
POSTS = (
    r"2\.0/mlflow/experiments/(search|search-datasets)",
    r"2\.0/mlflow/(runs|logged-models)/search",
    r"3\.0/mlflow/datasets/search",
    r"3\.0/mlflow/traces/(search|metrics)",
)
PASSING = {
    "GET": re.compile(rf"{PAGES}|/(ajax-)?api/({'|'.join(GETS)})"),
    "POST": re.compile(rf"/graphql|/(ajax-)?api/({'|'.join(POSTS)})"),
}
ARTIFACT = re.compile(r"/get-artifact|/(ajax-)?api/2\.0/mlflow-artifacts/.*")
UNUSUAL = re.compile(r"//|/\.{1,2}(/|$)|[\\%;\x00-\x1f\x7f]")  # no name that we store has these

TO_MLFLOW = ("accept", "accept-encoding", "content-type", "if-none-match", "range")
FROM_MLFLOW = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "vary",
)
# MLflow's pages ask it for language models, and complain if they are refused: there are none.
EMPTY = {"/ajax-api/2.0/mlflow/gateway-proxy": {"endpoints": []}}
# Participants' files must not run on this address, neither opened by themselves nor in the frames
# that MLflow's pages show them in, which inherit the policy of those pages. Plotly's WebGL charts
# make functions of text.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'self'"
)
ARTIFACT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def refusal(method: str, path: str) -> str | None:
    """Say why a request must not reach MLflow; None if it may.

    path : decoded, without the prefix /mlflow
    """
    wanted = PASSING.get("GET" if method == "HEAD" else method)
    if wanted and wanted.fullmatch(path) and not UNUSUAL.search(path):
        return None
    return READ_ONLY


class ReadOnly:
    """An ASGI application that lets only reading requests through to another."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            inside = scope["path"].removeprefix(PREFIX)
            if scope["path"] == inside or refusal(scope["method"], inside):
                await _refused(READ_ONLY)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Proxy:
    """An ASGI application, to be mounted at /mlflow, that asks MLflow's own server.

    address : the path of its Unix socket, or HOST:PORT
    """

    def __init__(self, address: str) -> None:
        is_socket = "/" in address
        self.address = address
        self._base = "http://localhost" if is_socket else f"http://{address}"
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        response = await self._answer(Request(scope, receive))
        with contextlib.suppress(ClientDisconnect):
            await response(scope, receive, send)

    async def close(self) -> None:
        """End the connections to MLflow."""
        if self._client:
            await self._client.aclose()

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path in ("", PREFIX):
            return RedirectResponse(f"{PREFIX}/")
        if request.method == "GET" and path in EMPTY:
            return JSONResponse(EMPTY[path])
        if reason := refusal(request.method, path):
            return _refused(reason)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _problem(413, f"A search can have {LARGEST_QUERY} bytes at most.")
        try:
            answer = await self._ask(request, path, body)
        except httpx.TransportError as error:
            return _not_answered(request, error)
        headers = {name: answer.headers[name] for name in FROM_MLFLOW if name in answer.headers}
        headers |= {"x-content-type-options": "nosniff", "referrer-policy": "same-origin"}
        headers["content-security-policy"] = PAGE_POLICY
        if ARTIFACT.fullmatch(path):
            headers["content-security-policy"] = ARTIFACT_POLICY
            headers.setdefault("content-disposition", "attachment")
        return StreamingResponse(_streamed(answer), answer.status_code, headers)

    async def _ask(self, request: Request, path: str, body: bytes) -> httpx.Response:
        client = self._client = self._client or self._connect()
        # Written anew from what was checked, so that MLflow cannot read another path in it.
        query = request.scope["query_string"]
        url = httpx.URL(self._base, raw_path=quote(PREFIX + path).encode() + b"?" + query)
        headers = {name: request.headers[name] for name in TO_MLFLOW if name in request.headers}
        headers = {"accept-encoding": "identity", "host": "localhost"} | headers
        asked = client.build_request(request.method, url, headers=headers, content=body)
        return await client.send(asked, stream=True)

    def _connect(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=10)
        socket = self.address if self._base == "http://localhost" else None
        transport = httpx.AsyncHTTPTransport(uds=socket, limits=limits)
        return httpx.AsyncClient(transport=transport, timeout=PATIENCE)


async def _body(request: Request) -> bytes | None:
    """Return the body, None if it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_QUERY:
            return None
    return bytes(body)


async def _streamed(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()


def _problem(status: int, message: str, code: str = "BAD_REQUEST") -> JSONResponse:
    # "error" is what the leaderboard says everywhere; the other two are what MLflow's clients read.
    return JSONResponse({"error": message, "error_code": code, "message": message}, status)


def _refused(reason: str) -> JSONResponse:
    return _problem(403, reason, "PERMISSION_DENIED")


def _not_answered(request: Request, error: httpx.TransportError) -> Response:
    if isinstance(error, httpx.ConnectError):
        status, message = 503, "MLflow is starting. Try again in a few seconds."
    else:
        status, message = 504, "MLflow did not answer in time. Try again, or search for less."
    if "text/html" not in request.headers.get("accept", ""):
        response = _problem(status, message, "TEMPORARILY_UNAVAILABLE")
    else:
        response = HTMLResponse(WAITING.format(message), status)
    response.headers["retry-after"] = "3"
    return response
