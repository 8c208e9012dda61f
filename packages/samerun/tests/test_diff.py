"""Why is my number not yours: one thing is changed at a time, and it is what is named first."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from record_fixtures import LOCK, FakeDataset, git

from samerun import cli, start_run
from samerun import trace as traces
from samerun.code import later
from samerun.code.known import KnownFile
from samerun.compare import view
from samerun.compare.causes import Cause
from samerun.compare.chance import outcomes
from samerun.compare.code import State, difference
from samerun.compare.comparison import Comparison, compare
from samerun.compare.predictions import as_csv
from samerun.compare.present import as_configuration, present
from samerun.data import Data
from samerun.recorded import RecordedRun
from samerun.trace import FOLDER, Trace, from_json

FIT = """\
import argparse, importlib, os
from pathlib import Path
import numpy as np
import steps
import samerun
from samerun import trace

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=3)
parser.add_argument("--rate", type=float, default=0.5)
parser.add_argument("--with", dest="modules", nargs="*", default=[])
parser.add_argument("--portable", action="store_true")
parser.add_argument("--device")
parser.add_argument("--threads", type=int)
options = vars(parser.parse_args())
threads, device = options.pop("threads"), options.pop("device")
if threads:
    samerun.set_up(3, threads, device, portable=options["portable"])
folder = Path(os.environ["TO"])
for name in options.pop("modules"):
    importlib.import_module(name)
root = Path(__file__).resolve().parent
collected = trace.collect(options, samerun.dataset("rocks", root / "rocks.csv"), root)
folder.mkdir(parents=True)
(folder / "trace.json").write_text(trace.to_json(collected), encoding="utf-8")
(folder / "changes.patch").write_bytes(collected.patch)
(folder / "packages.txt").write_text("\\n".join(collected.packages), encoding="utf-8")
"""


def commit(root: Path, message: str = "more") -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prøject") / "two rocks"
    root.mkdir()
    (root / "fit.py").write_text(FIT, encoding="utf-8")
    (root / "steps.py").write_bytes(b"FACTOR = 3\n")
    (root / "notes.md").write_bytes(b"one\n")
    (root / "rocks.csv").write_bytes(b"1,2\n3,4\n")
    (root / "uv.lock").write_bytes(LOCK.encode())
    (root / ".gitignore").write_bytes(b"__pycache__/\nrocks.csv\n")
    git(root, "init", "-q", "-b", "main")
    commit(root, "first")
    return root


def record(root: Path, to: Path, *arguments: str, **variables: str) -> RecordedRun:
    """Let a process record a trace, and return it as a run without results."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "OMP_"))}
    folder = to / FOLDER
    command = [sys.executable, "fit.py", *arguments]
    subprocess.run(command, cwd=root, env=kept | variables | {"TO": str(folder)}, check=True)
    packages = tuple((folder / "packages.txt").read_text(encoding="utf-8").splitlines())
    patch = (folder / "changes.patch").read_bytes()
    text = (folder / "trace.json").read_text(encoding="utf-8")
    return run_of(from_json(text, patch, packages), to)


@pytest.fixture(scope="module")
def base(project: Path, tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return record(project, tmp_path_factory.mktemp("runs") / "base")


def first_cause(one: RecordedRun, other: RecordedRun, root: Path) -> Cause:
    found = compare(one, other, [root])
    assert found.causes and not found.notes, found
    return found.causes[0]


def test_two_records_of_one_state_have_no_difference(
    project: Path, base: RecordedRun, tmp_path: Path
) -> None:
    found = compare(base, record(project, tmp_path / "again"), [project])
    assert (found.causes, found.notes) == ((), ())


def one_byte(path: Path, old: bytes, new: bytes) -> None:
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "kind", "name", "said"),
    [
        ("steps.py", b"3", b"4", "code", "steps.py", "+FACTOR = 4"),
        ("rocks.csv", b"4", b"5", "data", "rocks", "rocks.csv: 8 bytes, 8 bytes"),
        ("uv.lock", b"aa", b"ab", "environment", "uv.lock", "numpy: 2.2.0, other files"),
        ("notes.md", b"one", b"two", "code", "notes.md", "+two"),
    ],
)
def test_one_byte_that_changed_is_named(
    project: Path,
    base: RecordedRun,
    tmp_path: Path,
    file: str,
    old: bytes,
    new: bytes,
    kind: str,
    name: str,
    said: str,
) -> None:
    before = (project / file).read_bytes()
    try:
        one_byte(project / file, old, new)
        second = record(project, tmp_path / "second")
    finally:
        (project / file).write_bytes(before)
    cause = first_cause(base, second, project)
    assert (cause.kind, cause.name) == (kind, name)
    assert said in "\n".join(cause.detail)
    assert cause.unlikely == (name in ("notes.md", "uv.lock"))


