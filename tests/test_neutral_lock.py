"""What git says of uv.lock after uv has filled addresses into it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from record_fixtures import git

from samerun import lock
from workshop import cli, errors, neutral_lock

# Not a real address: the tests never ask anybody for anything.
FILLED = """\
version = 1
revision = 5
requires-python = ">=3.11"

[[package]]
name = "idna"
version = "3.20"
source = { registry = "https://index.invalid/simple" }
sdist = { url = "https://files.invalid/ab/idna-3.20.tar.gz", hash = "sha256:aa", size = 12 }

[[package]]
name = "the-project"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "idna", marker = "sys_platform == 'linux'" },
]

[package.metadata]
requires-dist = [{ name = "idna", marker = "sys_platform == 'linux'" }]
"""


def fill(root: Path, version: str = "3.20") -> None:
    (root / "uv.lock").write_bytes(FILLED.replace("3.20", version).encode())


def commit_lock(root: Path, version: str) -> None:
    (root / "uv.lock").write_bytes(lock.neutral(FILLED.replace("3.20", version)).encode())
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", f"idna {version}")


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    root = tmp_path / "upstream"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    shutil.copy(neutral_lock.ROOT / ".gitattributes", root)
    script = root / neutral_lock.SCRIPT
    script.parent.mkdir(parents=True)
    shutil.copy(lock.__file__, script)
    (root / ".gitignore").write_text(".venv/\n", encoding="utf-8")
    (root / "train.py").write_text("print(1)\n", encoding="utf-8")
    commit_lock(root, "3.20")
    return root


@pytest.fixture
def clone(upstream: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(upstream), "my clöne")
    return tmp_path / "my clöne"


def status(root: Path) -> str:
    """Return git's status; that it complains of nothing is part of every test."""
    command = ["git", "status", "--porcelain"]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, encoding="utf-8")
    assert done.stderr == ""
    return done.stdout


def test_a_lock_with_addresses_is_not_modified(clone: Path, capsys) -> None:
    fill(clone)
    assert status(clone) == " M uv.lock\n"
    neutral_lock.settle(clone)
    assert status(clone) == ""
    assert git(clone, "config", "--local", neutral_lock.FILTER).strip() == neutral_lock.COMMAND
    assert "is set in .git/config" in capsys.readouterr().err


def test_the_second_time_nothing_is_said(clone: Path, capsys) -> None:
    fill(clone)
    neutral_lock.settle(clone)
    fill(clone)
    (clone / "uv.lock").write_bytes(FILLED.replace("size = 12", "size = 123").encode())
    capsys.readouterr()
    neutral_lock.settle(clone)
    assert status(clone) == ""
    assert capsys.readouterr().err == ""


def test_a_lock_in_the_words_of_an_older_uv_is_not_modified(clone: Path) -> None:
    words = FILLED.replace("revision = 5", "revision = 3").replace(
        "sys_platform == 'linux'", "sys_platform == 'linux' and python_full_version >= '3.11'"
    )
    (clone / "uv.lock").write_bytes(words.encode())
    neutral_lock.settle(clone)
    assert status(clone) == ""


def test_a_lock_that_locks_something_else_stays_modified(clone: Path) -> None:
    fill(clone, "3.21")
    neutral_lock.settle(clone)
    assert status(clone) == " M uv.lock\n"


@pytest.mark.parametrize("staged", ["3.20", "3.21"])
def test_what_is_staged_stays_as_it_is(clone: Path, staged: str) -> None:
    (clone / "train.py").write_text("print(2)\n", encoding="utf-8")
    (clone / "uv.lock").write_bytes(lock.neutral(FILLED.replace("3.20", staged)).encode())
    git(clone, "add", "train.py", "uv.lock")
    before = git(clone, "ls-files", "--stage")
    for version in ("3.20", "3.21", "3.22"):
        fill(clone, version)
        neutral_lock.settle(clone)
        assert git(clone, "ls-files", "--stage") == before


def test_a_changed_lock_is_staged_without_addresses(clone: Path) -> None:
    _environment(clone)
    fill(clone)
    neutral_lock.settle(clone)
    fill(clone, "3.21")
    git(clone, "add", "uv.lock")
    assert "https://" not in git(clone, "show", ":uv.lock")
    assert 'version = "3.21"' in git(clone, "show", ":uv.lock")


