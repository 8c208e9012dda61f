"""Another environment is built where the run had one, and what cannot be had is named."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from record_fixtures import FakeDataset, forked, git, is_gone, killed, needs_fork

from samerun.reproduce import Obstacle, environment, leftovers
from samerun.reproduce.environment import Python
from samerun.trace import Trace, collect

PROJECT = """\
[project]
name = "tiny-lines"
version = "1"
requires-python = ">=3.11"
dependencies = ["tiny", "of-elsewhere; sys_platform == '{elsewhere}'"]

[tool.uv]
package = false

[[tool.uv.index]]
url = "{index}"
format = "flat"
default = true
"""
# Another platform than this one, and how a wheel names it.
ELSEWHERE, TAG = ("linux", "manylinux2014_x86_64") if os.name == "nt" else ("win32", "win_amd64")
UV = shutil.which("uv")
needs_uv = pytest.mark.skipif(UV is None, reason="uv is not installed")
needs_sh = pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a shell script")


def wheel(folder: Path, name: str, version: str, platform: str = "any") -> None:
    """Write a package of one module, which holds its version."""
    module = name.replace("-", "_")
    about = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-{platform}\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-{platform}.whl", "w") as file:
        for path, content in {**files, f"{about}/RECORD": record}.items():
            file.writestr(path, content)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in place of an index."""
    folder = tmp_path_factory.mktemp("index")
    for version in ("1", "2"):
        wheel(folder, "tiny", version)
    wheel(folder, "by-hand", "3")
    wheel(folder, "of-elsewhere", "4", TAG)
    return folder