@pytest.mark.parametrize(("option", "value"), [("seed", "4"), ("rate", "0.25")])
def test_a_value_of_the_configuration_is_named(
    project: Path, base: RecordedRun, tmp_path: Path, option: str, value: str
) -> None:
    second = record(project, tmp_path / "second", f"--{option}", value)
    cause = first_cause(base, second, project)
    assert (cause.kind, cause.name, cause.second) == ("configuration", option, value)
    assert cause.first == {"seed": "3", "rate": "0.5"}[option]


def test_the_threads_of_a_library_are_named(
    project: Path, base: RecordedRun, tmp_path: Path
) -> None:
    cause = first_cause(
        base, record(project, tmp_path / "second", OPENBLAS_NUM_THREADS="1"), project
    )
    assert (cause.kind, cause.name, cause.first) == ("threads", "OPENBLAS_NUM_THREADS", "not set")


@pytest.mark.slow
def test_another_arithmetic_is_named_by_the_variable_that_made_it(
    project: Path, tmp_path: Path
) -> None:
    plain = record(project, tmp_path / "plain", "--with", "torch")
    other = record(project, tmp_path / "o", "--with", "torch", ATEN_CPU_CAPABILITY="default")
    assert plain.trace.machine and other.trace.machine
    assert plain.trace.machine.arithmetic != other.trace.machine.arithmetic
    cause = first_cause(plain, other, project)
    assert (cause.kind, cause.name) == ("arithmetic", "ATEN_CPU_CAPABILITY")
    here, notes = present(plain, project)
    assert compare(plain, here, [project]).causes == () and notes == []


@pytest.mark.slow
def test_a_run_that_was_set_up_does_not_differ_from_the_tree_if_nothing_changed(
    project: Path, tmp_path: Path
) -> None:
    set_up = ("--threads", "1", "--device", "auto", "--portable")
    run = record(project, tmp_path / "run", *set_up)
    before = dict(os.environ)
    here, notes = present(run, project)
    assert compare(run, here, [project]).causes == () and notes == []
    assert os.environ == before


# Code: two commits, two patches


def run_of(trace: Trace, files: Path) -> RecordedRun:
    return RecordedRun("r" * 32, "made-up", "FINISHED", {}, {}, {}, trace, {}, files)


def collected(root: Path) -> Trace:
    return traces.collect({"seed": 1}, None, root)


def state_of_git(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / ".git").rglob("*"))
        if path.is_file()
    }


def test_two_commits_with_two_patches_are_compared_as_what_ran(checkout: Path) -> None:
    (checkout / "train.py").write_bytes(b"print(2)\nprint('caf\xc3\xa9')\n")
    (checkout / "old.bin").write_bytes(b"\0other")
    first = collected(checkout)
    commit(checkout)
    (checkout / "train.py").write_bytes(b"print(3)\nprint('caf\xc3\xa9')\n")
    (checkout / "a new file.txt").write_bytes(b"new\n")
    second = collected(checkout)
    assert first.code.commit != second.code.commit and first.patch and second.patch
    before = state_of_git(checkout)

    found = difference(State(first, checkout), State(second, checkout), [checkout])

    assert {cause.name: cause.second for cause in found.files} == {
        "train.py": "+1 -1 lines",
        "a new file.txt": "new, +1 -0 lines",
    }
    (train,) = (cause for cause in found.files if cause.name == "train.py")
    assert train.detail[-3:] == ("-print(2)", "+print(3)", " print('café')")
    assert state_of_git(checkout) == before


def test_a_patch_and_the_commit_of_the_same_change_are_one_state(checkout: Path) -> None:
    (checkout / "train.py").rename(checkout / "fit.py")
    first = collected(checkout)
    commit(checkout)
    assert (
        compare(run_of(first, checkout), run_of(collected(checkout), checkout), [checkout]).causes
        == ()
    )


def test_renamed_and_deleted_files_are_named_as_such(checkout: Path) -> None:
    first = collected(checkout)
    (checkout / "old.bin").unlink()
    (checkout / "train.py").rename(checkout / "fit.py")
    second = collected(checkout)
    found = difference(State(first, checkout), State(second, checkout), [checkout])
    assert {cause.name: cause.second for cause in found.files} == {
        "old.bin": "deleted, other bytes",
        "fit.py": "was train.py, +0 -0 lines",
    }


