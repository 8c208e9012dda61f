"""Stores that were moved, copied, damaged or made by another MLflow, and servers that are not."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from record_fixtures import FakeDataset

from samerun import cli, find
from samerun.display import screen as view
from samerun.errors import RecordError
from samerun.process import variables
from samerun.run import start_run
from samerun.store import probe
from samerun.store import tracking as store

CFG = {"experiment": "first steps", "seed": 7}


pytestmark = pytest.mark.usefixtures("own_root")


Use = Callable[[Path | str], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return a function that names the store to record to: a path, or an address."""

    def name(where: Path | str) -> None:
        uri = f"sqlite:///{where.as_posix()}" if isinstance(where, Path) else where
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    return name


def recorded(**tags: str) -> Run:
    with start_run(CFG, FakeDataset()) as run:
        mlflow.log_text("first", "folder/note.txt")
        mlflow.set_tags(tags)
    return mlflow.get_run(run.info.run_id)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found if p.suffix != ".lock"}


# Moved and copied


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_store_finds_and_keeps_its_artifacts_beside_it(
    mlflow_store: Path, use: Use, tmp_path: Path, how: Callable[[str, str], object]
) -> None:
    old, new = mlflow_store.parent, tmp_path / "renamed 50%" / "é"
    before = recorded()
    new.parent.mkdir()
    how(str(old), str(new))
    original = files(old)
    use(new / "mlflow.db")

    assert view.read(before.info.run_id).seed == 7
    find.check_artifact(before, "folder/note.txt")
    assert mlflow.artifacts.load_text(f"runs:/{before.info.run_id}/folder/note.txt") == "first"
    mlflow.log_text("later", "later.txt", run_id=before.info.run_id)
    after = recorded()  # a new run of the old experiment

    assert files(old) == original  # nothing is made anew, and an original stays as it is
    kept = {path for path in files(new) if path.endswith(".txt") and "trace" not in path}
    runs = (
        f"mlartifacts/first-steps/{before.info.run_id}",
        f"mlartifacts/first-steps/{after.info.run_id}",
    )
    assert kept == {
        f"{runs[0]}/artifacts/folder/note.txt",
        f"{runs[0]}/artifacts/later.txt",
        f"{runs[1]}/artifacts/folder/note.txt",
    }


def test_a_model_of_a_moved_store_is_found(mlflow_store: Path, use: Use, tmp_path: Path) -> None:
    from sklearn.dummy import DummyClassifier

    with start_run(CFG, FakeDataset()) as run:
        model = DummyClassifier().fit([[0], [1]], [1, 1])
        mlflow.sklearn.log_model(model, name="model", pip_requirements=[])
    shutil.move(mlflow_store.parent, tmp_path / "new")
    use(tmp_path / "new" / "mlflow.db")
    store.use_store(create=False)
    again = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    assert again.predict([[0]]) == [1]


def test_the_addresses_of_a_store_from_windows_lead_here(
    mlflow_store: Path, use: Use, tmp_path: Path
) -> None:
    run = recorded()
    with sqlite3.connect(mlflow_store) as connection:
        here = (mlflow_store.parent / "mlartifacts").as_uri()
        there = "file:///C:/Users/M%C3%A9/my%20project/mlartifacts"
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (here, there)
            )
    connection.close()
    assert cli.main(["trace", run.info.run_id[:8], "--store", str(mlflow_store.parent)]) == 0


