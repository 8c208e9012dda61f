"""A part's runs in a checkout that was renamed, and the commands that repeat runs."""

import os
import shutil
from pathlib import Path

import mlflow
import pytest
import torch
import warm
from commands import ROOT, call
from mlflow import MlflowClient
from record_fixtures import git

from samerun.display import screen as view
from samerun.store.tracking import use_store

SAMERUN = ("-c", "import sys; from samerun.cli import main; sys.exit(main(sys.argv[1:]))")
PART2, PART3 = (ROOT / "solutions" / part for part in ("part2_mlp_cnn", "part3_competition"))


def typed(folder: Path, *words: str) -> str:
    """Run a command of a person whose shell has set nothing, and return what it said."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = warm.run(words, cwd=folder, env=own)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_every_command_works_in_a_checkout_that_was_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "checkout", tmp_path / "renamed é"
    shutil.copytree(PART2, old / "solutions" / PART2.name)
    (old / ".gitignore").write_bytes(b"mlflow.db*\nmlartifacts/\noutputs/\n__pycache__/\n")
    git(old, "init", "-q", "-b", "main")
    git(old, "add", ".")
    git(old, "commit", "-q", "-m", "first")
    train, small = f"solutions/{PART2.name}/train.py", ["data=digits", "training.epochs=1"]
    typed(old, train, *small)

    old.rename(new)
    said = typed(new, f"solutions/{PART2.name}/evaluate.py", "run_id=latest")
    assert "test accuracy" in said and "was moved or copied" in said
    said = typed(new / "solutions", f"{PART2.name}/train.py", *small, "seed=1")
    assert "moved" not in said
    assert f"To evaluate: python {PART2.name}/evaluate.py run_id=" in said.replace(
        "uv run", "python"
    )

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new.as_posix()}/mlflow.db")
    use_store()
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert len(runs) == 2 and "test_accuracy" in runs[-1].data.metrics
    for run in runs:
        said = typed(new, *SAMERUN, "trace", run.info.run_id[:8])
        assert f"{PART2.name}/train.py data=digits" in said
        assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/config.yaml")
    assert not old.exists()

    outside = tmp_path / "elsewhere"
    outside.mkdir()
    asked = [*SAMERUN, "trace", runs[0].info.run_id, "--store", str(new)]
    assert "seed=1" in typed(outside, *asked)


@pytest.mark.slow
def test_a_trial_is_repeated_bit_for_bit_by_the_command_of_its_trace(
    mlflow_store: Path, tmp_path: Path
) -> None:
    asked = ["data=digits", "training.epochs=2", "trials=2", "study=repeated"]
    call(PART3 / "tune.py", *asked, "experiment=trials", cwd=tmp_path)
    use_store()
    (trial,) = mlflow.search_runs(
        experiment_names=["trials"],
        filter_string="attributes.run_name = 'trial 1'",
        output_format="list",
    )
    words = view.fetch(trial).repeat.words
    assert words[2].endswith("part3_competition/train.py")
    call(ROOT / words[2], *words[3:], cwd=tmp_path)
    again, *_ = mlflow.search_runs(experiment_names=["part3-competition"], output_format="list")

    def weights(run_id: str) -> dict[str, torch.Tensor]:
        path = MlflowClient().download_artifacts(run_id, "checkpoints/best.pt")
        return torch.load(path, weights_only=True)

    first, second = weights(trial.info.run_id), weights(again.info.run_id)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["part1_logistic_regression", "part2_mlp_cnn"])
def test_two_equal_runs_have_equal_traces_but_for_the_time(
    part: str, mlflow_store: Path, tmp_path: Path
) -> None:
    small = ["data=digits", *(["training.epochs=1"] if part == PART2.name else [])]
    use_store()
    for _ in range(2):
        call(ROOT / "solutions" / part / "train.py", *small, cwd=tmp_path)
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert len(runs) == 2
    texts = [
        mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/trace/trace.json") for run in runs
    ]
    for trace in texts:
        del trace["started"]
    assert texts[0] == texts[1]
    assert texts[0]["machine"]["threads"] and texts[0]["machine"]["arithmetic"]