def test_without_the_commit_the_files_are_compared_by_digest_and_that_is_said(
    checkout: Path, tmp_path: Path
) -> None:
    trace = collected(checkout)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "-q")
    file = KnownFile("train.py", "imported", "a" * 64, 9, "commit")
    one = replace(trace, files=(file,))
    other = replace(trace, files=(replace(file, sha256="b" * 64),))
    found = compare(run_of(one, checkout), run_of(other, checkout), [elsewhere])
    assert [cause.name for cause in found.causes] == ["train.py"]
    assert f"no clone here has the commit {str(trace.code.commit)[:12]}" in found.notes[0]


def test_a_script_imported_late_is_compared_as_well(checkout: Path, tmp_path: Path) -> None:
    trace, runs = collected(checkout), []
    for number in (1, 2):
        text = b"A = %d\n" % number
        stored = tmp_path / str(number) / FOLDER / later.FILES
        stored.mkdir(parents=True)
        (stored / "late.py").write_bytes(text)
        digest = hashlib.sha256(text).hexdigest()
        file = KnownFile("late.py", "imported later", digest, len(text), later.FILES)
        runs.append(run_of(replace(trace, files=(file,)), tmp_path / str(number)))
    (cause,) = compare(*runs, [checkout]).causes
    assert (cause.name, cause.unlikely) == ("late.py", False)
    assert cause.detail[-2:] == ("-A = 1", "+A = 2")


def test_an_imported_file_that_no_record_holds_is_known_by_its_digest(checkout: Path) -> None:
    trace = collected(checkout)
    one, other = (
        replace(trace, files=(KnownFile("/elsewhere/tools.py", "imported", digit * 64, 9),))
        for digit in "12"
    )
    (cause,) = compare(run_of(one, checkout), run_of(other, checkout), [checkout]).causes
    assert (cause.kind, cause.name) == ("code", "tools.py")


def test_a_file_that_became_a_link_is_named(checkout: Path) -> None:
    first = collected(checkout)
    (checkout / "old.bin").write_bytes(b"other")
    (checkout / "train.py").unlink()
    (checkout / "train.py").symlink_to("old.bin")
    second = collected(checkout)
    found = difference(State(first, checkout), State(second, checkout), [checkout])
    assert {cause.name for cause in found.files} == {"old.bin", "train.py"}


def test_a_changed_file_that_was_not_stored_is_known_by_its_digest(checkout: Path) -> None:
    runs = []
    for number in (1, 2):
        (checkout / "table.csv").write_bytes(b"%d\n" % number)
        runs.append(run_of(collected(checkout), checkout))
    (cause,) = compare(*runs, [checkout]).causes
    assert (cause.kind, cause.name, cause.unlikely) == ("code", "table.csv", True)
    assert "sha256" in cause.first and cause.first != cause.second


# The present tree


def test_a_lock_that_cannot_be_read_is_said_and_costs_nothing_else(
    project: Path, base: RecordedRun
) -> None:
    before = (project / "uv.lock").read_bytes()
    try:
        (project / "uv.lock").write_bytes(b"<<<<<<< mine\n")
        here, notes = present(base, project)
    finally:
        (project / "uv.lock").write_bytes(before)
    assert "The uv.lock of the present tree cannot be read" in notes[0]
    assert [cause.name for cause in compare(base, here, [project]).causes] == ["uv.lock"]


def test_a_run_differs_from_the_tree_by_what_was_edited_since(
    project: Path, base: RecordedRun
) -> None:
    same, notes = present(base, project)
    assert compare(base, same, [project]).causes == () and notes == []
    before = {name: (project / name).read_bytes() for name in ("steps.py", "rocks.csv", "uv.lock")}
    try:
        for name, old in (("steps.py", b"3"), ("rocks.csv", b"4"), ("uv.lock", b"bb")):
            one_byte(project / name, old, b"7" if name != "uv.lock" else b"bc")
        here, notes = present(base, project)
    finally:
        for name, content in before.items():
            (project / name).write_bytes(content)
    causes = as_configuration(compare(base, here, [project])).causes
    assert [cause.name for cause in causes] == ["steps.py", "rocks", "uv.lock"]
    assert causes[1].detail == ("rocks.csv: 8 bytes, 8 bytes",)
    assert notes == []


