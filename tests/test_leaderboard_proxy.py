"""Nobody writes to the shared MLflow: not by any route that it has, not by a trick."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount

from workshop.leaderboard import mlflow_ui, proxy

# All that changes nothing though it is no GET: what MLflow's pages and clients search with.
SEARCHES = {
    "/mlflow/graphql",
    *(
        f"/mlflow/{api}/{name}"
        for api in ("api", "ajax-api")
        for name in (
            "2.0/mlflow/experiments/search",
            "2.0/mlflow/experiments/search-datasets",
            "2.0/mlflow/runs/search",
            "2.0/mlflow/logged-models/search",
            "3.0/mlflow/datasets/search",
            "3.0/mlflow/traces/search",
            "3.0/mlflow/traces/metrics",
        )
    ),
}
CREATE = "/mlflow/api/2.0/mlflow/experiments/create"


class Upstream:
    """Stands where MLflow's server is, and keeps what reaches it."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, str]] = []
        self.headers: dict[str, str] = {}
        self.answer = Response("<script>alert(1)</script>", media_type="text/html")

    async def __call__(self, scope, receive, send) -> None:
        self.reached.append((scope["method"], scope["path"]))
        self.headers = dict(Request(scope).headers)
        await self.answer(scope, receive, send)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    made = Upstream()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(made))
    monkeypatch.setattr(proxy.Proxy, "_connect", lambda self: client)
    return made


def ask(method: str, path: str | bytes, **more) -> httpx.Response:
    """Send a request through the proxy, as it is mounted on the leaderboard's address."""
    import anyio

    app = Starlette(routes=[Mount("/mlflow", proxy.Proxy("127.0.0.1:1"))])

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            raw = path.encode() if isinstance(path, str) else path
            url = httpx.URL("http://board.test", raw_path=raw)
            return await client.request(method, url, **more)

    return anyio.run(send)


ROUTES = """
from fastapi.openapi.utils import get_openapi
from mlflow.server import app as flask
from mlflow.server.fastapi_app import app
for path, methods in get_openapi(title="", version="", routes=app.routes)["paths"].items():
    for method in methods:
        print("ROUTE", method.upper(), path)
for rule in flask.url_map.iter_rules():
    for method in rule.methods:
        print("ROUTE", method, rule.rule)
"""


@pytest.mark.slow
def test_every_route_of_mlflow_that_writes_is_refused(tmp_path: Path, upstream: Upstream) -> None:
    variables = {
        "_MLFLOW_STATIC_PREFIX": "/mlflow",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path.as_posix()}/mlflow.db",
    }
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ROUTES],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    routes = [line.split()[1:] for line in said.splitlines() if line.startswith("ROUTE")]
    writes = [
        (method, path)
        for method, path in routes
        if method not in ("GET", "HEAD", "OPTIONS") and path not in SEARCHES
    ]
    assert len(writes) > 200
    passed = [write for write in writes if ask(*write, json={}).status_code not in (403, 404)]
    assert passed == [] and upstream.reached == []


TRICKS = [
    CREATE,
    "/mlflow//api/2.0/mlflow/experiments/create",
    "/mlflow/api/2.0/mlflow//experiments/create",
    "/mlflow/api/2.0/mlflow/experiments/./create",
    "/mlflow/api/2.0/mlflow/experiments/search/../create",
    "/mlflow/api/2.0/mlflow/experiments/search/%2e%2e/create",
    "/mlflow/api/2.0/mlflow/experiments/search%2f..%2fcreate",
    "/mlflow/api/2.0/mlflow/experiments%2fcreate",
    "/mlflow/api/2.0/mlflow/experiments/%63reate",
    "/mlflow/api/2.0/mlflow/experiments/%2563reate",
    "/mlflow/api/2.0/mlflow/experiments/create/",
    "/mlflow/api/2.0/mlflow/experiments/create;a=search",
    "/mlflow/api/2.0/mlflow/experiments/create?x=/experiments/search",
    "/mlflow/api/2.0/mlflow/experiments/create%3fx",
    "/mlflow/api/2.0/mlflow/experiments/create%00/search",
    "/mlflow/api/2.0/mlflow/experiments/create%0a",
    "/mlflow/API/2.0/mlflow/experiments/create",
    "/mlflow/mlflow/api/2.0/mlflow/experiments/create",
    "/mlflow/../api/2.0/mlflow/experiments/create",
    "/mlflow/..%2fapi/2.0/mlflow/experiments/create",
    "/mlflow/static-files/../api/2.0/mlflow/experiments/create",
    "/mlflow/static-files/%2e%2e/api/2.0/mlflow/experiments/create",
    "/mlflow/static-files/..%5capi",
    "/mlflow/api/2.0/mlflow-artifacts/artifacts/../../mlflow/experiments/create",
]


@pytest.mark.parametrize("path", TRICKS)
def test_no_spelling_of_an_address_reaches_what_writes(upstream: Upstream, path: str) -> None:
    headers = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "QUERY"):
        answer = ask(method, path, json={"name": "mine", "_method": "POST"}, headers=headers)
        assert answer.status_code in (403, 404), method
    assert upstream.reached == []


