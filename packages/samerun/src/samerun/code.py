"""The state of the git checkout: commit, branch, and the patch that makes it from its commit."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from samerun import locked
from samerun.masking import SECRET_FILE

MEGABYTE = 2**20
LARGEST_UNTRACKED_FILE = MEGABYTE
GIT_SECONDS = 20
ALL_BUT_LOCK = ("--", ".", ":(top,exclude)uv.lock")


@dataclass(frozen=True)
class Code:
    """The state of the git checkout. `branch` is None when detached, `dirty` when unknown."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    changed: tuple[str, ...] = ()
    not_stored: tuple[str, ...] = ()  # untracked files that are large, binary or look secret


class GitError(Exception):
    """git could not say what was asked; the message is git's own."""


def git(root: Path, *arguments: str, stdin: bytes = b"", **variables: str) -> bytes:
    """Run git in `root` so that it never prompts, never writes and never runs long."""
    located = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_DIFF_OPTS"]
    inherited = {name: value for name, value in os.environ.items() if name not in located}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-c", "core.quotepath=off", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            input=stdin,
            capture_output=True,
            timeout=GIT_SECONDS,
            env=inherited | quiet | variables,
        )
    except FileNotFoundError:
        raise GitError("git is not installed, so the commit is unknown") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took more than {GIT_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise GitError(f"git {arguments[0]}: {said or f'exit status {done.returncode}'}")
    return done.stdout


def checkout_state(
    root: Path, lock: str | None, lock_is_unknown: bool = False
) -> tuple[Code, bytes]:
    """Return the state of the checkout and the patch that makes it from its commit.

    uv.lock (`lock` is its text) is compared by what it locks: every release of uv, and every
    index, makes another text of it.

    Raises
    ------
    GitError
        No git, no repository, or one that git refuses to read.
    """
    prefix, index = os.fsdecode(
        git(root, "rev-parse", "--show-prefix", "--git-path", "index")
    ).splitlines()
    if prefix:
        # A download unpacked inside, say, a home folder under git: nothing there is ours.
        raise GitError(f"{root} is not a git checkout itself but lies inside another one")
    head, changed, untracked = _status(root)
    storable = [path for path in untracked if _is_storable(root / path)]
    base = "HEAD"
    if head["branch.oid"] == "(initial)":
        base = git(root, "hash-object", "-t", "tree", "--stdin").decode().strip()
    patch = b""
    if changed or storable:
        patch = _changes(root, base, root / index, storable)
    if not lock_is_unknown and (lock_patch := _lock_changes(root, lock)):
        patch += lock_patch
        changed.append("uv.lock")
    code = Code(
        commit=None if head["branch.oid"] == "(initial)" else head["branch.oid"],
        branch=None if head["branch.head"] == "(detached)" else head["branch.head"],
        dirty=bool(changed or untracked) or (None if lock_is_unknown else False),
        changed=tuple(sorted([*changed, *untracked])),
        not_stored=tuple(path for path in untracked if path not in storable),
    )
    return code, patch


def _status(root: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """Return git's headers (commit, branch), the changed and the untracked paths."""
    flags = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
    head: dict[str, str] = {}
    changed: list[str] = []
    untracked: list[str] = []
    fields_before_path = {"1": 8, "u": 10}
    for entry in os.fsdecode(git(root, "status", *flags, *ALL_BUT_LOCK)).split("\0"):
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            name, _, value = rest.partition(" ")
            head[name] = value
        elif kind == "?":
            untracked.append(rest)
        elif kind in fields_before_path:
            changed.append(entry.split(" ", fields_before_path[kind])[-1])
    return head, changed, untracked


def _is_storable(path: Path) -> bool:
    """Say whether an untracked file is text, small, and not by its name a secret."""
    if SECRET_FILE.search(path.name):
        return False
    if path.is_symlink():
        return True
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_UNTRACKED_FILE:
            return False
        return b"\0" not in path.read_bytes()
    except OSError:
        return False


def _changes(root: Path, base: str, index: Path, untracked: list[str]) -> bytes:
    """Return the difference to `base`, untracked files included, without touching git's index."""
    plain = "--binary --no-ext-diff --no-textconv --no-color --no-renames --no-relative -U3"
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "index"
        if index.exists():
            shutil.copy2(index, copy)  # with its time stamp: git compares it with those of files
        if untracked:
            paths = b"\0".join(os.fsencode(path) for path in untracked)
            add = ("add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
            git(root, *add, stdin=paths, GIT_INDEX_FILE=str(copy), GIT_LITERAL_PATHSPECS="1")
        diff = ("diff", *plain.split(), *prefixes, base, *ALL_BUT_LOCK)
        return git(root, *diff, GIT_INDEX_FILE=str(copy))


def _lock_changes(root: Path, lock: str | None) -> bytes:
    """Return the patch from the committed uv.lock to the one on disk, empty if they lock the same.

    A lock that git ignores is no change of the checkout: what it locks, the trace has.
    """
    try:
        committed = git(root, "show", "HEAD:uv.lock").decode()
    except GitError:
        committed = ""
    if lock and not committed:
        try:
            git(root, "check-ignore", "--quiet", "uv.lock")
            return b""
        except GitError:
            pass  # not ignored
    return locked.patch(committed, lock or "").encode()