def test_a_store_under_two_names_stays_as_it_is(
    mlflow_store: Path, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recorded()
    (tmp_path / "other name").symlink_to(mlflow_store.parent)
    use(tmp_path / "other name" / "mlflow.db")
    assert find.find_run(before.info.run_id).info.artifact_uri == before.info.artifact_uri
    assert "moved" not in capsys.readouterr().err


def test_where_the_store_alone_was_moved_its_artifacts_are_found_where_they_stayed(
    mlflow_store: Path, use: Use, tmp_path: Path
) -> None:
    run = recorded()
    (tmp_path / "new").mkdir()
    shutil.move(mlflow_store, tmp_path / "new" / "mlflow.db")
    use(tmp_path / "new" / "mlflow.db")
    assert view.read(run.info.run_id).seed == 7
    with start_run({"experiment": "another"}, FakeDataset()):
        pass
    assert view.read(run.info.run_id).seed == 7


def test_artifacts_that_a_person_put_elsewhere_stay_there(
    mlflow_store: Path, use: Use, tmp_path: Path
) -> None:
    store.use_store()
    mlflow.create_experiment("first steps", (tmp_path / "scratch" / "own").as_uri())
    run = recorded()
    shutil.move(mlflow_store.parent, tmp_path / "new")
    use(tmp_path / "new" / "mlflow.db")
    assert find.find_run(run.info.run_id).info.artifact_uri == run.info.artifact_uri
    assert view.read(run.info.run_id).seed == 7


def test_a_store_copied_without_its_artifacts_says_that_they_are_missing(
    mlflow_store: Path, use: Use, tmp_path: Path
) -> None:
    run = recorded()
    (tmp_path / "copy").mkdir()
    shutil.copy(mlflow_store, tmp_path / "copy")
    use(tmp_path / "copy" / "mlflow.db")
    for look in (view.read, lambda run_id: find.check_artifact(find.find_run(run_id), "a.txt")):
        with pytest.raises(RecordError, match=r"(?s)are not where the store says.*copy the folder"):
            look(run.info.run_id)


def test_a_trace_that_was_removed_is_called_so(mlflow_store: Path) -> None:
    run = recorded()
    shutil.rmtree(next(mlflow_store.parent.rglob("trace")))
    with pytest.raises(RecordError, match=r"The trace of the run .* it was removed"):
        view.read(run.info.run_id)


# --store


@pytest.mark.parametrize("where", ["{}", "{}/mlflow.db", "sqlite:///{}/mlflow.db"])
def test_the_runs_of_another_store_are_shown(
    mlflow_store: Path, use: Use, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = recorded()
    use(tmp_path / "none.db")
    named = where.format(mlflow_store.parent.as_posix())
    assert cli.main(["trace", run.info.run_id[:8], "--store", named]) == 0
    assert "first steps" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["trace", "0", "--store", str(tmp_path)]) == 2
    assert f"There is no run store at {tmp_path}" in capsys.readouterr().err


# Addresses


@pytest.mark.parametrize(
    "uri", ["mlruns", "./mlruns", "file:mlruns", "file:///tmp/mlruns", "C:\\mlruns"]
)
def test_a_folder_is_refused_with_an_address_to_type(use: Use, uri: str) -> None:
    use(uri)
    with pytest.raises(RecordError, match="names a folder") as caught:
        store.use_store()
    assert "MLFLOW_TRACKING_URI=sqlite:///" in str(caught.value).splitlines()[-1]


@pytest.mark.parametrize(
    ("uri", "mend"),
    [
        ("localhost:5000", "MLFLOW_TRACKING_URI=http://localhost:5000"),
        ("sqlite:/tmp/mlflow.db", "MLFLOW_TRACKING_URI=sqlite:///tmp/mlflow.db"),
        ("ftp://example.org/x", "Expected sqlite:///PATH/mlflow.db"),
    ],
)
def test_an_address_of_no_kind_is_answered_with_one_to_type(use: Use, uri: str, mend: str) -> None:
    use(uri)
    with pytest.raises(RecordError) as caught:
        store.use_store()
    assert mend in str(caught.value)


@pytest.mark.parametrize("name", ["a%20b", "what?"])
def test_a_folder_whose_name_mlflow_misreads_is_refused(
    use: Use, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    use(tmp_path / name / "mlflow.db")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(RecordError, match=r"(?s)Rename the folder.*MLFLOW_TRACKING_URI"):
        store.use_store()
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["50%", "a#b", "it's", "a&b=c;d", "ß é"])
def test_a_folder_with_any_other_name_holds_a_store(
    mlflow_store: Path, use: Use, tmp_path: Path, name: str
) -> None:
    shutil.move(mlflow_store.parent, tmp_path / name)
    use(tmp_path / name / "mlflow.db")
    run = recorded()
    assert view.read(run.info.run_id).seed == 7
    assert list((tmp_path / name).rglob("note.txt"))


# Servers


@contextlib.contextmanager
def listening(status: int, body: bytes) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_address_where_nobody_listens_is_named_with_its_variable(use: Use) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://me:hunter2@127.0.0.1:{closed.getsockname()[1]}"
    use(address)
    with pytest.raises(RecordError, match="nobody listens there") as caught:
        recorded()
    assert "MLFLOW_TRACKING_URI" in str(caught.value) and "hunter2" not in str(caught.value)
    assert str(caught.value).splitlines()[-1].split() == ["unset", "MLFLOW_TRACKING_URI"]


def test_a_server_that_hangs_is_asked_once(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        use(f"http://127.0.0.1:{hung.getsockname()[1]}")
        with pytest.raises(RecordError, match=r"no answer within 0\.5 s"):
            store.use_store()
        hung.accept()[0].close()
        hung.setblocking(False)
        with pytest.raises(BlockingIOError):
            hung.accept()


def test_a_database_server_that_is_not_there_is_named(use: Use) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    use(f"postgresql+psycopg://me:hunter2@127.0.0.1:{port}/mlflow")
    with pytest.raises(RecordError, match="nobody listens there") as caught:
        store.use_store()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"", "MLFLOW_TRACKING_USERNAME"),
        (404, b"", "no MLflow server"),
        (200, b"<html>Hello</html>", "no MLflow server"),
        (503, b"", "an error of its own"),
    ],
)
def test_what_answers_but_is_no_store_is_called_so(
    use: Use, status: int, body: bytes, said: str
) -> None:
    with listening(status, body) as address:
        use(address)
        with pytest.raises(RecordError, match=said):
            store.use_store()


