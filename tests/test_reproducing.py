"""Runs of the parts come out exactly the same when `workshop reproduce` repeats them."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import warm
from commands import ROOT
from record_fixtures import git

from samerun.recorded import RecordedRun, read_run

pytestmark = pytest.mark.slow

PART1, PART2, PART3 = (
    f"solutions/{part}"
    for part in ("part1_logistic_regression", "part2_mlp_cnn", "part3_competition")
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Iterator[Path]:
    """A clone at another path than the installed packages lead to, with changes to workshop/.

    The environment of these tests has workshop and samerun installed from the present checkout.
    """
    folder = tmp_path_factory.mktemp("ein Klön")
    root = folder / "workshop é"
    git(folder, "clone", "-q", str(ROOT), str(root))
    for name in ("workshop", "packages", "solutions"):  # as they are here, committed or not
        shutil.rmtree(root / name)
        ignored = shutil.ignore_patterns("__pycache__", "outputs", "multirun", ".pytest_cache")
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    data = root / "workshop" / "data.py"
    text = data.read_text(encoding="utf-8")
    assert "random_state=0" in text  # of the split of the digits
    data.write_text(text.replace("random_state=0", "random_state=1"), encoding="utf-8")
    (root / "mlflow.db").write_bytes(store_template.read_bytes())
    mlflow.set_tracking_uri(f"sqlite:///{(root / 'mlflow.db').as_posix()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMERUN_CACHE", str(folder / "cäche"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(root / 'mlflow.db').as_posix()}")
        yield root


def typed(root: Path, *words: str, inside: bool = True, status: int = 0) -> str:
    """Type a command in the clone; `inside` imports workshop and samerun from there."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_") and k != "PYTHONPATH"}
    if inside:
        own["PYTHONPATH"] = os.pathsep.join([str(root), str(root / "packages/samerun/src")])
    done = warm.run(words, cwd=root, env=own | {"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def reproduced(root: Path, experiment: str, name: str | None = None) -> tuple[dict, RecordedRun]:
    """Reproduce a run of the clone by this environment's `workshop`; return the outcome."""
    wanted = {"filter_string": f"attributes.run_name = '{name}'"} if name else {}
    run = mlflow.search_runs(experiment_names=[experiment], output_format="list", **wanted)[0]
    command = "import sys; from samerun.cli import main; sys.exit(main())"
    words = ["-c", command, "reproduce", run.info.run_id, "--json", "--store", str(root)]
    return json.loads(typed(root, *words, inside=False)), read_run(run.info.run_id)


def test_part_1_with_another_workshop_than_the_installed_one_and_its_evaluation(
    clone: Path,
) -> None:
    typed(clone, f"{PART1}/train.py", "-m", "data=digits", "model.C=0.5", "model.max_iter=20")
    typed(clone, f"{PART1}/evaluate.py", "run_id=latest")
    outcome, original = reproduced(clone, "part1-logistic-regression")
    assert outcome["verdict"] == "exact", outcome["reason"]
    again = read_run(outcome["run_id"])
    assert again.trace.data.digest == original.trace.data.digest
    assert "test_accuracy" in again.metrics
    assert "workshop/data.py" in again.trace.code.changed
    assert git(clone, "worktree", "list").count("\n") == 1


def test_part_2_interrupted_and_continued(clone: Path, tmp_path: Path) -> None:
    stop = f"""
import runpy, sys
sys.argv = ["{PART2}/train.py", "data=digits", "training.epochs=3"]
sys.path.insert(0, "{PART2}")
import resuming
whole = resuming.save_state
def save_state(folder, progress, *rest):
    whole(folder, progress, *rest)
    if progress.epoch == 2:
        raise KeyboardInterrupt
resuming.save_state = save_state
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    (tmp_path / "stop.py").write_text(stop, encoding="utf-8")
    typed(clone, str(tmp_path / "stop.py"), status=130)
    (run,) = mlflow.search_runs(experiment_names=["part2-mlp-cnn"], output_format="list")
    assert run.info.status == "KILLED"
    typed(clone, f"{PART2}/train.py", f"training.resume={run.info.run_id}")
    outcome, original = reproduced(clone, "part2-mlp-cnn")
    assert outcome["verdict"] == "exact", outcome["reason"]
    assert len(original.metrics["val_accuracy"]) == 3
    assert (original.files / "trace" / "continued-1").is_dir()


def test_a_trial_of_part_3_alone(clone: Path) -> None:
    typed(clone, f"{PART3}/tune.py", "data=digits", "training.epochs=2", "trials=1", "study=one")
    outcome, original = reproduced(clone, "part3-tuning", "trial 0")
    assert outcome["verdict"] == "exact", outcome["reason"]
    again = read_run(outcome["run_id"])
    assert again.weights == original.weights != {}
    assert "mlflow.parentRunId" not in again.tags