def test_a_data_file_that_is_not_here_is_said(project: Path, base: RecordedRun) -> None:
    lost = KnownFile("gone.csv", "data", "a" * 64, 9)
    without = replace(base, trace=replace(base.trace, files=(lost,)))
    assert present(without, project)[1] == ["The data file gone.csv is not here."]


def test_a_file_of_the_configuration_is_a_configuration_beside_the_present_tree(
    project: Path, base: RecordedRun
) -> None:
    files = tuple(
        replace(file, kind="configuration") if file.path == "steps.py" else file
        for file in base.trace.files
    )
    run = replace(base, trace=replace(base.trace, files=files))
    one_byte(project / "steps.py", b"3", b"9")
    try:
        here, _ = present(run, project)
    finally:
        one_byte(project / "steps.py", b"9", b"3")
    (cause,) = as_configuration(compare(run, here, [project])).causes
    assert (cause.kind, cause.unlikely) == ("configuration", False)


# What is shown


def shown(first: RecordedRun, second: RecordedRun, root: Path) -> list[str]:
    return list(view.lines(view.Shown(compare(first, second, [root]))))


def scored(run: RecordedRun, rows: int, **values: float) -> RecordedRun:
    data = Data("rocks", "d" * 32, "memory", rows={"test": rows})
    return replace(
        run,
        metrics={name: [(1, 0.5), (2, value)] for name, value in values.items()},
        trace=replace(run.trace, data=data),
    )


def test_results_are_shown_with_their_intervals_and_whether_it_is_more_than_chance(
    project: Path, base: RecordedRun
) -> None:
    text = "\n".join(
        shown(
            scored(base, 10_000, test_accuracy=0.90, test_loss=0.2),
            scored(base, 10_000, test_accuracy=0.92, test_loss=0.2000000001),
            project,
        )
    )
    assert "They part at test_accuracy, step 2: 0.9 -> 0.92 (by 2.0e-02)" in text
    assert "0.9000 [0.8940, 0.9057]" in text and "0.9200 [0.9145, 0.9252]" in text
    assert "larger than chance (unpaired, 10000 and 10000 rows: +0.0121 to +0.0279)" in text
    assert "Nothing differs that the traces hold." in text


@pytest.mark.parametrize(
    ("flipped", "larger", "said"),
    [
        (range(20), True, "20 that A alone has right, 0 that B alone has; McNemar's p = 1.9e-06"),
        ([0, 1, 2, 90, 91], False, "3 that A alone has right, 2 that B alone has; McNemar's p = 1"),
    ],
)
def test_kept_predictions_are_compared_in_pairs(
    base: RecordedRun, tmp_path: Path, flipped: object, larger: bool, said: str
) -> None:
    """The second run is wrong on rows that the first has right; 90 to 99 the first has wrong."""
    runs = []
    for number in (0, 1):
        wrong = {*range(90, 100)} ^ ({*flipped} if number else set())
        predicted = [1 if row in wrong else 0 for row in range(100)]
        folder = tmp_path / str(number) / "predictions"
        folder.mkdir(parents=True)
        (folder / "test.csv").write_text(as_csv([0] * 100, predicted), encoding="utf-8")
        accuracy = 1 - len(wrong) / 100
        runs.append(
            replace(scored(base, 100, test_accuracy=accuracy), files=tmp_path / str(number))
        )
    (outcome,) = outcomes(compare(*runs))
    assert outcome.larger_than_chance is larger
    assert outcome.by == f"paired, 100 rows: {said}"


