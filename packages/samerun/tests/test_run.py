"""Where runs land, how they end, and what becomes of their trace in the store."""

import argparse
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import OmegaConf
from record_fixtures import FakeDataset, git
from rich.console import Console

from samerun import cli
from samerun.display import screen as view
from samerun.errors import RecordError
from samerun.recorded import read_run
from samerun.run import record_addition, start_run
from samerun.store import tracking as store

CFG = OmegaConf.create({"experiment": "first steps", "seed": 7})


pytestmark = pytest.mark.usefixtures("own_root")


def finished_run(**cfg: object) -> Run:
    with start_run({**CFG, **cfg}, FakeDataset()) as run:
        mlflow.log_metric("accuracy", 0.5)
    return mlflow.get_run(run.info.run_id)


def python(code: str, **variables: str) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | variables, **pipes)


# The store


def test_the_store_lies_in_the_checkout_whatever_the_working_directory(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert store.tracking_uri() == f"sqlite:///{checkout.as_posix()}/mlflow.db"
    assert store.local_store(store.tracking_uri()) == checkout / "mlflow.db"


def test_a_server_is_no_local_store() -> None:
    assert store.local_store("https://example.org/mlflow.db") is None
    assert store.local_store("sqlite:///:memory:") is None


def test_an_artifact_lands_beside_the_store_and_comes_back(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with start_run({"experiment": "é / ../x"}, FakeDataset()) as run:
        mlflow.log_text("hällo", "a é/b.txt")
    stored = list((mlflow_store.parent / "mlartifacts").rglob("b.txt"))
    assert len(stored) == 1
    local = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="a é/b.txt")
    assert Path(local).read_text(encoding="utf-8") == "hällo"
    assert {path.name for path in tmp_path.iterdir()} == {"my störy", mlflow_store.parent.name}


def test_a_store_that_cannot_be_made_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path.as_posix()}/file/mlflow.db")
    with pytest.raises(RecordError, match="MLFLOW_TRACKING_URI=sqlite:///"):
        store.use_store()


USE = """
import logging
logging.basicConfig(level=logging.INFO)
import mlflow
from samerun.store import tracking as store
{}
mlflow.set_experiment("x")
"""


@pytest.mark.slow
def test_four_processes_may_open_a_fresh_store_at_the_same_time(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path.as_posix()}/mlflow.db"
    code = USE.format("print(store.experiment_id('shared') if store.use_store() else '')")
    code = code.replace('mlflow.set_experiment("x")', "")
    workers = [python(code, MLFLOW_TRACKING_URI=uri) for _ in range(4)]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, said
    assert len({out for out, _ in said}) == 1
    assert sum("Creating the run store" in err for _, err in said) == 1


@pytest.mark.slow
def test_first_use_says_one_friendly_line(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path.as_posix()}/mlflow.db"
    _, err = python(USE.format("store.use_store()"), MLFLOW_TRACKING_URI=uri).communicate()
    lines = [line for line in err.splitlines() if "Experiment with name" not in line]
    assert lines == ["Creating the run store mlflow.db (once, a few seconds)"]


@pytest.mark.slow
def test_a_store_half_made_by_a_killed_process_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "mlflow.db.unfinished").write_bytes(b"half a database")
    code = (
        "from samerun.store.tracking import experiment_id, use_store\n"
        "use_store(); print(experiment_id('x'))"
    )
    out, err = python(
        code, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path.as_posix()}/mlflow.db"
    ).communicate()
    assert out == "1\n", err
    assert "Creating the run store" in err


@pytest.mark.slow
def test_a_process_with_triton_in_it_ends_in_silence(mlflow_store: Path) -> None:
    done = python("import torch._dynamo; from samerun.store.tracking import use_store; use_store()")
    assert done.communicate(timeout=120) == ("", "")
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("ours", [True, False])
def test_telemetry_is_off_even_if_mlflow_was_imported_first(mlflow_store: Path, ours: bool) -> None:
    code = """
import requests, threading
def caught(self, method, url, **_):
    print("SENT", url)
    raise OSError
requests.Session.request = caught
import mlflow
from samerun.store import tracking as store
""" + ("store.use_store()" if ours else f"mlflow.set_tracking_uri({store.tracking_uri()!r})")
    code += """
mlflow.set_experiment("x")
with mlflow.start_run():
    mlflow.log_metric("a", 1)
import time; time.sleep(1)
print([t.name for t in threading.enumerate() if "elemetry" in t.name])
print(mlflow.telemetry.get_telemetry_client())
"""
    ci = ["PYTEST_CURRENT_TEST", "GITHUB_ACTIONS", "CI", "TF_BUILD", "JENKINS_URL", "DO_NOT_TRACK"]
    own = {k: v for k, v in os.environ.items() if k not in [*ci, "MLFLOW_DISABLE_TELEMETRY"]}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if ours:
        assert done.stdout == "[]\nNone\n"
    else:  # else this test could not notice that telemetry is on
        assert "SENT" in done.stdout