def test_headers_that_could_change_a_request_are_not_handed_on(upstream: Upstream) -> None:
    hostile = {
        "X-HTTP-Method-Override": "POST",
        "X-Forwarded-Prefix": "/x",
        "Origin": "http://evil.test",
        "Authorization": "Basic YTpi",
        "Cookie": "a=b",
        "Connection": "upgrade",
        "X-MLflow-Workspace": "other",
    }
    assert ask("GET", "/mlflow/version", headers=hostile).status_code == 200
    arrived = {name: upstream.headers.get(name.lower()) for name in hostile}
    assert arrived == dict.fromkeys(hostile) | {"Connection": "keep-alive"}
    assert upstream.headers["host"] == "localhost"


@pytest.mark.parametrize("path", sorted(SEARCHES))
def test_searches_pass(upstream: Upstream, path: str) -> None:
    assert ask("POST", path, json={"max_results": 1}).status_code == 200
    assert upstream.reached == [("POST", path)]


@pytest.mark.parametrize(
    "path",
    [
        "/mlflow/",
        "/mlflow/version",
        "/mlflow/static-files/static/js/main.js",
        "/mlflow/get-artifact?path=trace/config.yaml&run_uuid=ab",
        "/mlflow/api/2.0/mlflow/runs/get?run_id=ab",
        "/mlflow/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids=ab",
        "/mlflow/api/2.0/mlflow-artifacts/artifacts/live/ab/artifacts/a%20%C3%A9.txt",
    ],
)
def test_what_the_pages_read_passes_for_get_and_head(upstream: Upstream, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert ask(method, path).status_code == 200
    assert [method for method, _ in upstream.reached] == ["GET", "HEAD"]


def test_a_refusal_says_what_to_do_in_the_words_that_mlflows_clients_read(
    upstream: Upstream,
) -> None:
    said = ask("POST", CREATE, json={}).json()
    assert "tracking=shared" in said["message"] and said["error"] == said["message"]
    assert said["error_code"] == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    "path",
    ["/mlflow/get-artifact?path=a.html", "/mlflow/ajax-api/2.0/mlflow-artifacts/artifacts/a"],
)
def test_a_participants_file_cannot_run_on_our_address(upstream: Upstream, path: str) -> None:
    headers = ask("GET", path).headers
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"


def test_no_answer_of_mlflow_can_run_what_was_written_into_a_page(upstream: Upstream) -> None:
    upstream.answer = Response("<b>", headers={"set-cookie": "a=b", "x-other": "1"})
    headers = ask("GET", "/mlflow/").headers
    assert "script-src 'self' 'unsafe-eval';" in headers["content-security-policy"]
    assert "set-cookie" not in headers and "x-other" not in headers


def test_a_search_that_is_too_large_is_refused(upstream: Upstream) -> None:
    path = "/mlflow/api/2.0/mlflow/runs/search"
    assert ask("POST", path, content=b"x" * (proxy.LARGEST_QUERY + 1)).status_code == 413
    assert upstream.reached == []


def test_a_browser_is_told_to_wait_while_mlflow_starts_and_a_client_too() -> None:
    page = ask("GET", "/mlflow/", headers={"accept": "text/html"})
    assert page.status_code == 503 and 'http-equiv="refresh"' in page.text
    said = ask("GET", "/mlflow/version")
    assert said.status_code == 503 and "starting" in said.json()["error"]


def test_the_address_without_a_slash_leads_to_the_page() -> None:
    answer = ask("GET", "/mlflow")
    assert answer.is_redirect and answer.headers["location"].endswith("/mlflow/")


def test_mlflows_own_process_refuses_writes_that_do_not_come_through_the_proxy() -> None:
    import anyio

    async def mlflow(scope, receive, send) -> None:
        await JSONResponse({"reached": scope["path"]})(scope, receive, send)

    async def statuses() -> list[int]:
        transport = httpx.ASGITransport(proxy.ReadOnly(mlflow))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            asked = [
                ("POST", CREATE),
                ("PUT", "/api/2.0/mlflow-artifacts/artifacts/a"),
                ("GET", "/api/2.0/mlflow-artifacts/artifacts/a"),
                ("GET", "/mlflow/version"),
            ]
            return [(await client.request(*each)).status_code for each in asked]

    assert anyio.run(statuses) == [403, 403, 403, 200]


WRITE = """
import sys
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from workshop.leaderboard import mlflow_ui
mlflow_ui.never_write()
store = SqlAlchemyStore(sys.argv[1], "mlflow-artifacts:/")
print("READ", len(store.search_experiments()))
store.create_experiment("mine")
"""


def try_to_write(uri: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITE, uri]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_mlflows_connection_to_sqlite_cannot_write(mlflow_store: Path) -> None:
    done = try_to_write(f"sqlite:///{mlflow_store.as_posix()}")
    assert "READ 1" in done.stdout
    assert "readonly database" in done.stderr


@pytest.mark.slow
def test_mlflows_connection_to_postgresql_cannot_write(tmp_path: Path) -> None:
    import servers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with servers.postgresql(tmp_path) as url:
        SqlAlchemyStore(url, "mlflow-artifacts:/").engine.dispose()
        done = try_to_write(url)
    assert "READ 1" in done.stdout
    assert "read-only transaction" in done.stderr


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("cnn", "my cnn 3", True),
        ("^cnn.*3$", "cnn number 3", True),
        ("mlp", "cnn", False),
        ("[", "a [", False),
        ("(a+)+$", "aaaa", False),  # would take for ever on a long text
        ("(a+)+$", "x (a+)+$ y", True),
        (None, "a", False),
    ],
)
def test_a_search_by_pattern_is_quick_or_taken_as_it_is_written(
    pattern: str | None, text: str, found: bool
) -> None:
    assert mlflow_ui.matches(pattern, text) is found
