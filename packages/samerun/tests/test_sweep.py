"""The table at the end of a sweep, and what Slurm would refuse."""

import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from record_fixtures import FakeDataset
from rich.console import Console

from samerun.errors import RecordError
from samerun.process.job import NUMBER, OVERRIDES, SWEEP
from samerun.run import start_run
from samerun.sweep import check_slurm, runs, table


def job(number: int, overrides: str, sweep: str = "/here", parent: str | None = None) -> str:
    with start_run({"experiment": "x"}, FakeDataset(), parent=parent) as run:
        mlflow.set_tags({SWEEP: sweep, NUMBER: number, OVERRIDES: overrides})
        mlflow.log_metrics({"val_accuracy": number / 10, "test_accuracy": 1, "val_loss": 2})
    return run.info.run_id


def test_a_sweep_ends_with_ids_names_what_varied_and_the_scores(
    mlflow_store: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    found = {number: job(number, f"data=digits seed={number} 'x=[1, 2]'") for number in (2, 10)}
    job(3, "data=digits seed=3", sweep="/elsewhere")
    job(4, "data=digits seed=4", parent=found[2])  # a trial of a study
    console = Console(width=80, record=True)
    console.print(table(runs("/here")))
    head, *lines = console.export_text().splitlines()
    assert head.split() == ["run", "name", "what", "varied", "val_accuracy", "val_loss"]
    assert len(lines) == 2  # in the order of the jobs, and nothing of others
    for line, (number, run_id) in zip(lines, found.items(), strict=True):
        assert line.split()[0] == run_id[:8] and len(line) <= 80
        assert mlflow.get_run(run_id).info.run_name in line
        assert line.split()[2:] == [f"seed={number}", f"{number / 10:.4f}", "2.0000"]


def test_where_there_is_no_slurm_another_launcher_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RecordError, match=r"no command sbatch here.*hydra/launcher=laptop"):
        check_slurm(omegaconf.OmegaConf.create({"partition": None}))


def test_a_script_with_torch_and_classes_of_its_own_reaches_the_workers() -> None:
    code = (
        "import cloudpickle, torch\n"
        "from samerun.process.job import let_modules_travel\n"
        "def main(dataset):\n"
        "    return torch.tensor(len(dataset.classes)), torch.relu, dataset.ops\n"
        "let_modules_travel()\n"
        "assert cloudpickle.loads(cloudpickle.dumps(main)).__name__ == 'main'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
