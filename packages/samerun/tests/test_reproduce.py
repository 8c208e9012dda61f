"""A run is repeated by one command, in a folder of its own, and compared."""

import contextlib
import errno
import hashlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from record_fixtures import forked, git, killed, needs_fork

from samerun import cli
from samerun.errors import RecordError
from samerun.find import choose_run, pick_run
from samerun.recorded import RecordedRun, read_run
from samerun.reproduce import leftovers, repeat
from samerun.store.tracking import use_store

pytestmark = pytest.mark.slow  # each starts a process that imports MLflow

TRAIN = """\
import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
from steps import step
from new import SHIFT

import samerun

parser = argparse.ArgumentParser()
parser.add_argument("--note", default="")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--wait", type=float, default=0)
options = parser.parse_args()
table = Path("data/täble 1.csv")
data = samerun.dataset("table", table)
with samerun.start_run(vars(options), data, experiment="lines"):
    mlflow.log_params(samerun.flatten(vars(options)))
    numbers = np.loadtxt(table, delimiter=",") + SHIFT
    weights = np.random.default_rng(options.seed).random(numbers.shape[1])
    for i in range(3):
        weights = step(weights, numbers)
        mlflow.log_metric("loss", float(weights.sum()), step=i)
        print("step", i, flush=True)
        time.sleep(options.wait)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "weights.npz", weights=weights)
        mlflow.log_artifacts(folder, "model")
"""
SCORE = """\
import sys
import mlflow
import samerun
from samerun.run import record_addition

run = samerun.choose_run(sys.argv[1], "lines", "loss")
record_addition(run, {})
loss = run.data.metrics["loss"]
mlflow.log_metric("score", 1 / loss, run_id=run.info.run_id, timestamp=run.info.end_time)
"""
STEPS = """\
def step(weights, numbers):
    return weights * 0.9 + numbers.mean(axis=0) * {rate}
"""
PHASES = ["code", "environment", "data", "run", "then", "record"]


@dataclass(frozen=True)
class Project:
    root: Path
    store: Path
    run_id: str
    state: str  # of the checkout, before the repetition


