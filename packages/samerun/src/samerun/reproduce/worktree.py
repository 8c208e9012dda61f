"""The code of a run, made again in a repository of its own: its commit, and its patch upon that.

The repository borrows the objects of the clone that has the commit, and writes nothing there:
neither working tree, index, branches and stash of the clone nor its list of worktrees change.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from samerun.code import later
from samerun.code.known import content_of, read
from samerun.code.repository import GitError, borrow, git
from samerun.display.screen import has_commit
from samerun.reproduce import Obstacle
from samerun.trace import Trace

SECONDS = 600  # for what git writes, or fetches
LEAST_FREE = 2**20  # bytes; with less, the disk is full
MOST_LINES = 4  # of what git says
# What a run leaves in its project; a project whose .gitignore forgets one would be dirty by it.
LEFT_BY_RUNS = "/mlflow.db*\n/mlartifacts/\n/outputs/\n/multirun/\n/.venv/\n"
STORED = re.compile(r"(\d+) bytes, sha256 ([0-9a-f]{64})")  # as `storable.described` says it


def make(tree: Path, trace: Trace, stored: Path, clones: Iterable[Path]) -> None:
    """Make the code that ran, in the new folder `tree`.

    Parameters
    ----------
    stored : the folder of the trace
    clones : where its commit may be, the likeliest first

    Raises
    ------
    Obstacle
        The commit cannot be had, or the patch does not apply.
    """
    patch = stored / "changes.patch"
    commit = trace.code.commit
    if commit is None and not patch.exists():
        raise Obstacle(
            "The trace names no commit and holds no code"
            + (f": {trace.problems['commit']}." if "commit" in trace.problems else ".")
        )
    if "patch" in trace.problems:
        raise Obstacle(f"The changes since the commit were not stored: {trace.problems['patch']}.")
    source = next((c for c in clones if commit and has_commit(c, commit)), None)
    _init(tree, source)
    if commit:
        if source is None:
            _fetch(tree, trace, commit)
        else:
            borrow(tree / ".git", [source])
        _remember_remote(tree, trace, commit)
        _write(tree, "checkout", "-q", "--detach", commit, why=f"The commit {commit[:12]}")
    if patch.exists():
        apply = ("apply", "--whitespace=nowarn", str(patch))
        _write(tree, *apply, why="The patch of the run does not apply to its commit")
    _copy_later_imports(tree, trace, stored / later.FILES)


def missing(tree: Path, trace: Trace, others: Iterable[Path]) -> list[str]:
    """Bring the files that the trace names but does not hold; return those that are not to be had.

    others : checkouts that may still have them
    """
    others, lacking = list(others), []
    for path, sha256 in _wanted(trace).items():
        there = tree / path
        if not there.resolve().is_relative_to(tree.resolve()) or _is(there, sha256):
            continue
        for other in others:
            if _is(other / path, sha256):
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(other / path, there)
                break
        else:
            lacking.append(path)
    return lacking


def _wanted(trace: Trace) -> dict[str, str]:
    """Return the files of the project that ran, configured it or were not stored, by digest."""
    kinds = ("imported", "configuration")
    used = [file for file in trace.files if file.kind in kinds]
    wanted = {file.path: file.sha256 for file in used if not Path(file.path).is_absolute()}
    for path, described in trace.code.reasons.items():
        if stored := STORED.match(described):
            wanted.setdefault(path, stored[2])
    return wanted


def _is(path: Path, sha256: str) -> bool:
    """Say whether a file has this digest, also where git wrote its lines with other ends."""
    try:
        content = read(path)
    except OSError:
        return False
    if content.sha256 == sha256:
        return True
    if content.content is None or b"\0" in content.content:
        return False
    unix = content.content.replace(b"\r\n", b"\n")
    both = (unix, unix.replace(b"\n", b"\r\n"))
    return any(content_of(text).sha256 == sha256 for text in both)


def _init(tree: Path, source: Path | None) -> None:
    form = "sha1"
    if source:
        form = git(source, "rev-parse", "--show-object-format").decode().strip()
    tree.mkdir(parents=True, exist_ok=True)
    try:
        git(tree, "init", "-q", "--template=", f"--object-format={form}")
    except GitError as error:
        raise Obstacle(f"{error}. The code of a run is made again by git: install it.") from None
    (tree / ".git" / "info").mkdir(exist_ok=True)
    (tree / ".git" / "info" / "exclude").write_text(LEFT_BY_RUNS, encoding="utf-8")


def _fetch(tree: Path, trace: Trace, commit: str) -> None:
    """Get a commit that no clone here has from where the run could get it."""
    remote = trace.code.remote
    lacking = f"No clone here has the commit {commit[:12]}"
    if not remote or not trace.code.pushed:
        where = f"and {remote} did not have it when the run started" if remote else "nor a remote"
        raise Obstacle(
            f"{lacking}, {where}. Start this in a clone that has it (of a shallow one: git fetch "
            "--unshallow)."
        )
    try:
        git(tree, "fetch", "-q", "--depth=1", "--no-tags", "--", remote, commit, seconds=SECONDS)
    except GitError as error:
        raise Obstacle(f"{lacking}, and {remote} does not give it: {error}") from None


def _remember_remote(tree: Path, trace: Trace, commit: str) -> None:
    """Let the repetition know, as the run did, where its commit can be got."""
    if trace.code.remote:
        git(tree, "config", "remote.origin.url", trace.code.remote)
        if trace.code.pushed:
            git(tree, "update-ref", "refs/remotes/origin/recorded", commit)


def _write(tree: Path, *arguments: str, why: str) -> None:
    # No hook of the user's own shall see this repository, and none shall write elsewhere.
    no_hooks = ("-c", f"core.hooksPath={tree / '.git' / 'no-hooks'}")
    try:
        git(tree, *no_hooks, *arguments, seconds=SECONDS)
    except GitError as error:
        if shutil.disk_usage(tree).free < LEAST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tree)) from None
        first, more = str(error).splitlines()[:MOST_LINES], str(error).splitlines()[MOST_LINES:]
        rest = [f"and {len(more)} lines more"] if more else []
        raise Obstacle(f"{why}: {' '.join([*first, *rest])}") from None


def _copy_later_imports(tree: Path, trace: Trace, stored: Path) -> None:
    """Put what was imported after the start where it was imported from."""
    at_start = {file.path: file.sha256 for file in trace.files if file.kind == "imported"}
    for file in trace.files:
        if file.held != later.FILES or at_start.get(file.path, file.sha256) != file.sha256:
            continue  # imported twice, and edited in between: it began as it was at the start
        target = tree / file.path
        if target.resolve().is_relative_to(tree.resolve()) and ".git" not in target.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stored / file.path, target)
