"""What makes the record worth keeping: the same command gives the same numbers, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient

PROJECT = Path(__file__).resolve().parents[1]
SHORT = ["training.epochs=2"]


@pytest.fixture(autouse=True)
def own_store():
    yield
    mlflow.set_tracking_uri(None)


def train(folder: Path) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Run train.py with a store of its own; return its metrics and its best weights."""
    folder.mkdir()
    store = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    command = [sys.executable, str(PROJECT / "train.py"), *SHORT]
    environment = os.environ | {"MLFLOW_TRACKING_URI": store}
    subprocess.run(command, cwd=folder, env=environment, check=True)
    mlflow.set_tracking_uri(store)
    experiments = [experiment.experiment_id for experiment in MlflowClient().search_experiments()]
    (run,) = MlflowClient().search_runs(experiments)
    path = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/checkpoints/best.pt")
    return run.data.metrics, torch.load(path, weights_only=True, map_location="cpu")


def test_the_same_command_gives_the_same_numbers(tmp_path):
    metrics, weights = train(tmp_path / "first")
    again, weights_again = train(tmp_path / "second")
    assert metrics and again == metrics
    for name, values in weights.items():
        assert torch.equal(values, weights_again[name]), name