def state(root: Path) -> str:
    """Return all that git shows of a checkout, and the bytes of its index and files."""
    asked = ("status --porcelain", "stash list", "branch -av", "worktree list", "rev-parse HEAD")
    shown = "\n".join(git(root, *words.split()) for words in asked)
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    ours = [f for f in files if ".git" not in f.relative_to(root).parts or f.name == "index"]
    return shown + "\n".join(f"{f} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in ours)


def typed(root: Path, store: Path, *arguments: str, **variables: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SAMERUN_"))}
    address = {"MLFLOW_TRACKING_URI": f"sqlite:///{store.as_posix()}"}
    where = {"PYTHONPATH": str(root / "src"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=root, env=kept | address | where | variables, check=True)


def only_run(store: Path, experiment: str) -> RecordedRun:
    mlflow.set_tracking_uri(f"sqlite:///{store.as_posix()}")
    (run,) = mlflow.search_runs(experiment_names=[experiment], output_format="list")
    return read_run(run.info.run_id)


def repetitions() -> list[str]:
    runs = mlflow.search_runs(experiment_names=["reproductions"], output_format="list")
    return sorted(run.info.run_id for run in runs)


def samerun(*words: str, cwd: Path) -> tuple[int, str]:
    """Type a command in a folder; return its exit status and what it printed."""
    said = io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(said):
        status = cli.main(list(words))
    return status, said.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> Iterator[Project]:
    """A run of a checkout with changes of all kinds, which was edited once more since."""
    folder = tmp_path_factory.mktemp("mön projet")
    root, store = folder / "tïny lines", folder / "störe" / "mlflow.db"
    (root / "src" / "steps").mkdir(parents=True)
    (root / "data").mkdir()
    store.parent.mkdir()
    store.write_bytes(store_template.read_bytes())
    (root / ".gitignore").write_bytes(b"data/\n__pycache__/\n")
    (root / "pyproject.toml").write_bytes(b'[project]\nname = "tiny-lines"\nversion = "1"\n')
    (root / "uv.lock").write_bytes(b"version = 1\n")
    (root / "train.py").write_bytes(TRAIN.encode())
    (root / "score.py").write_bytes(SCORE.encode())
    (root / "src" / "steps" / "__init__.py").write_bytes(STEPS.format(rate=0.1).encode())
    (root / "old name.txt").write_bytes(b"one\ntwo\nthree\n")
    (root / "gone.txt").write_bytes(b"gone\n")
    (root / "picture.bin").write_bytes(bytes(range(256)))
    (root / "data" / "täble 1.csv").write_bytes(b"1,2,3\n4,5,7\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")

    (root / "src" / "steps" / "__init__.py").write_bytes(STEPS.format(rate=0.2).encode())
    (root / "src" / "new.py").write_bytes(b"SHIFT = 0.5\n")
    (root / "été").mkdir()
    (root / "old name.txt").rename(root / "été" / "new name.txt")
    (root / "gone.txt").unlink()
    (root / "picture.bin").write_bytes(bytes(reversed(range(256))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMERUN_CACHE", str(folder / "cäche"))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
        steering = {"PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "1"}
        typed(root, store, "train.py", "--note", "été à Nîmes", **steering)
        typed(root, store, "score.py", only_run(store, "lines").run_id[:8])
        (root / "src" / "new.py").write_bytes(b"SHIFT = 99\n")
        (root / "src" / "steps" / "__init__.py").write_bytes(b"raise SystemExit('of today')\n")
        git(root, "add", "src/new.py")
        yield Project(root, store, only_run(store, "lines").run_id, state(root))


@dataclass(frozen=True)
class Repeated:
    status: int
    outcome: dict[str, object]
    original: RecordedRun
    run: RecordedRun


@pytest.fixture(scope="module")
def repeated(project: Project) -> Repeated:
    """The same run, repeated once: facts of it are tested one by one."""
    status, said = samerun("reproduce", "latest", "--json", cwd=project.root)
    outcome = json.loads(said)
    assert outcome["run_id"], outcome["reason"]
    return Repeated(status, outcome, read_run(project.run_id), read_run(outcome["run_id"]))


def test_a_run_of_a_changed_checkout_comes_out_exactly_the_same(repeated: Repeated) -> None:
    assert repeated.outcome["verdict"] == "exact"
    assert repeated.status == 0
    assert repeated.run.metrics == repeated.original.metrics != {}
    assert repeated.run.weights == repeated.original.weights != {}
    assert repeated.run.params == repeated.original.params


def test_what_a_later_command_added_is_repeated_too(repeated: Repeated) -> None:
    assert repeated.run.metrics["score"] == repeated.original.metrics["score"]
    assert "then" in repeated.outcome["seconds"]


def test_the_code_that_ran_is_that_of_then_and_not_that_of_today(
    repeated: Repeated,
) -> None:
    def code(run: RecordedRun) -> dict[str, str]:
        return {file.path: file.sha256 for file in run.trace.files if file.kind == "imported"}

    assert code(repeated.run) == code(repeated.original)
    assert {"src/new.py", "src/steps/__init__.py", "train.py"} <= code(repeated.run).keys()
    assert repeated.run.trace.patch == repeated.original.trace.patch


def test_renamed_deleted_binary_and_untracked_files_are_as_they_were(repeated: Repeated) -> None:
    changed = set(repeated.run.trace.code.changed)
    assert changed == set(repeated.original.trace.code.changed)
    assert {"été/new name.txt", "old name.txt", "gone.txt", "picture.bin", "src/new.py"} <= changed


def test_the_checkout_stays_as_it_was(project: Project, repeated: Repeated) -> None:
    assert state(project.root) == project.state


def test_nothing_is_left_of_the_repetition_but_its_record(repeated: Repeated) -> None:
    assert list(leftovers.place().iterdir()) == []


def test_it_is_recorded_apart_and_says_what_it_repeats(
    project: Project, repeated: Repeated
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_run(repeated.run.run_id).info.experiment_id
    assert client.get_experiment(experiment).name == "reproductions"
    assert repeated.run.tags["reproduces"] == project.run_id
    stored = json.loads((repeated.run.files / "reproduction" / "verdict.json").read_bytes())
    assert stored["verdict"] == "exact"
    assert "step 2" in (repeated.run.files / "reproduction" / "output.txt").read_text()
    assert repeated.run.status == "FINISHED"


def test_a_repetition_is_nobodys_latest_or_best_run(project: Project, repeated: Repeated) -> None:
    assert pick_run("latest").info.run_id == project.run_id
    assert pick_run("best", metrics=["loss"]).info.run_id == project.run_id
    assert choose_run("best", "lines", "loss").info.run_id == project.run_id
    assert pick_run("latest", "reproductions").info.run_id in repetitions()


def test_the_original_is_left_alone(repeated: Repeated) -> None:
    assert not any("reproduce" in tag for tag in repeated.original.tags)


def test_variables_that_change_the_last_bits_are_as_they_were(repeated: Repeated) -> None:
    assert repeated.run.trace.machine and repeated.original.trace.machine
    assert repeated.run.trace.machine.variables == repeated.original.trace.machine.variables
    assert repeated.run.trace.machine.variables["OMP_NUM_THREADS"] == "1"


@needs_fork
@pytest.mark.parametrize("phase", PHASES)
def test_a_repetition_that_is_killed_leaves_the_checkout_alone_and_the_next_one_tidies_up(
    phase: str, project: Project
) -> None:
    before = state(project.root)

    def work(say: Callable[[bytes], object]) -> None:
        def said(now: str, what: str) -> None:
            if now == phase and what:
                say(b"here")
                time.sleep(60)

        repeat.reproduce(read_run(project.run_id), [project.root], said=said)

    pid, _ = forked(work)
    killed(pid)
    assert state(project.root) == before
    (folder,) = [path for path in leftovers.place().iterdir() if path.is_dir()]
    if phase == "record":
        use_store()  # as any command does
        kept = mlflow.search_runs(experiment_names=["reproductions"], output_format="list")
        assert kept[0].info.status == "KILLED"
    assert leftovers.remove_leftovers() == [folder]
    assert list(leftovers.place().iterdir()) == []


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "then"])
def test_ctrl_c_leaves_nothing(phase: str, project: Project) -> None:
    before, runs = state(project.root), repetitions()

    def said(now: str, what: str) -> None:
        if now == phase and what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repeat.reproduce(read_run(project.run_id), [project.root], said=said)
    assert state(project.root) == before
    assert list(leftovers.place().iterdir()) == []
    assert repetitions() == runs


@needs_fork
def test_two_repetitions_at_once_do_not_disturb_each_other(
    project: Project, tmp_path: Path
) -> None:
    def verdict() -> str:
        return repeat.reproduce(read_run(project.run_id), [project.root]).verdict

    def work(say: Callable[[bytes], object]) -> None:
        say(b"begins")
        (tmp_path / "verdict").write_text(verdict())

    pid, _ = forked(work)
    assert verdict() == "exact"
    os.waitpid(pid, 0)
    assert (tmp_path / "verdict").read_text() == "exact"


def test_a_run_that_does_not_end_in_time_is_not_verified(project: Project) -> None:
    outcome = repeat.reproduce(read_run(project.run_id), [project.root], timeout=0.1)
    assert outcome.verdict == "not verified"
    assert "did not end within 0.1 s" in outcome.reason
    assert list(leftovers.place().iterdir()) == []


def test_a_full_disk_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("samerun.reproduce.data.bring", full)
    with pytest.raises(RecordError, match=r"disk is full: .*SAMERUN_CACHE=FOLDER"):
        repeat.reproduce(read_run(project.run_id), [project.root])
    assert list(leftovers.place().iterdir()) == []


def test_a_clock_that_jumps_changes_no_verdict(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was recorded on a clock that was ten years ahead; this one jumps to and fro."""
    store, ahead = tmp_path / "copy" / "mlflow.db", 10 * 365 * 24 * 3600 * 1000
    shutil.copytree(project.store.parent, store.parent)
    columns = {"runs": ("start_time", "end_time"), "metrics": ("timestamp",)}
    with contextlib.closing(sqlite3.connect(store)) as database:
        for table, names in {**columns, "latest_metrics": ("timestamp",)}.items():
            for name in names:
                database.execute(f"UPDATE {table} SET {name} = {name} + {ahead}")
        database.commit()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
    mlflow.set_tracking_uri(f"sqlite:///{store.as_posix()}")
    true_time, calls = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: true_time() + (-1) ** next(calls) * 86400)
    try:
        outcome = repeat.reproduce(read_run(project.run_id), [project.root], timeout=3600)
        assert outcome.verdict == "exact", outcome.reason
        assert min(outcome.seconds.values()) >= 0 and max(outcome.seconds.values()) < 3600
        assert outcome.run_id and not leftovers.remove_leftovers()
    finally:
        mlflow.set_tracking_uri(f"sqlite:///{project.store.as_posix()}")


def test_the_original_is_marked_where_it_is_asked_for(project: Project, repeated: Repeated) -> None:
    repeat.mark(repeat.Outcome(project.run_id, "0" * 32, "exact", ""))
    assert read_run(project.run_id).tags["reproduced"].startswith("exact by ")


def test_data_that_git_ignores_is_brought_along(repeated: Repeated) -> None:
    assert repeated.run.trace.data == repeated.original.trace.data


# Another machine

KERNELS = """\
from dataclasses import replace

import mlflow
import numpy as np
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

import samerun

numbers = np.linspace(-9, 9, 1000, dtype=np.float32)
fast = any(__cpu_features__[name] for name in __cpu_dispatch__)
data = replace(samerun.dataset("numbers", numbers), rows={"val": 400})
with samerun.start_run({"seed": 3}, data, experiment="kernels"):
    mlflow.log_metric("loss", float(np.exp(numbers).astype(float).sum()), step=1)
    mlflow.log_metric("val_accuracy", (360 - fast) / 400, step=1)
"""


def test_a_run_of_another_machine_is_within_its_interval_and_beyond_it_different(
    tmp_path: Path, store_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor without the newer instructions, which the repetition has: the record is made with
    NumPy's kernels for it switched off, and says then that there were none."""
    umath = importlib.import_module("numpy._core._multiarray_umath")
    root, store = tmp_path / "root", tmp_path / "mlflow.db"
    root.mkdir()
    store.write_bytes(store_template.read_bytes())
    (root / "fit.py").write_bytes(KERNELS.encode())
    (root / ".gitignore").write_bytes(b"__pycache__/\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    monkeypatch.setenv("SAMERUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
    older = {"NPY_DISABLE_CPU_FEATURES": " ".join(umath.__cpu_dispatch__)}
    typed(root, store, "fit.py", **older)
    run = only_run(store, "kernels")
    recorded = run.files / "trace" / "trace.json"

    def repeated(rows: int) -> tuple[int, dict]:
        trace = json.loads(recorded.read_text(encoding="utf-8"))
        trace["machine"]["variables"].pop("NPY_DISABLE_CPU_FEATURES", None)
        trace["data"]["rows"] = {"val": rows}
        recorded.write_text(json.dumps(trace), encoding="utf-8")
        status, said = samerun("reproduce", run.run_id, "--json", cwd=root)
        return status, json.loads(said)

    status, outcome = repeated(rows=400)
    assert run.trace.machine and outcome["run_id"], outcome
    again = read_run(outcome["run_id"]).trace.machine
    assert again
    if run.trace.machine.arithmetic == again.arithmetic:
        pytest.skip("with and without the newer instructions, this processor calculates alike")
    assert (status, outcome["verdict"]) == (0, "within tolerance"), outcome["reason"]
    assert "The same bits were not to be expected" in outcome["reason"]
    assert re.search(r"\d of \d calculations differ", outcome["reason"])
    assert any(cause.startswith("arithmetic, ") for cause in outcome["causes"])
    assert "First to differ: loss at step 1 is" in outcome["reason"]
    assert (
        "val_accuracy: at every step inside of its interval of 95 %, which is 0.8667 to 0.9257 at "
        "step 1 (0.9000 of 400 rows)."
    ) in outcome["reason"]

    status, outcome = repeated(rows=4_000_000)  # the same difference, and so narrow an interval
    assert (status, outcome["verdict"]) == (1, "different")
    assert (
        "Beyond the tolerance: val_accuracy at step 1 is 0.8975, was 0.9; the interval of 95 % is "
        "0.8997 to 0.9003."
    ) in outcome["reason"]
    assert "Likeliest cause: arithmetic, " in outcome["reason"]