@pytest.mark.parametrize("spoilt", [0, 1])
@pytest.mark.parametrize(
    "text",
    [
        b"label,predicted\n",
        b"label,predicted\n" + b"\xe9,0\n" * 100,
        b"label,predicted\n" + b"0,0\n" * 89 + b"0,1\n" * 11,
        b"label,predicted\n" + b"0,0\n" * 90,
        b"label,said\n" + b"0,0\n" * 90 + b"0,1\n" * 10,
        b"label,predicted\n" + b"0,0\n" * 90 + b"0,1,1\n" * 10,
        b"label,predicted\n" + b"0," + b"9" * 200_000 + b"\n",
    ],
    ids=["a header", "no UTF-8", "another model", "other rows", "names", "columns", "large"],
)
def test_predictions_that_are_not_those_of_the_accuracy_are_not_compared(
    base: RecordedRun, tmp_path: Path, spoilt: int, text: bytes
) -> None:
    runs = []
    for number, right in enumerate((90, 80)):
        folder = tmp_path / str(number) / "predictions"
        folder.mkdir(parents=True)
        kept = as_csv([0] * 100, [0] * right + [1] * (100 - right)).encode()
        (folder / "test.csv").write_bytes(text if number == spoilt else kept)
        files = tmp_path / str(number)
        runs.append(replace(scored(base, 100, test_accuracy=right / 100), files=files))
    (outcome,) = outcomes(compare(*runs))
    assert outcome.by.startswith("unpaired, 100 and 100 rows")
    kept = as_csv([0] * 100, [0] * (90, 80)[spoilt] + [1] * (10, 20)[spoilt])
    (runs[spoilt].files / "predictions" / "test.csv").write_text(kept, encoding="utf-8")
    (outcome,) = outcomes(compare(*runs))
    assert outcome.by.startswith("paired, 100 rows: 10 that A alone has right, 0 that B")
    errors = [
        replace(run, metrics={"test_error_rate": [(1, (10, 20)[i] / 100)]})
        for i, run in enumerate(runs)
    ]
    assert outcomes(compare(*errors))[0].by.startswith("paired, 100 rows: 10 that A alone")


def everything_differs(base: RecordedRun) -> Comparison:
    """Fifty of everything, with names that no terminal should obey, and values that are long."""
    long = "x" * 300
    trace = replace(
        base.trace,
        config={f"k\x1b[31m{n}é{long if n == 1 else ''}": long for n in range(50)},
        packages=tuple(f"package{n}==1" for n in range(50)),
    )
    metrics = {f"metric_{n}_{'y' * n}": [(1, float("nan")), (2, 1e300)] for n in range(50)}
    weights = {f"{n}/{long}.pt": "w" for n in range(50)}
    other = replace(base, trace=trace, metrics=metrics, weights=weights, name="n\x1b]0;owned")
    return compare(base, other)


def test_all_of_it_fits_on_one_screen_of_80_columns_in_plain_letters(base: RecordedRun) -> None:
    printed = list(view.lines(view.Shown(everything_differs(base))))
    assert len(printed) <= 40
    assert max(map(len, printed)) <= 80
    assert "\x1b" not in "".join(printed)
    assert "".join(printed).replace("é", "").isascii()
    assert sum("more: --json shows all" in line for line in printed) >= 2


@pytest.mark.parametrize("likely", [True, False])
@pytest.mark.parametrize("rows", [0, 400])
@pytest.mark.parametrize("notes", [0, 1, 300])
def test_however_much_differs_it_stays_on_one_screen(
    base: RecordedRun, likely: bool, rows: int, notes: int
) -> None:
    everything = everything_differs(base)
    lines = ("diff --git a/a b/a", *(f"+{'z' * 200}" for _ in range(500)))
    code = [
        Cause("code", f"file{n}.py", "a" * 90, "b" * 90, unlikely=n % 3 == 0, detail=lines)
        for n in range(60)
    ]
    scores = {f"val_acc_{n}": [(0, n / 400), *((0, v + 0.25) for v in range(99))] for n in range(9)}
    data = Data("rocks", "d" * 32, "memory", rows={"val": rows})
    runs = [
        replace(
            run, metrics=run.metrics | values, trace=replace(run.trace, data=data), params=params
        )
        for run, values, params in (
            (everything.first, scores, {f"p{n}": "x" * 500 for n in range(70)}),
            (everything.second, {n: [(0, 0.5)] for n in scores}, {}),
        )
    ]
    found = compare(*runs)
    causes = (*code, *found.causes)
    found = replace(
        found, causes=tuple(c for c in causes if likely or c.unlikely), weights=everything.weights
    )
    said = tuple(f"The data file {'/très loin' * 90} {n} is not here." for n in range(notes))
    printed = list(view.lines(view.Shown(found, notes=said)))
    assert len(printed) <= 40
    assert max(map(len, printed)) <= 80
    assert sum("more: --json shows all" in line for line in printed) >= 2
    assert sum("+zzz" in line for line in printed) >= 2  # the likeliest cause is shown with lines
    assert sum(line.startswith("Note:") for line in printed) == min(notes, 1)
    tree = list(view.lines(view.Shown(found, with_tree=True, notes=said)))
    assert len(tree) <= 40


