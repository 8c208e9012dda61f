"""Sweeps and studies on a Slurm of one node: what ends, what goes on, what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import servers
from commands import ROOT, call, run
from mlflow import MlflowClient

from samerun.store.tracking import use_store

PART1, PART2, PART3 = (
    ROOT / "solutions" / folder / "train.py"
    for folder in ("part1_logistic_regression", "part2_mlp_cnn", "part3_competition")
)
TUNE = PART3.with_name("tune.py")
SLURM = ["-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]
# Epochs that take a while, for a job to be interrupted in its middle.
LONG2 = ["data=digits", "model.dropout=0.1", "training.epochs=12", "training.batch_size=4"]
LONG3 = [
    "data=digits", "+recipe=strong", "model.width=2", "training.epochs=10",
    "training.batch_size=32", "optimizer.lr=0.1", "training.threads=1",
]  # fmt: skip


def runs():
    use_store()  # the one that the environment names
    return mlflow.search_runs(
        search_all_experiments=True,
        output_format="list",
        order_by=["attributes.start_time ASC"],
    )


def histories(recorded):
    return {
        name: [
            (point.step, point.value)
            for point in MlflowClient().get_metric_history(recorded.info.run_id, name)
        ]
        for name in recorded.data.metrics
    }


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    folder = tmp_path / "slurm"
    folder.mkdir()
    with servers.slurm(folder) as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        yield


def started(*command, cwd):
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, *command], cwd=cwd, **pipe)


def jobs():
    done = subprocess.run(["squeue", "-hr", "-o", "%i"], capture_output=True, text=True)
    return done.stdout.split()


def wait_for_epochs(process, store: Path, number: int) -> None:
    """Wait until so many runs have a checkpoint of their second epoch."""
    found = "mlartifacts/*/*/artifacts/checkpoints/resume-0.pt"
    servers.wait_until(
        lambda: len(list(store.parent.glob(found))) >= number or process.poll() is not None,
        240,
        f"second epochs of {number} runs",
    )
    assert process.poll() is None, process.stdout.read()


@pytest.mark.slow
@pytest.mark.parametrize(("script", "asked"), [(PART2, LONG2), (PART3, LONG3)], ids=["2", "3"])
def test_a_requeued_job_continues_its_own_run_to_the_same_numbers(
    script, asked, slurm, mlflow_store, tmp_path
):
    sweep = started(script, *SLURM, *asked, "seed=1,2", cwd=tmp_path)
    wait_for_epochs(sweep, mlflow_store, 2)
    # As at its time limit, and by Slurm itself, as when a node is lost.
    first, second = jobs()
    subprocess.run(["scancel", "--signal=USR2", first], check=True)
    subprocess.run(["scontrol", "requeue", second], check=True)
    said, _ = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, said
    found = runs()
    assert [recorded.info.status for recorded in found] == ["FINISHED"] * 2
    for recorded in found:
        traces = MlflowClient().list_artifacts(recorded.info.run_id, "trace")
        assert "trace/continued-1" in [file.path for file in traces]
        assert recorded.info.run_id[:8] in said  # in the table

    for seed in (1, 2):
        call(script, *asked, f"seed={seed}", cwd=tmp_path)
    whole = {recorded.data.params["seed"]: histories(recorded) for recorded in runs()[2:]}
    assert {recorded.data.params["seed"]: histories(recorded) for recorded in found} == whole


@pytest.mark.slow
def test_cancelled_jobs_are_killed_and_the_sweep_does_not_wait_for_them(
    slurm, mlflow_store, tmp_path
):
    sweep = started(PART2, *SLURM, *LONG2, "training.epochs=900", "seed=1,2", cwd=tmp_path)
    wait_for_epochs(sweep, mlflow_store, 2)
    subprocess.run(["scancel", *jobs()], check=True)
    said, _ = sweep.communicate(timeout=200)
    assert sweep.returncode == 1, said
    assert [recorded.info.status for recorded in runs()] == ["KILLED"] * 2


@pytest.mark.slow
def test_a_study_is_summed_up_although_a_worker_dies(slurm, mlflow_store, tmp_path):
    asked = ["data=digits", "model.width=2", "training.epochs=4", "pruner=none", "trials=9"]
    storage = [f"storage.path={tmp_path / 'study.journal'}", "storage.heartbeat=1"]
    study = started(TUNE, *SLURM, *asked, *storage, "worker=range(3)", cwd=tmp_path)
    wait_for_epochs(study, mlflow_store, 1)
    subprocess.run(["scancel", "--signal=KILL", jobs()[0]], check=True)
    said, _ = study.communicate(timeout=400)
    assert study.returncode == 1, said  # for a worker did not come to its end
    assert "has not produced any output" in said
    assert re.search(r"Study \S+: (9|1\d) trials finished", said)  # by the others
    assert "To train it" in said
    assert "trials are missing" not in said
    assert {recorded.info.status for recorded in runs()} <= {"FINISHED", "FAILED", "KILLED"}


@pytest.mark.slow
def test_workers_and_sweeps_run_on_slurm(slurm, mlflow_store, tmp_path):
    storage = f"storage.path={tmp_path / 'study.journal'}"
    asked = ["data=digits", "model.width=2", "training.epochs=2", storage, "pruner=none"]
    done = run(TUNE, *SLURM, *asked, "worker=range(2)", "trials=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "To train it" in done.stdout
    trials = [recorded for recorded in runs() if "mlflow.parentRunId" in recorded.data.tags]
    assert 4 <= len(trials) <= 5
    assert {recorded.info.status for recorded in trials} == {"FINISHED"}

    # A plain sweep of another part, of which one job fails.
    done = run(PART1, *SLURM, "data=digits", "model.C=0.01,-1", cwd=tmp_path)
    assert done.returncode != 0
    assert "model.C=-1: it should be greater than 0" in done.stderr
    (finished,) = [recorded for recorded in runs() if "model.C" in recorded.data.params]
    assert finished.data.params["model.C"] == "0.01"

    # What Slurm would refuse ends in one message.
    done = run(PART1, *SLURM, "hydra.launcher.partition=gpu", "seed=1,2", cwd=tmp_path)
    assert done.returncode == 1
    assert "invalid partition specified: gpu" in done.stderr
    assert "Partitions here: all. Change a setting: hydra.launcher.partition=NAME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_machine_without_slurm_is_told_so(mlflow_store, tmp_path):
    done = run(PART1, *SLURM, "data=digits", "seed=1,2", cwd=tmp_path, PATH=os.devnull)
    assert done.returncode == 1
    assert "there is no command sbatch here" in done.stderr
    assert "hydra/launcher=laptop" in done.stderr
    assert "Traceback" not in done.stderr
