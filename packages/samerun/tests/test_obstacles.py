"""What keeps a run from being repeated is named, and nothing is touched."""

import errno
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from record_fixtures import FakeDataset, git

from samerun.code.known import KnownFile
from samerun.command.repeat import Command
from samerun.machine.description import Environment
from samerun.reproduce import Obstacle, command, data, environment, worktree
from samerun.reproduce.environment import Python, differences
from samerun.reproduce.training import Start
from samerun.trace import Trace, collect

HERE = Python(Path(sys.executable), Path(sys.prefix), "this one")


@pytest.fixture
def trace(checkout: Path) -> Trace:
    """The trace of a run of a clean checkout."""
    seen = collect({"seed": 1}, FakeDataset(), checkout)
    return replace(seen, files=(), repeat=Command(("uv", "run", "train.py", "a=1")))


def stored(folder: Path, patch: bytes = b"") -> Path:
    """Return a folder as that of a trace, with its patch."""
    folder.mkdir(exist_ok=True)
    if patch:
        (folder / "changes.patch").write_bytes(patch)
    return folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# The code


def test_the_code_of_a_commit_is_made_without_a_trace_in_the_clone(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    (checkout / "train.py").write_bytes(b"print('later')\n")
    git(checkout, "commit", "-qam", "second")
    objects = sorted((checkout / ".git").rglob("*"))
    worktree.make(tmp_path / "made", trace, stored(tmp_path / "none"), [checkout])
    assert (tmp_path / "made" / "train.py").read_bytes() == b"print(1)\n"
    assert sorted((checkout / ".git").rglob("*")) == objects
    assert git(tmp_path / "made", "status", "--porcelain") == ""


def test_a_commit_that_is_gone_is_named(trace: Trace, checkout: Path, tmp_path: Path) -> None:
    lost = replace(trace, code=replace(trace.code, commit="0" * 40))
    with pytest.raises(Obstacle, match=r"No clone here has the commit 000000000000.*--unshallow"):
        worktree.make(tmp_path / "made", lost, stored(tmp_path / "none"), [checkout])


def test_a_run_of_another_repository_is_fetched_from_where_it_could_be_got(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    there = replace(trace.code, remote=str(checkout), pushed=True)
    worktree.make(
        tmp_path / "made", replace(trace, code=there), stored(tmp_path / "none"), [other, tmp_path]
    )
    assert (tmp_path / "made" / "old.bin").read_bytes() == bytes(range(256))
    again = collect({}, None, tmp_path / "made").code  # knows as much of its origin as the run
    assert (again.remote, again.pushed) == (str(checkout), True)

    gone = replace(trace.code, remote=str(tmp_path / "no such folder"), pushed=True)
    with pytest.raises(Obstacle, match="does not give it"):
        worktree.make(
            tmp_path / "made 2", replace(trace, code=gone), stored(tmp_path / "none"), [other]
        )


def test_a_shallow_clone_that_has_the_commit_is_enough(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    (checkout / "train.py").write_bytes(b"print('later')\n")
    git(checkout, "commit", "-qam", "second")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", checkout.as_uri(), str(shallow))
    latest = collect({}, None, shallow)
    worktree.make(tmp_path / "made", latest, stored(tmp_path / "none"), [shallow])
    assert (tmp_path / "made" / "train.py").read_bytes() == b"print('later')\n"
    again = collect({}, None, tmp_path / "made")
    assert again.code.commit == latest.code.commit and not again.problems.keys() & {"code"}
    with pytest.raises(Obstacle, match="--unshallow"):  # the run's own commit is not in there
        worktree.make(tmp_path / "made 2", trace, stored(tmp_path / "none"), [shallow])


def test_a_patch_that_does_not_apply_says_where(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    patch = b"diff --git a/train.py b/train.py\n--- a/train.py\n+++ b/train.py\n"
    patch += b"@@ -1 +1 @@\n-print(7)\n+print(8)\n"
    with pytest.raises(Obstacle, match=r"patch of the run does not apply.*train\.py:1"):
        worktree.make(tmp_path / "made", trace, stored(tmp_path / "some", patch), [checkout])


def test_a_disk_that_is_full_is_told_from_a_patch_that_does_not_apply(
    trace: Trace, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    worktree.make(tmp_path / "made", trace, stored(tmp_path / "none"), [checkout])
    broken = stored(tmp_path / "some", b"no patch at all")
    with pytest.raises(OSError) as found:
        worktree.make(tmp_path / "made 2", trace, broken, [checkout])
    assert found.value.errno == errno.ENOSPC


@pytest.mark.parametrize("path", ["../outside.txt", ".git/hooks/post-checkout"])
def test_a_patch_that_leaves_the_folder_is_refused(
    path: str, trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    patch = f"diff --git a/{path} b/{path}\nnew file mode 100755\n--- /dev/null\n"
    patch += f"+++ b/{path}\n@@ -0,0 +1 @@\n+hostile\n"
    with pytest.raises(Obstacle, match="invalid path"):
        worktree.make(
            tmp_path / "a" / "made", trace, stored(tmp_path / "s", patch.encode()), [checkout]
        )
    assert not list(tmp_path.rglob("outside.txt")) and not list(tmp_path.rglob("post-checkout"))


def test_without_git_it_says_so(
    trace: Trace, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Obstacle, match="git is not installed"):
        worktree.make(tmp_path / "made", trace, stored(tmp_path / "none"), [checkout])


def test_a_run_without_git_is_made_from_its_patch(tmp_path: Path) -> None:
    project = tmp_path / "unpacked"
    project.mkdir()
    (project / "pyproject.toml").write_bytes(b"[project]\n")
    (project / "träin.py").write_bytes(b"print(5)\n")
    seen = collect({}, None, project)
    assert seen.code.commit is None
    worktree.make(tmp_path / "made", seen, stored(tmp_path / "some", seen.patch), [project])
    assert (tmp_path / "made" / "träin.py").read_bytes() == b"print(5)\n"


def test_hooks_of_the_user_are_not_called(
    trace: Trace, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "post-checkout").write_text("#!/bin/sh\ntouch called\n")
    (hooks / "post-checkout").chmod(0o755)
    (tmp_path / "config").write_text(f'[core]\nhooksPath = "{hooks.as_posix()}"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    worktree.make(tmp_path / "made", trace, stored(tmp_path / "none"), [checkout])
    assert not (tmp_path / "made" / "called").exists()


def test_files_that_were_not_stored_come_from_a_checkout_that_still_has_them(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    content = b"token = 'hidden'\n"
    reasons = {".env": f"{len(content)} bytes, sha256 {sha256(content)}; a secret in line 1"}
    lacking = replace(trace, code=replace(trace.code, reasons=reasons))
    worktree.make(tmp_path / "made", lacking, stored(tmp_path / "none"), [checkout])
    assert worktree.missing(tmp_path / "made", lacking, [checkout]) == [".env"]
    (checkout / ".env").write_bytes(b"token = 'another'\n")
    assert worktree.missing(tmp_path / "made", lacking, [checkout]) == [".env"]
    (checkout / ".env").write_bytes(content)
    assert worktree.missing(tmp_path / "made", lacking, [checkout]) == []
    assert (tmp_path / "made" / ".env").read_bytes() == content


def test_one_byte_changed_in_the_code_is_found(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    code = KnownFile("train.py", "imported", sha256(b"print(1)\n"), 9, "commit")
    worktree.make(tmp_path / "made", trace, stored(tmp_path / "none"), [checkout])
    assert worktree.missing(tmp_path / "made", replace(trace, files=(code,)), []) == []
    (tmp_path / "made" / "train.py").write_bytes(
        b"print(1)\r\n"
    )  # another end of line is no change
    assert worktree.missing(tmp_path / "made", replace(trace, files=(code,)), []) == []
    (tmp_path / "made" / "train.py").write_bytes(b"print(2)\n")
    assert worktree.missing(tmp_path / "made", replace(trace, files=(code,)), []) == ["train.py"]


def test_the_run_of_another_user_is_made_from_the_clone_that_is_theirs(
    trace: Trace, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # of git's own tests
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(checkout, "status")
    assert b"dubious ownership" in refused.value.stderr
    lines = (checkout / "train.py").read_bytes() + b"print(2)\n"
    (checkout / "train.py").write_bytes(lines)
    seen = collect({}, None, checkout)
    assert seen.code.changed and not seen.problems
    worktree.make(tmp_path / "made", seen, stored(tmp_path / "s", seen.patch), [checkout])
    assert (tmp_path / "made" / "train.py").read_bytes() == lines


def test_what_was_imported_later_lies_where_it_was_imported_from(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    folder = stored(tmp_path / "some")
    for path, content in {"train.py": b"print(2)\n", "lazy/part.py": b"PART = 1\n"}.items():
        (folder / "later" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "later" / path).write_bytes(content)
    files = (
        KnownFile("train.py", "imported", sha256(b"print(1)\n"), 9, "commit"),
        KnownFile("train.py", "imported later", sha256(b"print(2)\n"), 9, "later"),
        KnownFile("lazy/part.py", "imported later", sha256(b"PART = 1\n"), 9, "later"),
    )
    worktree.make(tmp_path / "made", replace(trace, files=files), folder, [checkout])
    assert (tmp_path / "made" / "lazy" / "part.py").read_bytes() == b"PART = 1\n"
    assert (tmp_path / "made" / "train.py").read_bytes() == b"print(1)\n"  # as it began


# The data


@functools.cache
def digest_of_zeros(size: int) -> str:
    """Return the digest of a large file of zeros, which lies on a disk without taking room."""
    digest = hashlib.sha256()
    for _ in range(size // 2**20):
        digest.update(bytes(2**20))
    return digest.hexdigest()


def data_file(path: str, content: bytes) -> KnownFile:
    return KnownFile(path, "data", sha256(content), len(content))


@pytest.mark.parametrize("now", [b"1,2\n1,3\n", b"1,2\n"])
def test_data_that_changed_is_named(now: bytes, trace: Trace, tmp_path: Path) -> None:
    there, tree = tmp_path / "my dätä", tmp_path / "made"
    there.mkdir()
    (there / "table.csv").write_bytes(now)
    for path in ("table.csv", str(there / "table.csv")):
        named = replace(trace, files=(data_file(path, b"1,2\n1,4\n"),))
        with pytest.raises(Obstacle, match=r"data has changed: .*table\.csv"):
            data.bring(tree, named, [there])


def test_data_is_copied_however_large_and_the_original_stays_what_it_was(
    trace: Trace, tmp_path: Path
) -> None:
    there, tree = tmp_path / "there", tmp_path / "made"
    (there / "data").mkdir(parents=True)
    sparse = 300 * 2**20
    with (there / "data" / "large.bin").open("wb") as file:
        file.truncate(sparse)
    (there / "data" / "a.csv").write_bytes(b"1\n")
    large = KnownFile("data/large.bin", "data", digest_of_zeros(sparse), sparse)
    named = replace(trace, files=(data_file("data/a.csv", b"1\n"), large))
    said = data.bring(tree, named, [tmp_path / "nowhere", there])
    assert said.endswith(", 2 files copied")
    for name in ("a.csv", "large.bin"):
        before = (there / "data" / name).stat().st_size
        with (tree / "data" / name).open("wb") as file:
            file.write(b"2")
        assert (there / "data" / name).stat().st_size == before


def test_one_byte_changed_in_a_large_file_is_found(trace: Trace, tmp_path: Path) -> None:
    there, sparse = tmp_path / "there", 300 * 2**20
    there.mkdir()
    with (there / "large.bin").open("wb") as file:
        file.truncate(sparse)
        file.seek(sparse - 1)
        file.write(b"1")
    large = KnownFile("large.bin", "data", digest_of_zeros(sparse), sparse)
    with pytest.raises(Obstacle, match=r"data has changed: .*large\.bin has the SHA-256"):
        data.bring(tmp_path / "made", replace(trace, files=(large,)), [there])


def test_a_disk_without_room_for_the_data_is_named_before_anything_is_copied(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, there = tmp_path / "made", tmp_path / "there"
    there.mkdir()
    for name in ("a.csv", "b.csv"):
        (there / name).write_bytes(b"1,2\n")
    named = replace(trace, files=(data_file("a.csv", b"1,2\n"), data_file("b.csv", b"1,2\n")))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7))
    with pytest.raises(Obstacle, match=r"take 0\.0 MB, .* 0\.0 MB left.* SAMERUN_CACHE=FOLDER"):
        data.bring(tree, named, [there])
    assert not tree.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=8))
    data.bring(tree, named, [there])


@pytest.mark.parametrize(
    ("size", "said"), [(10**8 - 1, "100.0 MB"), (10**8, "0.1 GB"), (50 * 10**9, "50.0 GB")]
)
def test_the_room_that_data_need_is_said_in_readable_units(
    size: int, said: str, trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large.bin").touch()
    large = KnownFile("large.bin", "data", "0" * 64, size)
    monkeypatch.setattr(data, "_changed", lambda path, file: "")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size - 1))
    with pytest.raises(Obstacle, match=f"take {said}, "):
        data.bring(tmp_path / "made", replace(trace, files=(large,)), [tmp_path])


def test_data_is_taken_from_the_clone_that_has_it_as_it_was(trace: Trace, tmp_path: Path) -> None:
    tree = tmp_path / "made"
    for place, content in {tree: b"lfs", tmp_path / "a": b"2\n", tmp_path / "b": b"1\n"}.items():
        place.mkdir()
        (place / "a.csv").write_bytes(content)
    named = replace(trace, files=(data_file("a.csv", b"1\n"),))
    assert data.bring(tree, named, [tmp_path / "a", tmp_path / "b"]).endswith(", 1 file copied")
    assert (tree / "a.csv").read_bytes() == b"1\n"
    with pytest.raises(Obstacle, match=r"data has changed: .*made.*a\.csv has 1 bytes, had 2"):
        (tree / "a.csv").write_bytes(b"l")
        data.bring(tree, named, [tmp_path / "a"])


def test_data_that_another_user_does_not_let_read_is_named(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "a.csv").write_bytes(b"1\n")
    monkeypatch.setattr(data, "read", refused)
    for path in ("a.csv", str(tmp_path / "a.csv")):
        with pytest.raises(Obstacle, match=r"cannot be read: .*a\.csv: Permission denied\."):
            data.bring(
                tmp_path / "made", replace(trace, files=(data_file(path, b"1\n"),)), [tmp_path]
            )


def test_data_that_cannot_be_looked_at_is_named(trace: Trace, tmp_path: Path) -> None:
    path = str(tmp_path / ("long" * 80))  # longer than a name may be
    named = replace(trace, files=(data_file(path, b"1\n"),))
    with pytest.raises(Obstacle, match="data cannot be read"):
        data.bring(tmp_path / "made", named, [])


def test_data_is_counted_by_what_became_of_it(trace: Trace, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for path in (tmp_path / "made" / "committed.csv", tmp_path / "b.csv"):
        path.write_bytes(b"1\n")
    gone = str(tmp_path / "no" / "such" / "c.csv")
    paths = ("committed.csv", str(tmp_path / "b.csv"), gone, "none.csv")
    files = [data_file(path, b"1\n") for path in paths]
    code = KnownFile("train.py", "imported", "0" * 64, 1)
    assert trace.data
    name = f"{trace.data.name}, {trace.data.digest[:16]}"
    found = replace(trace, files=(*files, code))
    assert data.bring(tmp_path / "made", found, [tmp_path]) == (
        f"{name}, 1 file read where it lies, 2 files not found"
    )
    assert data.bring(tmp_path / "made", replace(trace, files=()), []) == name
    nothing = replace(trace, files=(), data=None)
    assert data.bring(tmp_path / "made", nothing, []) == "the run named none"


def test_data_outside_of_the_folder_is_refused(trace: Trace, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1\n")
    named = replace(trace, files=(data_file("../a.csv", b"1\n"),))
    with pytest.raises(Obstacle, match="outside of its project"):
        data.bring(tmp_path / "made", named, [tmp_path / "there"])


# The command


def started(trace: Trace, tree: Path) -> Start:
    tree.mkdir(exist_ok=True)
    return command.start(trace, tree, HERE, tree / "mlflow.db", ("a" * 32, "b" * 32))


def test_a_masked_secret_is_named(trace: Trace, tmp_path: Path) -> None:
    masked = replace(trace, repeat=Command(("uv", "run", "train.py", "api_key=***", "seed=1")))
    with pytest.raises(Obstacle, match=r"secrets, which no record keeps: api_key=\*\*\*\. "):
        started(masked, tmp_path / "made")


def test_a_run_without_a_command_says_why(trace: Trace, tmp_path: Path) -> None:
    noted = Command((), ".", ("It ran in a notebook. To repeat it, run that.",))
    with pytest.raises(Obstacle, match="It ran in a notebook"):
        started(replace(trace, repeat=noted), tmp_path / "made")
    with pytest.raises(Obstacle, match="holds no command"):
        started(replace(trace, repeat=None), tmp_path / "made")


def test_a_folder_outside_of_the_project_is_refused(trace: Trace, tmp_path: Path) -> None:
    away = replace(trace, repeat=Command(("uv", "run", "train.py"), "../.."))
    (tmp_path / "a").mkdir()
    with pytest.raises(Obstacle, match="outside of its project"):
        started(away, tmp_path / "a" / "made")


def test_a_command_that_is_not_installed_is_named(trace: Trace, tmp_path: Path) -> None:
    other = replace(trace, repeat=Command(("uv", "run", "no-such-command", "x")))
    with pytest.raises(Obstacle, match="no command no-such-command"):
        started(other, tmp_path / "made")


def test_variables_are_those_of_the_run_and_no_others(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trace.machine
    for name, value in {
        "OMP_NUM_THREADS": "7",
        "MKL_CBWR": "AVX2",
        "HYDRA_FULL_ERROR": "1",
        "MLFLOW_TRACKING_URI": "http://example.org",
        "MLFLOW_RUN_ID": "abc",
        "PYTHONPATH": "/present/checkout",
        "SAMERUN_ROOT": "/present/checkout",
        "SLURM_JOB_ID": "12",
        "MY_DATA_DIR": "/data",
    }.items():
        monkeypatch.setenv(name, value)
    then = {"MKL_CBWR": "COMPATIBLE", "PYTHONHASHSEED": "3", "SLURM_JOB_ID": "99"}
    of_old = replace(trace.machine, variables=then)
    variables = {"OPTUNA_STORAGE": "", "HYDRA_X": "2", "MLFLOW_TRACKING_URI": "sqlite:///old.db"}
    known = replace(trace, machine=of_old, variables=variables, paths=(".",))
    found = started(known, tmp_path / "made").variables
    assert found["MKL_CBWR"] == "COMPATIBLE" and found["PYTHONHASHSEED"] == "3"
    assert found["HYDRA_X"] == "2" and found["MY_DATA_DIR"] == "/data"
    assert found["PYTHONPATH"] == str(tmp_path / "made")
    assert found["SAMERUN_REPEATS"] == "a" * 32
    absent = {"OMP_NUM_THREADS", "HYDRA_FULL_ERROR", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"}
    assert not found.keys() & (absent | {"SAMERUN_ROOT", "SLURM_JOB_ID", "OPTUNA_STORAGE"})


def test_a_run_starts_in_its_folder_though_git_holds_no_such_folder(
    trace: Trace, tmp_path: Path
) -> None:
    deep = replace(trace, repeat=Command(("uv", "run", "train.py"), "notes/of today"))
    found = started(deep, tmp_path / "made").folder
    assert found == tmp_path / "made" / "notes" / "of today" and found.is_dir()
    assert started(deep, tmp_path / "made").folder == found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("uv", "run", "train.py", "a=1"), ("train.py", "a=1")),
        (("train.py",), ("train.py",)),
        (("uv", "run", "python", "-m", "shapes"), ("-m", "shapes")),
    ],
)
def test_the_program_is_the_python_of_the_chosen_environment(
    words: tuple[str, ...], expected: tuple[str, ...], trace: Trace, tmp_path: Path
) -> None:
    python = Python(tmp_path / "bin" / "python3.9", tmp_path, "another")
    typed = replace(trace, repeat=Command(words))
    found = command.start(typed, tmp_path, python, tmp_path / "mlflow.db", ("a" * 32, None))
    assert found.words == (str(python.executable), *expected)


def test_an_installed_command_is_that_of_the_chosen_environment(
    trace: Trace, tmp_path: Path
) -> None:
    name = "train.exe" if os.name == "nt" else "train"
    (tmp_path / name).touch(mode=0o755)
    python = Python(tmp_path / "python", tmp_path, "another")
    typed = replace(trace, repeat=Command(("uv", "run", "train", "a=1")))
    found = command.start(typed, tmp_path, python, tmp_path / "mlflow.db", ("a" * 32, None))
    assert Path(found.words[0]) == tmp_path / name and found.words[1:] == ("a=1",)


def test_the_variables_lead_to_the_chosen_environment_and_to_a_store_of_its_own(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/present/environment")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("PYTHONHOME", "/present/python")
    assert trace.machine
    then = {"CUDA_VISIBLE_DEVICES": "0,1", "LD_PRELOAD": "/theirs.so", "SLURM_ARRAY_TASK_ID": "4"}
    known = replace(trace, machine=replace(trace.machine, variables=then))
    (tmp_path / "made").mkdir()
    python = Python(tmp_path / "bin" / "python", tmp_path, "another")

    def variables(store: Path) -> dict[str, str]:
        renamed = ("a" * 32, None)
        return command.start(known, tmp_path / "made", python, store, renamed).variables

    found = variables(tmp_path / "made" / "mlflow.db")
    assert found["PATH"] == os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    assert found["CUDA_VISIBLE_DEVICES"] == "1" and found["PYTHONIOENCODING"] == "utf-8"
    absent = {"VIRTUAL_ENV", "PYTHONHOME", "MLFLOW_TRACKING_URI", "SLURM_ARRAY_TASK_ID"}
    assert not found.keys() & absent and found.get("LD_PRELOAD") == os.environ.get("LD_PRELOAD")
    (tmp_path / "pyvenv.cfg").touch()
    found = variables(tmp_path / "mlflow.db")
    assert found["VIRTUAL_ENV"] == str(tmp_path)
    assert found["MLFLOW_TRACKING_URI"] == f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"


def test_as_many_threads_compute_as_there_were_cores(trace: Trace, tmp_path: Path) -> None:
    assert trace.machine
    larger = replace(trace.machine, usable_cores=trace.machine.usable_cores + 3, variables={})
    found = started(replace(trace, machine=larger), tmp_path / "made").variables
    assert found["OMP_NUM_THREADS"] == str(larger.usable_cores)
    assert found["OPENBLAS_NUM_THREADS"] == str(larger.usable_cores)
    set_then = replace(larger, variables={"OMP_NUM_THREADS": "2"})
    found = started(replace(trace, machine=set_then), tmp_path / "made").variables
    assert found["OMP_NUM_THREADS"] == "2"
    same = replace(trace.machine, variables={})
    assert "OMP_NUM_THREADS" not in started(replace(trace, machine=same), tmp_path / "m").variables


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("run_id=" + "a" * 8, "run_id=" + "b" * 32),
        ("a" * 32, "b" * 32),
        ("run_id=latest", "run_id=latest"),
        ("x=aaa", "x=aaa"),  # too short to be meant
        ("run_id=" + "a" * 8 + "c", "run_id=" + "a" * 8 + "c"),
    ],
)
def test_what_was_added_to_the_run_is_added_to_the_repetition(
    word: str, expected: str, trace: Trace, tmp_path: Path
) -> None:
    added = replace(trace, repeat=Command(("uv", "run", "evaluate.py", word)))
    assert started(added, tmp_path / "made").words[-1] == expected


@pytest.mark.parametrize("word", ["2026", "seed=2026"])
def test_a_number_that_looks_like_the_id_of_the_run_stays_as_it_was_typed(
    word: str, trace: Trace, tmp_path: Path
) -> None:
    seeded = replace(trace, repeat=Command(("uv", "run", "train.py", word)))
    first = command.start(seeded, tmp_path, HERE, tmp_path / "a.db", ("2026" + "a" * 28, None))
    assert first.words[-1] == word


def test_an_older_trace_imports_from_where_its_packages_begin(trace: Trace, tmp_path: Path) -> None:
    tree = tmp_path / "made"
    for package in ("src/pack/deep", "src/pack", "tool"):
        (tree / package).mkdir(parents=True, exist_ok=True)
        (tree / package / "__init__.py").touch()
    paths = ("src/pack/deep/a.py", "src/pack/b.py", "tool/c.py", "part/train.py")
    files = tuple(KnownFile(path, "imported", "0" * 64, 1) for path in paths)
    old = replace(trace, paths=(), files=files)
    assert command.import_roots(old, tree) == [".", "part", "src"]


# The environment


def test_only_what_the_run_had_and_is_not_here_is_a_difference() -> None:
    then = {"numpy": "2.1", "torch": "2.0", "mine": "0.1", "ruff": "1"}
    now = {"numpy": "2.1", "torch": "2.1", "mine": "0.2", "extra": "3"}
    assert differences(then, now, {"mine"}) == {"torch": ("2.0", "2.1"), "ruff": ("1", None)}


def test_this_environment_is_taken_if_it_has_the_same_packages(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    chosen = environment.choose(trace, checkout, tmp_path / "python", [])
    assert chosen.executable == Path(sys.executable)
    assert not (tmp_path / "python").exists()


def test_a_lock_that_is_not_the_recorded_one_is_refused(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    other = replace(trace, environment=Environment(python="CPython 3.11.0", lock="0" * 64))
    with pytest.raises(Obstacle, match="not the one that the run recorded"):
        environment.choose(other, checkout, tmp_path / "python", [])


def test_without_uv_another_environment_cannot_be_had(
    trace: Trace, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_alone = tmp_path / "bin"
    git_alone.mkdir()
    (git_alone / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(git_alone))
    monkeypatch.delenv("UV", raising=False)
    other = replace(trace, packages=("mlflow==1.0",))
    with pytest.raises(Obstacle, match=r"another environment \(mlflow 1\.0 \(here .*no uv"):
        environment.choose(other, checkout, tmp_path / "python", [])


def test_what_uv_says_is_passed_on(
    trace: Trace, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho 'No interpreter found for 3.11.99' >&2\nexit 2\n")
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))
    other = replace(trace, packages=("mlflow==1.0",))
    with pytest.raises(Obstacle, match=r"No interpreter found for 3\.11\.99"):
        environment.choose(other, checkout, tmp_path / "python", [])


def test_another_python_is_another_environment_though_the_packages_are_the_same(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    assert trace.environment
    older = replace(trace.environment, python="CPython 3.9.1")
    with pytest.raises(Obstacle, match=r"had another environment \(Python 3\.9\.1\)"):
        environment.choose(
            replace(trace, environment=older), checkout, tmp_path / "python", [], build=False
        )


def test_a_package_of_another_platform_is_no_reason_for_another_environment(
    trace: Trace, checkout: Path, tmp_path: Path
) -> None:
    other = replace(trace, packages=(*trace.packages, "pywin32==311"))
    chosen = environment.choose(other, checkout, tmp_path / "python", [checkout])
    assert chosen.executable == Path(sys.executable)