@pytest.fixture
def tree(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code of a run that had tiny 1, locked from an index that is a folder. Nothing is asked
    of a network."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    root = tmp_path / "möde" / "project"
    root.mkdir(parents=True)
    project = PROJECT.format(index=index.as_posix(), elsewhere=ELSEWHERE)
    (root / "pyproject.toml").write_text(project, encoding="utf-8")
    git(root, "init", "-q")
    return root


def lock(tree: Path, *words: str) -> None:
    assert UV
    command = [UV, "lock", "-q", "--python", sys.executable, *words]
    subprocess.run(command, cwd=tree, check=True)


def run_of(tree: Path, *packages: str) -> Trace:
    """The trace of a run in this tree, with these packages."""
    return replace(collect({}, FakeDataset(), tree), packages=packages)


def build(trace: Trace, tree: Path) -> Python:
    return environment.choose(trace, tree, tree.with_name("project-python"), [])


def versions(python: Python, *modules: str) -> str:
    code = "".join(f"import {name}; print({name}.VERSION)\n" for name in modules)
    asked = [str(python.executable), "-I", "-c", code]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


# Whether another one is needed


def refused(trace: Trace, tree: Path, clones: Sequence[Path] = ()) -> str:
    """Return why the present environment will not do; "" if it will."""
    try:
        environment.choose(trace, tree, tree.with_name("none"), clones, build=False)
    except Obstacle as obstacle:
        return str(obstacle)
    return ""


def test_what_is_not_installed_here_is_no_difference_only_where_the_lock_is_the_same(
    checkout: Path, tmp_path: Path
) -> None:
    broken, none = tmp_path / "broken", tmp_path / "none at all"
    broken.mkdir()
    (broken / "uv.lock").write_bytes(b"<<<<<<< HEAD\n")
    trace = run_of(checkout, "pywin32==311")
    assert "pywin32 311 (not installed here)" in refused(trace, checkout, [broken, none])
    assert not refused(trace, checkout, [broken, none, checkout])
    both = run_of(checkout, "pywin32==311", "mlflow==1.0")
    assert "mlflow 1.0 (here " in refused(both, checkout, [checkout])


def test_the_packages_of_the_project_itself_are_no_difference(checkout: Path) -> None:
    trace = run_of(checkout, "my-tool==0.1", "mine==1")
    assert "my-tool 0.1" in refused(trace, checkout)
    for folder, text in {
        "a": "[",
        "b": "[project]\nname = 1\n",
        "c": '[project]\nname = "My_Tool"\n',
        "d": '[project]\nname = "mine"\n',
    }.items():
        (checkout / folder).mkdir()
        (checkout / folder / "pyproject.toml").write_text(text)
    git(checkout, "add", "d")
    assert not refused(trace, checkout)


def test_many_differences_are_counted(checkout: Path) -> None:
    trace = run_of(checkout, *(f"package-{number}==1" for number in range(5)))
    three = ", ".join(f"package-{number} 1 (not installed here)" for number in range(3))
    assert f"another environment ({three}, 2 more)." in refused(trace, checkout)
    assert f"another environment ({three})." in refused(
        run_of(checkout, *trace.packages[:3]), checkout
    )


def test_a_lock_that_is_none_is_named(checkout: Path) -> None:
    trace = run_of(checkout, "mlflow==1.0")
    (checkout / "uv.lock").write_bytes(b"<<<<<<< HEAD\n")
    assert refused(trace, checkout).startswith("The uv.lock of the run cannot be read: ")
    (checkout / "uv.lock").unlink()  # git ignored it: then the list of packages has to do
    assert "another environment (mlflow 1.0 " in refused(trace, checkout)


# With uv


@needs_uv
def test_another_environment_is_built_from_the_lock_and_its_python_is_taken(tree: Path) -> None:
    lock(tree, "--upgrade-package", "tiny==1")
    before = (tree / "uv.lock").read_bytes()
    python = build(run_of(tree, "tiny==1"), tree)
    assert python.prefix == tree.with_name("project-python")
    assert python.executable.is_relative_to(python.prefix) and python.scripts.is_dir()
    assert python.chosen == "built from the recorded lock, which has tiny 1 (not installed here)"
    assert versions(python, "tiny") == "1" and not python.lacking
    assert (tree / "uv.lock").read_bytes() == before
    assert not (tree / ".venv").exists()


@needs_uv
def test_what_the_run_had_beside_its_lock_is_installed_too(tree: Path) -> None:
    lock(tree, "--upgrade-package", "tiny==1")
    python = build(run_of(tree, "tiny==2", "by-hand==3"), tree)
    assert versions(python, "tiny", "by_hand").split() == ["2", "3"]


@needs_uv
def test_a_package_of_another_platform_is_named_and_keeps_no_other_away(tree: Path) -> None:
    lock(tree, "--upgrade-package", "tiny==1")
    python = build(run_of(tree, "tiny==1", "of-elsewhere==4", "by-hand==3"), tree)
    assert python.lacking == ("of-elsewhere 4",)
    assert versions(python, "tiny", "by_hand").split() == ["1", "3"]


@needs_uv
def test_a_version_that_cannot_be_had_is_named(tree: Path) -> None:
    lock(tree)
    with pytest.raises(Obstacle, match=r"cannot be installed here: tiny 7 \(here 2\)\. uv pip: "):
        build(run_of(tree, "tiny==7"), tree)


@needs_uv
def test_a_run_without_a_lock_has_its_packages_or_the_lacking_one_is_named(tree: Path) -> None:
    python = build(run_of(tree, "tiny==1"), tree)
    assert python.chosen.startswith("built from the recorded list of packages, which has tiny 1 ")
    assert versions(python, "tiny") == "1"
    shutil.rmtree(python.prefix)
    with pytest.raises(Obstacle, match=r"here: of-elsewhere 4 \(not installed here\)\. uv"):
        build(run_of(tree, "tiny==1", "of-elsewhere==4"), tree)


@needs_uv
def test_a_lock_for_other_platforms_is_named(tree: Path) -> None:
    lock(tree)
    trace = run_of(tree, "tiny==2")
    project = (tree / "pyproject.toml").read_text()
    elsewhere = "environments = [\"sys_platform == 'emscripten'\"]\n"
    project = project.replace("package = false\n", f"package = false\n{elsewhere}")
    (tree / "pyproject.toml").write_text(project)
    lock(tree)
    trace = run_of(tree, "tiny==2")
    with pytest.raises(Obstacle, match=r"lock cannot be installed here: uv sync: .*platform"):
        build(trace, tree)


@needs_uv
def test_a_locked_package_that_is_gone_is_named(tree: Path, index: Path) -> None:
    lock(tree)
    trace = run_of(tree, "tiny==2")
    hidden = [(path, path.with_suffix(".gone")) for path in index.glob("tiny-2*.whl")]
    for path, away in hidden:
        path.rename(away)
    try:
        with pytest.raises(Obstacle, match=r"lock cannot be installed here: uv sync: .*tiny"):
            build(trace, tree)
    finally:
        for path, away in hidden:
            away.rename(path)


@needs_uv
def test_a_lock_that_does_not_fit_the_project_is_not_changed_unsaid(tree: Path) -> None:
    lock(tree, "--upgrade-package", "tiny==1")
    project = (tree / "pyproject.toml").read_text().replace('"tiny"', '"tiny>1"')
    (tree / "pyproject.toml").write_text(project)
    with pytest.raises(Obstacle, match="uv would change the recorded lock"):
        build(run_of(tree, "tiny==1"), tree)


# With a stand-in for uv


def stand_in(folder: Path, script: str) -> str:
    """Write a program in place of uv, and return its path."""
    folder.mkdir(exist_ok=True)
    uv = folder / "uv"
    uv.write_text(f"#!/bin/sh\n{script}\n")
    uv.chmod(0o755)
    return str(uv)


FAILING = [
    ("echo 'no route to the index' >&2\nexit 2", "uv sync: no route to the index"),
    ("kill -9 $$", "uv sync: exit status 137"),
    ("exit 3", "uv sync: exit status 3"),
]


@needs_sh
@pytest.mark.parametrize(("fails", "said"), FAILING)
def test_uv_that_fails_in_the_middle_is_not_verified_and_says_why(
    fails: str, said: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'test "$1" = venv && mkdir -p "$5" && exit 0\n{fails}'
    monkeypatch.setenv("UV", stand_in(tmp_path / "bin", script))
    made = tmp_path / "made"
    trace = run_of(checkout, "mlflow==1.0")
    with pytest.raises(Obstacle, match=f"lock cannot be installed here: {said}$"):
        environment.choose(trace, checkout, made, [])
    assert made.is_dir()  # half built; it goes with the folder of the repetition


@needs_sh
@pytest.mark.parametrize("number", [28, 112])  # of Unix, and of Windows
def test_a_disk_that_uv_fills_is_no_fault_of_the_run(
    number: int, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = f"echo 'error: failed to write\n  Caused by: there is no space (os error {number})' >&2"
    monkeypatch.setenv("UV", stand_in(tmp_path / "bin", f"{full}\nexit 2"))
    with pytest.raises(OSError, match="No space left"):
        environment.choose(run_of(checkout, "mlflow==1.0"), checkout, tmp_path / "made", [])


@needs_sh
def test_the_variables_of_this_environment_do_not_reach_uv(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "here")
    monkeypatch.setenv("PYTHONPATH", "here")
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", "here")
    said = 'echo "$VIRTUAL_ENV, $PYTHONPATH, $UV_PROJECT_ENVIRONMENT, $*"; test "$1" = venv'
    monkeypatch.setenv("UV", stand_in(tmp_path / "bin", said))
    with pytest.raises(Obstacle) as found:
        environment.choose(run_of(checkout, "mlflow==1.0"), checkout, tmp_path / "made", [])
    python = tmp_path / "made" / "bin" / "python"
    wanted = f": , , {tmp_path / 'made'}, sync --python {python} --quiet --no-progress"
    assert str(found.value).endswith(wanted)


@needs_sh
def test_a_lock_that_uv_writes_in_other_words_is_as_the_run_had_it(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = 'mkdir -p "$5/lib/site-packages"'
    script = f'test "$1" = venv && {site}\ntest "$1" = sync && echo "# by uv" >> uv.lock\nexit 0'
    monkeypatch.setenv("UV", stand_in(tmp_path / "bin", script))
    before = (checkout / "uv.lock").read_bytes()
    trace = run_of(checkout, "mlflow==1.0")
    python = environment.choose(trace, checkout, tmp_path / "made", [])
    assert python.prefix == tmp_path / "made"
    assert (checkout / "uv.lock").read_bytes() == before


@needs_sh
def test_a_variable_that_names_no_program_is_no_uv(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV", str(tmp_path / "gone" / "uv"))
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    stand_in(tmp_path / "bin", "echo 'that of the path'; exit 1")
    with pytest.raises(Obstacle, match="that of the path"):
        environment.choose(run_of(checkout, "mlflow==1.0"), checkout, tmp_path / "made", [])


@needs_sh
def test_uv_that_takes_too_long_is_ended(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    monkeypatch.setattr(environment, "SECONDS", 2)
    script = f'echo $$ > "{begun}.new"; mv "{begun}.new" "{begun}"\nsleep 60'
    monkeypatch.setenv("UV", stand_in(tmp_path / "bin", script))
    with pytest.raises(Obstacle, match=r"can be made: uv venv took more than 2 s"):
        environment.choose(run_of(checkout, "mlflow==1.0"), checkout, tmp_path / "made", [])
    assert not begun.exists() or is_gone(int(begun.read_text()))


@needs_sh
@needs_fork
def test_uv_ends_with_a_repetition_that_is_killed_and_its_half_is_never_taken(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(leftovers.PLACE, str(tmp_path / "cache"))
    begun = tmp_path / "begun"
    half = f'mkdir -p "$5/lib/site-packages"; echo $$ > "{begun}.new"; mv "{begun}.new" "{begun}"'
    monkeypatch.setenv("UV", stand_in(tmp_path / "bin", f"{half}\nsleep 60"))
    trace = run_of(checkout, "mlflow==1.0")

    def work(say: Callable[[bytes], object]) -> None:
        with leftovers.private_folder("run") as folder:
            say(os.fsencode(folder))
            environment.choose(trace, checkout, folder / "project-python", [])

    pid, folder = forked(work)
    give_up = time.monotonic() + 120
    while not begun.exists():
        assert time.monotonic() < give_up, "uv was not started"
        time.sleep(0.02)
    killed(pid)
    assert is_gone(int(begun.read_text()))
    left = Path(os.fsdecode(folder))
    assert (left / "project-python" / "lib").is_dir()
    with leftovers.private_folder("run") as another:
        assert another != left
        assert leftovers.remove_leftovers() == [left]
    assert not list(leftovers.place().iterdir())
