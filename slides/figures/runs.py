"""Runs of this project that figures are drawn from, made by its own scripts in a scratch store.

The store is kept in slides/build/, so that figures share their runs; it goes with that folder.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from samerun.compare.intervals import wilson_interval

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "slides" / "build" / "runs"
STORE = f"sqlite:///{(SCRATCH / 'mlflow.db').as_posix()}"

os.environ["MLFLOW_TRACKING_URI"] = STORE
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def run(script: str, *overrides: str) -> None:
    """Run a script of the solutions as a participant would, at a low priority."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(10)
    command = [sys.executable, str(ROOT / "solutions" / script), *overrides]
    subprocess.run(command, check=True, cwd=SCRATCH)


def finished(experiment: str) -> list:
    """Return the finished runs of an experiment, the oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    return client.search_runs(
        [found.experiment_id], "attributes.status = 'FINISHED'",
        order_by=["attributes.start_time ASC"], max_results=1000,
    )  # fmt: skip


def part1_sweep() -> list:
    """Return the runs of the sweep over C on the digits, by C."""
    if not finished("part1-logistic-regression"):
        script = "part1_logistic_regression/train.py"
        run(script, "-m", "+sweep=regularisation", "data=digits")
    runs = finished("part1-logistic-regression")
    return sorted(runs, key=lambda found: float(found.data.params["model.C"]))


def part2_networks() -> list:
    """Return runs of an MLP and a CNN on the digits."""
    if not finished("part2-mlp-cnn"):
        script = "part2_mlp_cnn/train.py"
        run(script, "-m", "data=digits", "model=mlp,cnn", "seed=0,1", "training.epochs=12")
    return finished("part2-mlp-cnn")


def small_cnn():
    """Return the run of a CNN of two blocks, after one epoch on Fashion-MNIST."""
    name = "slides-small-cnn"
    if not finished(name):
        words = ("model=cnn", "model.channels=[8,16]", "training.epochs=1", f"experiment={name}")
        run("part2_mlp_cnn/train.py", *words)
    return finished(name)[-1]


def study():
    """Return the Optuna study of 15 trials on the digits."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = SCRATCH / "study.journal"
    if not path.exists():
        words = ("data=digits", "trials=15", "training.epochs=3", f"storage.path={path.as_posix()}")
        run("part3_competition/tune.py", *words)
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="tuning-digits", storage=storage)


def wilson(share: float, n: int) -> tuple[float, float]:
    return wilson_interval(round(share * n), n)
