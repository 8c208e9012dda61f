"""Runs that do not end by themselves: cancelled by a signal, or lost with their process."""

import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from record_fixtures import FakeDataset

from samerun.cli import main
from samerun.process import ending
from samerun.process.ending import HOST, LOST, cancelled_by_signals, end_lost_runs
from samerun.run import continue_run, start_run
from samerun.store import tracking as store

CFG = {"experiment": "first steps", "seed": 7}
unix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals")


pytestmark = pytest.mark.usefixtures("own_root")


def status(run_id: str) -> str:
    return mlflow.get_run(run_id).info.status


# Cancelled


@unix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_run_cancelled_by_a_signal_is_killed(mlflow_store: Path, name: str) -> None:
    number = getattr(signal, name)
    usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, usual)  # nohup, and a shell's background, ignore some
    try:
        with pytest.raises(KeyboardInterrupt), start_run(CFG, FakeDataset()) as run:
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)
    assert status(run.info.run_id) == "KILLED"


@unix
def test_a_run_hears_a_signal_that_submitit_would_not_let_through(mlflow_store: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt), start_run(CFG, FakeDataset()) as run:
                signal.raise_signal(signal.SIGTERM)
        assert status(run.info.run_id) == "KILLED"
        with pytest.raises(KeyboardInterrupt), continue_run(mlflow.get_run(run.info.run_id), CFG):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]  # after the runs, it is submitit's again
    finally:
        signal.signal(signal.SIGTERM, before)


@unix
def test_a_second_signal_does_not_disturb_the_ending_of_a_run(mlflow_store: Path) -> None:
    with pytest.raises(KeyboardInterrupt), start_run(CFG, FakeDataset()) as run:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # Slurm sends it to each process of a job again
            mlflow.log_metric("saved", 1)
    assert mlflow.get_run(run.info.run_id).data.metrics == {"saved": 1.0}
    assert status(run.info.run_id) == "KILLED"


@unix
def test_a_run_whose_job_goes_back_into_the_queue_is_killed_not_failed(mlflow_store: Path) -> None:
    def requeue(number: int, frame: object) -> None:
        signal.raise_signal(signal.SIGTERM)  # Slurm ends the job, for it to start again
        sys.exit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(KeyboardInterrupt), start_run(CFG, FakeDataset()) as run:
            signal.raise_signal(signal.SIGUSR2)
        assert status(run.info.run_id) == "KILLED"
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        signal.signal(signal.SIGUSR2, before)


@unix
def test_signals_that_are_ignored_stay_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with cancelled_by_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_may_start_in_any_thread(mlflow_store: Path) -> None:
    found = []

    def work() -> None:
        with start_run(CFG, FakeDataset()) as run:
            found.append(run.info.run_id)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert status(found[0]) == "FINISHED"


# Lost


def started(then: str) -> subprocess.Popen[str]:
    """Start a run in a process of its own, which says its id."""
    code = f"""
import os, sys, time, mlflow
from samerun import start_run
with start_run({{"experiment": "first steps"}}) as run:
    mlflow.log_metric("accuracy", 0.5)
    print(run.info.run_id, flush=True)
    {then}
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def lost(mlflow_store: Path) -> str:
    """The id of a run whose process ended in its middle, as by `kill -9` or a power failure."""
    process = started("os._exit(9)")
    said, _ = process.communicate()
    return said.strip()


@pytest.mark.slow
def test_a_lost_run_is_killed_when_the_next_one_starts(mlflow_store: Path, lost: str) -> None:
    mlflow.set_tracking_uri(store.tracking_uri())
    assert status(lost) == "RUNNING"
    with start_run(CFG, FakeDataset()):
        pass
    found = mlflow.get_run(lost)
    assert found.info.status == "KILLED"
    assert f"its process on {platform.node()} was gone" in found.data.tags[LOST]
    (point,) = MlflowClient().get_metric_history(lost, "accuracy")
    assert found.info.end_time == point.timestamp  # its last sign of life


@pytest.mark.slow
def test_a_lost_run_is_killed_when_somebody_looks_at_it(
    mlflow_store: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", lost]) == 0
    assert "KILLED" in capsys.readouterr().out
    assert not list((mlflow_store.parent / "mlartifacts" / ".running").iterdir())


@pytest.mark.slow
def test_a_run_that_lasts_is_left_alone(mlflow_store: Path) -> None:
    process = started("time.sleep(600)")
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    try:
        store.use_store()
        assert status(run_id) == "RUNNING"
    finally:
        process.kill()
        process.communicate()
    store.use_store()
    assert status(run_id) == "KILLED"


@pytest.mark.slow
def test_a_lost_run_of_another_machine_is_left_alone(mlflow_store: Path, lost: str) -> None:
    mlflow.set_tracking_uri(store.tracking_uri())
    MlflowClient().set_tag(lost, HOST, "another")
    store.use_store()
    assert status(lost) == "RUNNING"
    MlflowClient().set_tag(lost, HOST, platform.node())
    store.use_store()
    assert status(lost) == "KILLED"


def test_a_run_in_this_very_process_is_not_lost(mlflow_store: Path) -> None:
    with start_run(CFG, FakeDataset()) as run:
        end_lost_runs()
        assert status(run.info.run_id) == "RUNNING"
        with start_run(CFG, FakeDataset(), parent=run.info.run_id):
            end_lost_runs()
        assert status(run.info.run_id) == "RUNNING"
    assert status(run.info.run_id) == "FINISHED"
    assert not list((mlflow_store.parent / "mlartifacts" / ".running").iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_run_that_said_how_it_ended_is_not_called_lost(
    mlflow_store: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), start_run(CFG, FakeDataset()) as run:
        raise error
    ended = mlflow.get_run(run.info.run_id).info
    end_lost_runs()
    found = mlflow.get_run(run.info.run_id)
    assert LOST not in found.data.tags
    assert (found.info.status, found.info.end_time) == (ended.status, ended.end_time)
    assert not list((mlflow_store.parent / "mlartifacts" / ".running").iterdir())


def test_a_run_starts_even_where_no_lock_can_be_had(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(ending, "_locks", lambda: tmp_path / "file" / "locks")
    with start_run(CFG, FakeDataset()) as run:
        pass
    assert status(run.info.run_id) == "FINISHED"
