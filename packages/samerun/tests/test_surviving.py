"""A sweep survives its members: all its jobs run, and those that failed are named at its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from samerun.process.surviving import Outcome
from samerun.store.tracking import use_store

SCRIPT = """
import time
from pathlib import Path

import hydra

from samerun import RecordError, plain_errors, start_run


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg):
    if cfg.x < 0:
        raise RecordError(f"x={cfg.x}. Expected a number from 0 on.")
    with start_run(cfg):
        Path(f"started-{cfg.x}").touch()
        time.sleep(cfg.seconds)
        1 / cfg.x


if __name__ == "__main__":
    main()
"""
CONF = """
experiment: sweeps
seconds: 0
x: 1
api_key: none
hydra:
  callbacks:
    sweep:
      _target_: samerun.sweep.Sweep
"""
LAUNCHERS = {"one after the other": (), "workers": ("hydra/launcher=joblib",)}


@pytest.fixture
def project(tmp_path: Path, mlflow_store: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text(CONF, encoding="utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


def sweep(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "script.py", "-m", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        # A shell starts what runs in its background with Ctrl+C ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def runs() -> dict[str, Run]:
    use_store()
    found = mlflow.search_runs(experiment_names=["sweeps"], output_format="list")
    return {run.data.tags["samerun.overrides"]: run for run in found}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no preexec_fn")
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_all_jobs_run_and_those_that_failed_are_named_at_the_end(
    launcher: str, project: Path
) -> None:
    asked = ["api_key=made-up-key-8", "x=1,-1,0,2", *LAUNCHERS[launcher]]
    process = sweep(project, *asked)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    statuses = {words.split()[1]: run.info.status for words, run in runs().items()}
    assert statuses == {"x=1": "FINISHED", "x=0": "FAILED", "x=2": "FINISHED"}
    for run in runs().values():
        assert run.info.run_id[:8] in said  # in the table
    assert said.endswith(
        "\n2 of 4 jobs failed:\n"
        "  x=-1\n    x=-1. Expected a number from 0 on.\n"
        "  x=0\n    ZeroDivisionError: division by zero\n"
    )
    # Of what nobody foresaw, and of that alone, the place is shown.
    assert said.count("Traceback") == 1 and "1 / cfg.x" in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals to another process")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_of_workers_ends_all_its_runs(
    by: signal.Signals, project: Path
) -> None:
    process = sweep(project, "seconds=300", "x=range(1,5)", *LAUNCHERS["workers"])
    started, deadline = 0, time.monotonic() + 120
    while started < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
        started = len(list(project.glob("started-*")))
    process.send_signal(by)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert {run.info.status for run in runs().values()} == {"KILLED"}


def test_what_all_jobs_were_asked_and_secrets_are_left_out_of_the_list() -> None:
    asked = [("data=digits", f"api_key=made-up-key-{n}", f"x={n}") for n in range(3)]
    found = Outcome(asked, [(asked[0], "too small\nsee conf/"), (asked[1], "too small\nsee conf/")])
    assert found.report().splitlines() == [
        "2 of 3 jobs failed:",
        "  api_key=*** x=0",
        "  api_key=*** x=1",
        "    too small",
        "    see conf/",
    ]
    assert not found.is_good and Outcome(asked).is_good and Outcome(asked).report() == ""


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_that_were_asked_the_same_are_named_by_all_of_it(jobs: int) -> None:
    found = Outcome([("x=-1",)] * jobs, [(("x=-1",), "too small")])
    assert found.report() == f"1 of {jobs} jobs failed:\n  x=-1\n    too small"


def test_jobs_that_the_launcher_lost_make_a_sweep_fail() -> None:
    found = Outcome([("x=1",)], lost=["TerminatedWorkerError: killed"])
    assert not found.is_good
    assert found.report() == "The launcher lost jobs: TerminatedWorkerError: killed"
