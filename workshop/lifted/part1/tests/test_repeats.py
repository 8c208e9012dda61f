"""What makes the record worth keeping: the same command gives the same numbers, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_store():
    yield
    mlflow.set_tracking_uri(None)


def train(folder: Path) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Run train.py with a store of its own; return its metrics and what the model has learned."""
    folder.mkdir()
    store = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    command = [sys.executable, str(PROJECT / "train.py")]
    environment = os.environ | {"MLFLOW_TRACKING_URI": store}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    mlflow.set_tracking_uri(store)
    experiments = [experiment.experiment_id for experiment in MlflowClient().search_experiments()]
    (run,) = MlflowClient().search_runs(experiments)
    model = mlflow.sklearn.load_model(f"runs:/{run.info.run_id}/model")
    learned = {"components": model["components"].components_, "coefficients": model[-1].coef_}
    return run.data.metrics, learned


def test_the_same_command_gives_the_same_numbers(tmp_path):
    metrics, learned = train(tmp_path / "first")
    again, learned_again = train(tmp_path / "second")
    assert metrics and again == metrics
    for name, values in learned.items():
        assert np.array_equal(values, learned_again[name]), name