def _environment(root: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("an environment needs a copy of Python there")
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)


def test_a_pull_that_changes_the_lock_works_and_leaves_it_clean(
    clone: Path, upstream: Path
) -> None:
    _environment(clone)
    fill(clone)
    neutral_lock.settle(clone)

    commit_lock(upstream, "3.21")
    git(clone, "pull", "-q", "--ff-only")
    assert 'version = "3.21"' in (clone / "uv.lock").read_text(encoding="utf-8")
    fill(clone, "3.21")
    neutral_lock.settle(clone)
    assert status(clone) == ""

    commit_lock(upstream, "3.22")
    (clone / "mine.py").write_text("1\n", encoding="utf-8")
    git(clone, "add", "mine.py")
    git(clone, "commit", "-q", "-m", "mine")
    git(clone, "pull", "-q", "--no-rebase", "--no-edit")
    fill(clone, "3.22")
    neutral_lock.settle(clone)
    assert status(clone) == ""


def test_a_filter_of_ones_own_stays(clone: Path) -> None:
    git(clone, "config", neutral_lock.FILTER, "cat")
    fill(clone)
    neutral_lock.settle(clone)
    assert git(clone, "config", neutral_lock.FILTER).strip() == "cat"
    assert status(clone) == ""


def test_another_project_is_left_alone(clone: Path) -> None:
    (clone / ".gitattributes").write_text("* text=auto\n", encoding="utf-8")
    git(clone, "commit", "-q", "-a", "-m", "no filter")
    _nothing_happens(clone)


def test_a_lock_in_a_merge_is_left_alone(clone: Path, upstream: Path) -> None:
    commit_lock(upstream, "3.21")
    commit_lock(clone, "3.22")
    with pytest.raises(subprocess.CalledProcessError):
        git(clone, "pull", "-q", "--no-rebase", "--no-edit")
    _nothing_happens(clone)


@pytest.mark.parametrize("locked", ["index.lock", "config.lock"])
def test_a_repository_that_cannot_be_written_is_no_error(clone: Path, locked: str, capsys) -> None:
    (clone / ".git" / locked).touch()
    fill(clone)
    neutral_lock.settle(clone)
    assert capsys.readouterr() == ("", "")


def test_a_download_without_git_is_no_error(clone: Path, capsys) -> None:
    shutil.rmtree(clone / ".git")
    fill(clone)
    neutral_lock.settle(clone)
    assert not (clone / ".git").exists()
    assert capsys.readouterr() == ("", "")


def test_a_machine_without_git_is_no_error(clone: Path, monkeypatch, capsys) -> None:
    fill(clone)
    monkeypatch.setenv("PATH", "")
    neutral_lock.settle(clone)
    assert capsys.readouterr() == ("", "")


def test_a_download_inside_of_another_repository_touches_nothing_of_it(upstream: Path) -> None:
    inside = upstream / "download"
    inside.mkdir()
    for name in (".gitattributes", "uv.lock"):
        shutil.copy(upstream / name, inside)
    git(upstream, "add", ".")
    git(upstream, "commit", "-q", "-m", "a folder")
    fill(inside)
    before = (upstream / ".git" / "config").read_bytes()
    neutral_lock.settle(inside)
    assert (upstream / ".git" / "config").read_bytes() == before
    assert status(upstream) == " M download/uv.lock\n"


def _nothing_happens(clone: Path) -> None:
    fill(clone)
    before = git(clone, "ls-files", "--stage"), status(clone)
    neutral_lock.settle(clone)
    assert (git(clone, "ls-files", "--stage"), status(clone)) == before
    assert neutral_lock.FILTER not in git(clone, "config", "--list")


def test_every_command_of_the_course_begins_with_it(monkeypatch) -> None:
    begun = []
    monkeypatch.setattr(neutral_lock, "settle", lambda: begun.append(True))
    assert cli.main(["hint", "1.1"]) == 0

    def main() -> None: ...

    errors.plain_errors(main)
    assert len(begun) == 1  # a worker of a sweep imports the script: it is no command
    main.__module__ = "__main__"
    errors.plain_errors(main)
    assert len(begun) == 2
