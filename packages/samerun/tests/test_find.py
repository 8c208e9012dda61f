"""Finding runs, and what can be said of their scores."""

import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

from samerun import RecordError, choose_run, find
from samerun.compare.intervals import wilson_interval
from samerun.find import find_interrupted


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (7, 10), (9264, 10_000), (10_000, 10_000)])
def test_the_interval_is_wilsons_of_95_percent(correct: int, n: int) -> None:
    reference = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx(reference, abs=1e-5, rel=1e-4)


JOB = """
import hydra, os, sys
from samerun.find import as_typed
from samerun.root import project_root
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    # As in a job of a launcher: what was started is no script of the project.
    sys.argv[0] = {started!r}
    os.chdir({elsewhere!r})
    print("SEEN", as_typed(cfg.run_id), project_root())
main()
"""


@pytest.mark.parametrize("run_id", ["12e4", "7113e891", "0012", "1e5", "5", "abc", "latest"])
def test_an_id_that_looks_like_a_number_is_taken_as_typed(run_id: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    part = tmp_path / "project" / "part"
    (part / "conf").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    (part / "conf" / "config.yaml").write_text("run_id: latest\n", encoding="utf-8")
    job = JOB.format(started="/usr/lib/launcher", elsewhere=str(elsewhere))
    (part / "train.py").write_text(job, encoding="utf-8")
    command = [sys.executable, str(part / "train.py"), f"run_id={run_id}", "hydra.run.dir=out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # The root is that of the script, not that of the folder in which the job happens to be.
    assert done.stdout.strip() == f"SEEN {run_id} {tmp_path / 'project'}"


@pytest.mark.parametrize("find_one", [choose_run, find_interrupted])
def test_whoever_looks_for_a_run_looks_for_what_was_typed(
    find_one, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "hydra_overrides", lambda: ("seed=1", "run_id=7113e891"))
    more = ("accuracy",) if find_one is choose_run else ()
    with pytest.raises(RecordError, match="no run '7113e891'"):
        find_one(float("7113e891"), "first steps", *more)