def test_a_deleted_experiment_is_named(mlflow_store: Path) -> None:
    run = finished_run()
    MlflowClient().delete_experiment(run.info.experiment_id)
    with pytest.raises(RecordError, match=r"'first steps' was deleted.*restore -x 1"):
        finished_run()


def test_a_configuration_without_an_experiment_is_refused(mlflow_store: Path) -> None:
    with pytest.raises(RecordError, match="Add experiment: my-experiment"):
        finished_run(experiment=None)


def test_an_experiment_may_be_given_beside_the_configuration(mlflow_store: Path) -> None:
    with start_run({"rate": 1}, experiment="given") as run:
        pass
    assert mlflow.get_experiment(run.info.experiment_id).name == "given"


def test_a_run_without_data_is_traced_without_a_problem(mlflow_store: Path) -> None:
    with start_run({"rate": 1}, experiment="given") as run:
        pass
    trace = view.read(run.info.run_id)
    assert trace.data is None
    assert "data" not in trace.problems


def test_options_of_another_type_are_refused_with_what_to_write(mlflow_store: Path) -> None:
    options = argparse.Namespace(rate=1)
    with (
        pytest.raises(RecordError, match=r"type Namespace.*vars\(options\)"),
        start_run(options, experiment="given"),
    ):
        pass


def test_what_no_yaml_can_hold_is_recorded_as_text(mlflow_store: Path) -> None:
    with start_run({"path": Path("a"), "split": {"by": object}}, experiment="given") as run:
        pass
    config = view.read(run.info.run_id).config
    assert config == {"path": "a", "split": {"by": "<class 'object'>"}}


# How runs end


def test_a_run_that_ends_well_is_finished_and_has_its_trace(mlflow_store: Path) -> None:
    run = finished_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["trace.dirty"] == "false"
    assert run.data.tags["trace.seed"] == "7"
    names = {artifact.path for artifact in MlflowClient().list_artifacts(run.info.run_id, "trace")}
    assert names == {"trace/trace.json", "trace/config.yaml", "trace/packages.txt"}