def test_a_server_is_asked_once_and_a_later_hiccup_is_left_to_mlflow(use: Use) -> None:
    with listening(200, b'{"experiments": []}') as address:
        use(address)
        store.use_store()
    store.use_store()


# Files


def test_a_damaged_store_is_named(mlflow_store: Path) -> None:
    for content in (b"no database" * 100, mlflow_store.read_bytes()[:20_000]):
        mlflow_store.write_bytes(content)
        with pytest.raises(RecordError, match="is damaged or no SQLite database"):
            store.use_store()


def test_a_database_of_something_else_is_left_alone(use: Use, tmp_path: Path) -> None:
    other = tmp_path / "study.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE studies (id INTEGER)")
    connection.close()
    before = other.read_bytes()
    use(other)
    with pytest.raises(RecordError, match="no run store of MLflow's"):
        store.use_store()
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "said"),
    [("bd07f7e963c5", "older.*\n.*mlflow db upgrade"), ("ffffffffffff", "newer.*Install that")],
)
def test_a_store_of_another_mlflow_is_not_touched(
    mlflow_store: Path, version: str, said: str
) -> None:
    with sqlite3.connect(mlflow_store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()
    before = mlflow_store.read_bytes()
    with pytest.raises(RecordError, match=said):
        store.use_store()
    assert mlflow_store.read_bytes() == before


def test_a_locked_store_says_so(mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 0.2)
    other = sqlite3.connect(mlflow_store)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(RecordError, match="is locked"):
            store.use_store()
    finally:
        other.close()


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_a_store_that_cannot_be_written_to_is_read_and_not_recorded_to(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(RecordError, match="can be read but not written to"):
        recorded()
    assert view.read(run.info.run_id).seed == 7


def test_a_moved_store_that_cannot_be_corrected_says_what_to_do(
    mlflow_store: Path, use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded()
    shutil.move(mlflow_store.parent, tmp_path / "new")
    use(tmp_path / "new" / "mlflow.db")

    def read_only(store: Path) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(store, "bring_up_to_date", read_only)
    with pytest.raises(RecordError, match=r"(?s)cannot be corrected there.*--store"):
        view.read(run.info.run_id)


# Variables of the shell


@pytest.mark.parametrize("name", [*variables.REFUSED, *variables.REFUSED_LOCALLY])
def test_a_variable_that_would_lead_a_run_into_another_is_refused(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    earlier = recorded()
    monkeypatch.setenv(name, earlier.info.run_id)
    with pytest.raises(RecordError, match=f"(?s){name}={earlier.info.run_id}.*unset {name}"):
        recorded()
    monkeypatch.delenv(name)
    assert MlflowClient().get_run(earlier.info.run_id).to_dictionary() == earlier.to_dictionary()


def test_a_variable_without_effect_is_named_and_recorded(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "left over")
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", '{"mlflow.parentRunId": "0", "trace.seed": "9"}')
    run = recorded()
    assert os.environ["MLFLOW_EXPERIMENT_NAME"] == "left over"
    assert mlflow.get_experiment(run.info.experiment_id).name == "first steps"
    assert "mlflow.parentRunId" not in run.data.tags and run.data.tags["trace.seed"] == "7"
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_CONTEXT"):
        assert f"{name} is set, and ignored" in caplog.text
        assert view.read(run.info.run_id).variables[name] == ""


def test_the_values_of_variables_are_recorded_where_they_hold_no_secret(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "123456")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://me:hunter2@host/x")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    seen = view.read(recorded().info.run_id).variables
    assert seen["MLFLOW_TRACKING_PASSWORD"] == seen["OPTUNA_STORAGE"] == ""
    assert (seen["MLFLOW_HTTP_REQUEST_TIMEOUT"], seen["HYDRA_FULL_ERROR"]) == ("30", "1")
    assert seen["MLFLOW_TRACKING_URI"] == store.tracking_uri()


def test_a_run_inside_another_one_is_refused(mlflow_store: Path) -> None:
    store.use_store()
    with mlflow.start_run() as outer, pytest.raises(RecordError, match=outer.info.run_id):
        recorded()


def test_the_versions_of_the_tables_are_those_that_mlflow_itself_knows() -> None:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    known = {revision.revision for revision in scripts.walk_revisions()}
    assert probe._known_versions() == (scripts.get_current_head(), known)


def test_looking_at_a_store_does_not_import_mlflow(mlflow_store: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from samerun.store.probe import check_database\n"
        "check_database(Path(sys.argv[1]), write=True); print('mlflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(mlflow_store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