def test_a_step_with_many_values_and_many_notes_say_how_many_more_there_are(
    base: RecordedRun,
) -> None:
    one, other = (
        replace(base, metrics={"loss": [(0, n + add) for n in range(3000)]}) for add in (0.0, 0.5)
    )
    notes = tuple(f"The data file {n} is not here." for n in range(9))
    printed = list(view.lines(view.Shown(compare(one, other), notes=notes)))
    text = " ".join(" ".join(printed).split())
    assert "0.0, 1.0, 2.0 and 2997 more -> 0.5, 1.5, 2.5 and 2997 more (by 5.0e-01)" in text
    assert printed[-2:] == ["Note: The data file 4 is not here.", "  and 4 more: --json shows all"]


def test_json_holds_all_of_it_and_is_json(base: RecordedRun) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = view.as_json(view.Shown(everything_differs(base)))
    read = json.loads(text, parse_constant=refuse)
    assert len(read["metrics"]) == len(read["weights"]) == 50 and read["differs"]
    assert read["metrics"][0]["second"] == ["nan"]
    configuration = [cause for cause in read["causes"] if cause["kind"] == "configuration"]
    assert len(configuration) == 50 + len(base.trace.config)


def test_equal_runs_are_said_to_be_equal(project: Path, base: RecordedRun) -> None:
    run = scored(base, 10, test_accuracy=0.9)
    printed = shown(run, run, project)
    assert (
        printed[-1] == "The results are the same, bit for bit (2 values of metrics, 0 of weights)."
    )
    assert not view.Shown(compare(run, run)).differs


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({"packages": ("torch==2.9", "rich==1")}, ["torch", "rich"]),
        ({"packages": ("torch==3.0+cpu",), "data": Data("d", "e" * 32, "")}, ["d", "torch"]),
        ({"data": Data("d", "e" * 32, ""), "packages": ("torch==2.9",)}, ["torch", "d"]),
        ({"script": "other.py", "config": {"seed": 9}}, ["seed", "script"]),
        ({"cells": "a = 1", "data": None}, ["cells of the notebook", "data set"]),
        ({"variables": {"OPTUNA_X": "1"}, "command": ("f.py", "-v")}, ["OPTUNA_X", "arguments"]),
        ({"config": {"seed": 1, "experiment": "b"}, "data": None}, ["data set", "experiment"]),
        ({"config": {"seed": 1.0}}, ["seed"]),
        ({"config": {"seed": True}}, ["seed"]),
    ],
)
def test_the_likeliest_cause_stands_first(
    base: RecordedRun, changes: dict, order: list[str]
) -> None:
    plain = replace(
        base.trace,
        config={"seed": 1},
        data=Data("d", "d" * 32, ""),
        packages=("torch==3.0", *(("rich==2",) if len(changes.get("packages", ())) > 1 else ())),
        command=("f.py",),
    )
    one, other = run_of(plain, base.files), run_of(replace(plain, **changes), base.files)
    found = compare(one, other).causes
    assert [cause.name for cause in found] == order


# The command


@pytest.fixture
def in_two_stores(
    checkout: Path,
    mlflow_store: Path,
    store_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, str, Path]:
    """A run in the present store, another one in a second store, and that store."""
    second = tmp_path / "theirs" / "mlflow.db"
    second.parent.mkdir()
    shutil.copy(store_template, second)
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    monkeypatch.chdir(checkout)
    runs = []
    for store, rate in ((mlflow_store, 0.5), (second, 0.25)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
            with start_run({"rate": rate}, FakeDataset(), experiment="rocks") as run:
                mlflow.log_metric("score", rate, step=1)
            runs.append(run.info.run_id)
    return runs[0], runs[1], second


def test_a_run_is_compared_with_one_of_another_store(
    in_two_stores: tuple[str, str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, store = in_two_stores
    command = ["diff", first[:12], second[:12], "--store-b", str(store)]
    assert cli.main(command) == 1
    said = capsys.readouterr().out
    assert re.search(r"configuration  rate +0\.5 -> 0\.25", said)
    assert "They part at score, step 1: 0.5 -> 0.25 (by 2.5e-01)" in said

    assert cli.main(["diff", "latest", "best", "--metric", "score"]) == 0
    assert "The results are the same, bit for bit" in capsys.readouterr().out
    assert os.environ["MLFLOW_TRACKING_URI"].endswith("run störe/mlflow.db")

    assert cli.main(["diff", first, second]) == 2
    assert f"There is no run '{second}'" in capsys.readouterr().err
    assert cli.main(["diff", ".", first]) == 2
    assert "in this order: diff RUN_ID ." in capsys.readouterr().err