@pytest.mark.parametrize(
    ("error", "status"), [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_run_that_breaks_off_says_how(
    mlflow_store: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), start_run(CFG, FakeDataset()) as run:
        raise error
    assert mlflow.get_run(run.info.run_id).info.status == status
    assert mlflow.active_run() is None


def test_a_broken_git_does_not_stop_a_run(
    mlflow_store: Path, checkout: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (checkout / ".git" / "HEAD").write_bytes(b"nonsense")
    run = finished_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["trace.problems"] == "code"
    assert run.data.tags["trace.dirty"] == "unknown"
    assert "lacks its code" in caplog.text


def test_artifacts_that_cannot_be_stored_do_not_stop_a_run(
    mlflow_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (mlflow_store.parent / "mlartifacts").touch()  # a file where a folder should be
    run = finished_run()
    assert run.info.status == "FINISHED" and run.data.metrics == {"accuracy": 0.5}
    assert "could not be recorded" in caplog.text
    assert "not recorded" in run.data.tags["trace.problems"]


# Reading a trace


def test_a_trace_is_read_by_the_beginning_of_the_run_id(mlflow_store: Path, checkout: Path) -> None:
    (checkout / "train.py").write_bytes(b"print(2)\n")
    run = finished_run()
    seen = view.read(run.info.run_id[:12])
    assert seen.code.commit == run.data.tags["trace.commit"]
    assert b"+print(2)" in seen.patch and seen.packages
    assert seen == view.read(run.info.run_id)


def test_an_unknown_run_is_answered_with_the_latest_ones(mlflow_store: Path) -> None:
    run = finished_run()
    for unknown in ("0" * 32, "no' OR '1'='1", ""):
        with pytest.raises(RecordError, match=run.info.run_id):
            view.read(unknown)


def test_the_best_run_is_sought_on_the_data_set_of_the_latest(mlflow_store: Path) -> None:
    from samerun.find import choose_run

    cfg, found = {"experiment": "both", "seed": 0}, {}
    for data, values in (("eight", [0.99]), ("three", [0.90, math.nan, 0.91, 0.89])):
        for value in values:
            # One name and a quote in it: what tells data sets apart is their digest.
            with start_run(cfg, FakeDataset(name="it's mine", digest=data)) as run:
                mlflow.log_metric("val_accuracy", value)
            found[value] = run.info.run_id
    assert choose_run("best", "both", "val_accuracy").info.run_id == found[0.91]


def test_an_ambiguous_beginning_lists_the_runs(mlflow_store: Path) -> None:
    # Two of 17 begin with the same of 16 digits.
    runs = [mlflow.MlflowClient().create_run("0") for _ in range(17)]
    first = [run.info.run_id[0] for run in runs]
    twice = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(RecordError, match=f"Several runs begin with '{twice}'"):
        view.read(twice)


def test_a_deleted_run_says_how_to_bring_it_back(mlflow_store: Path) -> None:
    run = finished_run()
    mlflow.delete_run(run.info.run_id)
    with pytest.raises(RecordError, match=f"restore --run-id {run.info.run_id}"):
        view.read(run.info.run_id)


def test_a_run_without_a_trace_says_why(mlflow_store: Path) -> None:
    store.use_store()
    with mlflow.start_run() as run:
        pass
    with pytest.raises(RecordError, match="has no trace"):
        view.read(run.info.run_id)


@pytest.mark.parametrize("of", ["trace", "weights"])
def test_a_run_that_another_user_does_not_let_read_is_named(
    of: str, mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run()
    (tmp_path / "weights.npz").write_bytes(b"1")
    MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "weights.npz"))

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/their/folder")

    if of == "trace":
        monkeypatch.setattr(MlflowClient, "list_artifacts", refused)
    else:
        monkeypatch.setattr("samerun.recorded.weights_digest", refused)
    with pytest.raises(RecordError, match=r"cannot be read: /their/folder: .*samerun export"):
        read_run(run.info.run_id)


def test_reading_creates_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "none.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
    with pytest.raises(RecordError, match="no run store"):
        view.read("0" * 32)
    assert not store.exists()


def test_showing_a_run_tells_its_outcome_and_how_to_repeat_it(
    mlflow_store: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py")])
    (checkout / "train.py").write_bytes(b"print(2)\n")
    run = finished_run()
    monkeypatch.chdir(checkout)
    view.show(run.info.run_id, Console(width=80))
    shown, errors = capsys.readouterr()
    for part in ("FINISHED", "accuracy 0.5", "To repeat it:"):
        assert part in shown
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert f"git worktree add --detach ../repeat-{run.info.run_id[:8]} {commit}\n" in shown
    apply = next(line for line in shown.splitlines() if "git apply" in line)
    patch = Path(apply.split("git apply ")[1].strip('"'))
    assert b"+print(2)" in patch.read_bytes()
    assert "  uv sync\n  uv run train.py\n" in shown
    assert "Downloading" not in errors


def test_the_trace_of_a_run_ends_in_the_command_that_repeats_it(
    mlflow_store: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py")])
    run_id = finished_run().info.run_id
    monkeypatch.chdir(checkout)
    assert cli.main(["trace", "latest"]) == 0
    last = f"  uv run samerun reproduce {run_id[:8]}"
    assert capsys.readouterr().out.splitlines()[-1] == last
    store = str(mlflow_store.parent)
    assert cli.main(["trace", run_id, "--store", store]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f'{last} --store "{store}"'
    monkeypatch.setattr(view, "repeat_commands", lambda *_: [])  # as of a notebook
    assert cli.main(["trace", "latest"]) == 0
    assert "reproduce" not in capsys.readouterr().out


def test_a_command_that_adds_to_a_run_is_recorded_once_and_shown(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run()
    for words in (["latest"], ["latest"], ["best"]):
        monkeypatch.setattr(sys, "argv", ["samerun", *words])  # an installed command
        record_addition(run, {"which": words[0]})
    paths = [file.path for file in MlflowClient().list_artifacts(run.info.run_id, "trace")]
    assert [path for path in paths if "added" in path] == ["trace/added-1", "trace/added-2"]
    view.show(run.info.run_id)
    shown = capsys.readouterr().out.partition("Added to it since:")[2]
    assert [line.split()[-1] for line in shown.splitlines() if "samerun" in line] == [
        "latest", "best",
    ]  # fmt: skip
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_command_that_cannot_be_recorded_goes_on(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = finished_run()
    monkeypatch.setattr("samerun.run.collect", lambda *_: 1 / 0)
    record_addition(run, {})
    assert "not recorded with the run: division by zero" in caplog.text


def test_a_trace_of_an_older_samerun_is_repeated_by_its_overrides(
    mlflow_store: Path, checkout: Path
) -> None:
    run = finished_run()
    seen = replace(
        view.read(run.info.run_id), script="a b.py", overrides=("x=[1, 2]",), repeat=None
    )
    assert view.repeat_commands(seen, run, checkout)[-1] == 'uv run "a b.py" "x=[1, 2]"'
