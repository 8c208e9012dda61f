"""A run is found on MLflow's page: by its address, and by what a person types."""

import http.server
import json
import logging
import threading
import webbrowser
from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient
from record_fixtures import FakeDataset

from samerun import cli
from samerun.display import page
from samerun.errors import RecordError
from samerun.find import find_run, pick_run
from samerun.run import start_run
from samerun.store import tracking

pytestmark = pytest.mark.usefixtures("mlflow_store")


def run(experiment: str, digest: str = "abc", **metrics: float) -> str:
    """Record a run with a time of its own; return its id."""
    with start_run({"experiment": experiment, "seed": 0}, FakeDataset(digest=digest)) as active:
        mlflow.log_metrics(metrics)
    run_id: str = active.info.run_id
    return run_id


class Page(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow does when it is asked for a run."""

    def do_GET(self) -> None:
        known = self.path.rpartition("run_id=")[2] in self.server.known  # type: ignore[attr-defined]
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"run": {}} if known else {"error_code": "x"}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ui(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """Something that listens where `mlflow ui` does, and the addresses that a browser was given."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.known, server.opened = set(), []  # type: ignore[attr-defined]
    monkeypatch.setattr(webbrowser, "open", server.opened.append)  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_run_ends_with_its_name_and_its_address(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_id = run("wine")
    found = find_run(run_id)
    assert f"Recorded as {found.info.run_name}: uv run samerun trace {run_id[:8]}" in caplog.text
    assert page.address(found) in caplog.text


def test_the_address_opens_the_run_among_model_training() -> None:
    found = find_run(run("wine"))
    where = f"experiments/{found.info.experiment_id}/runs/{found.info.run_id}"
    expected = f"http://127.0.0.1:5050/#/{where}?workflowType=machine_learning"
    assert page.address(found) == expected


def test_a_run_of_a_server_is_at_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_run(run("wine"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org/")
    assert page.address(found).startswith("https://mlflow.example.org/#/experiments/")


def test_an_experiment_is_one_of_model_training() -> None:
    found = find_run(run("wine"))
    tags = MlflowClient().get_experiment(found.info.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_experiment_that_was_made_by_something_else_becomes_one() -> None:
    tracking.use_store()
    mlflow.create_experiment("older")
    run("older")
    assert mlflow.get_experiment_by_name("older").tags.items() >= tracking.KIND.items()


def test_latest_is_the_run_that_started_last_however_it_ended() -> None:
    run("wine")
    with pytest.raises(ZeroDivisionError), start_run({"experiment": "beer", "seed": 0}) as failed:
        raise ZeroDivisionError
    assert pick_run("latest").info.run_id == failed.info.run_id
    assert pick_run("latest", "wine").info.experiment_id != failed.info.experiment_id


def test_best_is_the_best_of_the_latest_runs_experiment_and_data() -> None:
    run("beer", score=0.99)
    run("wine", digest="other data", score=0.95)
    best = run("wine", score=0.9)
    run("wine", score=0.8)
    assert pick_run("best", metrics=("accuracy", "score")).info.run_id == best
    assert pick_run("best", "beer", ("score",)).data.metrics == {"score": 0.99}


def test_the_first_metric_that_the_runs_have_decides() -> None:
    first = run("wine", best_val=0.9, val=0.1)
    run("wine", best_val=0.8, val=0.7)
    assert pick_run("best", metrics=("best_val", "val")).info.run_id == first
    assert pick_run("best", metrics=("val", "best_val")).info.run_id != first


def test_without_a_metric_those_that_there_are_are_named() -> None:
    run("wine", b=0.9, a=1)
    with pytest.raises(RecordError, match=r"Name one with --metric\. There are: a, b"):
        pick_run("best")


@pytest.mark.parametrize("experiment", [None, "no such"])
def test_where_no_run_is_that_is_said(experiment: str | None) -> None:
    tracking.use_store()
    with pytest.raises(RecordError, match="holds no runs yet"):
        pick_run("latest", experiment)


def test_an_id_is_taken_as_ever() -> None:
    run_id = run("wine")
    run("wine")
    assert pick_run(run_id[:8]).info.run_id == run_id


def test_trace_takes_latest(capsys: pytest.CaptureFixture[str]) -> None:
    run_id = run("wine")
    assert cli.main(["trace", "latest"]) == 0
    assert run_id in capsys.readouterr().out


def test_trace_takes_best(capsys: pytest.CaptureFixture[str]) -> None:
    best = run("wine", score=2)
    run("wine", score=1)
    assert cli.main(["trace", "best", "--metric", "score"]) == 0
    assert best in capsys.readouterr().out


def test_open_shows_the_page_of_the_run(
    ui: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = run("wine")
    ui.known.add(run_id)  # type: ignore[attr-defined]
    assert cli.main(["open", "latest", "--port", str(ui.server_port)]) == 0
    name, _, address = capsys.readouterr().out.strip().partition(": ")
    assert name == find_run(run_id).info.run_name
    assert ui.opened == [address] == [page.address(find_run(run_id), ui.server_port)]  # type: ignore[attr-defined]


def test_without_a_page_open_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    run("wine")
    assert cli.main(["open", "latest", "--port", "1"]) == 2
    said = capsys.readouterr().err
    assert "uv run mlflow ui --port 1 --backend-store-uri " in said
    assert "#/experiments/" in said


def test_the_page_of_another_store_is_not_opened(
    ui: http.server.ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run("wine")
    assert cli.main(["open", "latest", "--port", str(ui.server_port)]) == 2
    assert f"uv run mlflow ui --port {ui.server_port + 1} " in capsys.readouterr().err
    assert ui.opened == []  # type: ignore[attr-defined]
