"""The state of the git checkout: commit, branch, and the patch that makes it from its commit."""

import functools
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samerun.code.known import Content, read
from samerun.code.repository import GitError, git, remote_of
from samerun.machine import locked
from samerun.secrets.storable import described, left_out, rules_of, why_not_stored, without_secrets

MEGABYTE = 2**20
ALL_BUT_LOCK = ("--", ".", ":(top,exclude)uv.lock")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Code:
    """The state of the git checkout. `branch` is None when detached, `dirty` when unknown.

    not_stored : changed files whose contents the patch lacks: large, binary, data, or with a secret
        in them
    reasons : of each of them its size, its digest and why
    moved_on : files that the disk holds in another state than the process imported; the patch has
        them as they were imported
    uncertain : files that had been edited before they could be read: what the process runs, or was
        configured by, is not in the record
    remote : where the commit can be got, an address without credentials
    pushed : whether a branch of a remote has the commit, as far as this clone knows
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    changed: tuple[str, ...] = ()
    not_stored: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    moved_on: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    remote: str | None = None
    pushed: bool | None = None


@dataclass(frozen=True)
class State:
    """What `checkout_state` found.

    patch : makes the code that runs from its commit, or from nothing where there is none
    held : "commit" or "patch" for every path of the checkout whose content is kept there
    without_commit : why there is no commit; None if there is one
    """

    code: Code = Code()
    patch: bytes = b""
    held: Mapping[str, str] = field(default_factory=dict)
    without_commit: str | None = None


def checkout_state(
    root: Path,
    lock: str | None,
    lock_is_unknown: bool = False,
    used: Mapping[Path, Content] | None = None,
) -> State:
    """Return the state of the checkout and the patch that makes it from its commit.

    uv.lock (`lock` is its text) is compared by what it locks: every release of uv, and every
    index, makes another text of it. `used` are the files that the run was made from, by their real
    paths: they go into the patch as they were used, even if git ignores them.

    Raises
    ------
    GitError
        No git, or a repository that git refuses to read.
    """
    try:
        prefix = os.fsdecode(git(root, "rev-parse", "--show-prefix")).strip("\n")
        # A download unpacked inside, say, a home folder under git: nothing there is ours.
        lone = (
            f"{root} is not a git checkout itself but lies inside another one" if prefix else None
        )
    except GitError as error:
        if "not a git repository" not in str(error) or (root / ".git").exists():
            raise
        lone = f"{root} is not a git repository"
    if lone is None:
        return _state(root, lock, lock_is_unknown, used or {})
    with tempfile.TemporaryDirectory() as folder:
        git(root, "init", "-q", folder)
        of_our_own = {"GIT_DIR": str(Path(folder, ".git")), "GIT_WORK_TREE": str(root)}
        state = _state(root, lock, lock_is_unknown, used or {}, **of_our_own)
        code = replace(state.code, branch=None, dirty=None)
        return replace(state, code=code, without_commit=lone)


def _state(
    root: Path, lock: str | None, lock_is_unknown: bool, used: Mapping[Path, Content], **where: Any
) -> State:
    """Do what `checkout_state` does; `where` are git's variables if it shall look elsewhere."""
    head, changed, untracked = _status(root, **where)
    if where:
        untracked = _sources(root, untracked)
    commit = None if head["branch.oid"] == "(initial)" else head["branch.oid"]
    base = commit or git(root, "hash-object", "-t", "tree", "--stdin").decode().strip()
    tracked = _tracked(root, **where)
    ran = _what_ran(root, used, tracked, untracked)
    rules = rules_of(root)
    candidates = [path for path in [*untracked, *ran.ignored] if path not in ran.replaced]
    reasons = left_out(root, candidates, rules)
    storable = [path for path in candidates if path not in reasons]
    as_used = {}
    for path, content in ran.replaced.items():
        why = None if path in tracked else why_not_stored(path, content.content or b"", rules)
        if content.content is None:
            why = "larger than 1 MB"
        if why:
            reasons[path] = described(content.size, content.sha256, why)
        else:
            as_used[path] = content.content or b""
    patch = b""
    differing = set(changed) - set(ran.replaced)
    if changed or storable or as_used:
        patch, differing_as_used = _changes(root, base, storable, as_used, tracked, **where)
        differing |= differing_as_used
        patch, secret = without_secrets(patch, root, rules)
        reasons |= secret
    differing |= set(storable)
    submodules = {p for p in changed if p in tracked and (root / p / ".git").exists()}
    not_stored = {*reasons, *submodules}
    held = dict.fromkeys(set(tracked) - not_stored, "commit")
    held |= dict.fromkeys(differing - not_stored, "patch")
    everything = differing | not_stored
    if not lock_is_unknown and (lock_patch := _lock_changes(root, lock, **where)):
        patch += lock_patch
        everything.add("uv.lock")
    remote, pushed = None, None
    if commit:
        remote, pushed = remote_of(root, commit, head.get("branch.upstream"))
    code = Code(
        commit=commit,
        branch=None if head["branch.head"] == "(detached)" else head["branch.head"],
        dirty=bool(everything) or (None if lock_is_unknown else False),
        changed=tuple(sorted(everything)),
        not_stored=tuple(sorted(not_stored)),
        reasons=dict(sorted(reasons.items())),
        moved_on=tuple(sorted(ran.moved_on)),
        remote=remote,
        pushed=pushed,
    )
    return State(code, patch, held)


@dataclass(frozen=True)
class _Ran:
    """Which of the used files git's own look at the disk would not show as they were used.

    moved_on : the disk holds something else by now
    ignored : git ignores them
    replaced : what is to stand in the patch in place of what git would say
    """

    moved_on: list[str]
    ignored: list[str]
    replaced: dict[str, Content]


def _what_ran(
    root: Path,
    used: Mapping[Path, Content],
    tracked: Mapping[str, str],
    untracked: Sequence[str],
) -> _Ran:
    real = root.resolve()
    ours = {
        path.relative_to(real).as_posix(): content
        for path, content in used.items()
        if path.is_relative_to(real) and not _is_in_another_repository(path, real)
    }
    moved_on = [path for path, content in ours.items() if _is_other(root / path, content)]
    # git does not look at a file that it was told to take for unchanged.
    unseen = [path for path in ours if tracked.get(path, "H")[0] not in "HCMR"]
    known_to_git = {*tracked, *untracked}
    return _Ran(
        moved_on=moved_on,
        ignored=[path for path in ours if path not in known_to_git and path not in moved_on],
        replaced={path: ours[path] for path in [*moved_on, *unseen]},
    )


def warn(code: Code, without_commit: str | None) -> None:
    """Say what somebody who repeats the run would stumble over; once in a process."""
    if code.moved_on:
        _warn_once(
            "The disk has moved on since this process imported these files: "
            f"{', '.join(code.moved_on)}. What was imported runs, and is recorded."
        )
    if code.uncertain:
        _warn_once(
            "These files were edited while the process started, so that what runs may be something "
            f"else than the disk holds: {', '.join(code.uncertain)}. Start again to be sure."
        )
    if without_commit:
        _warn_once(f"{without_commit}: the sources are stored with the run, in place of a commit.")
    if code.pushed is False:
        where = f"no branch of {code.remote} has it" if code.remote else "there is no remote"
        _warn_once(
            f"Nobody else can get the commit {str(code.commit)[:7]} of this run: {where}, as far "
            "as this clone knows. To share it: git push"
        )


@functools.cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def _is_other(path: Path, content: Content) -> bool:
    """Say whether the disk holds something else than was used."""
    try:
        return read(path).sha256 != content.sha256
    except OSError:
        return True


def _is_in_another_repository(path: Path, root: Path) -> bool:
    """Say whether a file lies in a submodule, or in another checkout inside of this one."""
    around = path.parents[: path.parents.index(root)]
    return any((folder / ".git").exists() for folder in around)


def _tracked(root: Path, **where: Any) -> dict[str, str]:
    """Return the paths in git's index with a letter for their state and their mode."""
    listed = os.fsdecode(git(root, "ls-files", "-v", "-s", "-z", **where)).split("\0")
    return {
        path: fields for fields, tab, path in (entry.partition("\t") for entry in listed) if tab
    }


# What makes up a project that no git describes: no runs, no data.
SOURCES = re.compile(
    r"\.(?:py|pyx|pyi|ipynb|ya?ml|toml|cfg|ini|sh|md|r|jl|c|cc|cpp|cu|h|hpp|lock)$"
    r"|(?:^|/)(?:\.python-version|\.gitignore|Makefile|requirements[\w.-]*\.txt)$",
    re.I,
)
LEFT_BY_RUNS = re.compile(r"^(?:outputs|multirun|mlruns|mlartifacts)/|(?:^|/)(?:\.venv|venv)/")


def _sources(root: Path, untracked: Sequence[str]) -> list[str]:
    """Return the sources of a project without git; none of a folder that is not one's own."""
    if not (root / "pyproject.toml").is_file():
        return []  # a home folder, perhaps: what was used will do
    return [p for p in untracked if SOURCES.search(p) and not LEFT_BY_RUNS.search(p)]


def _status(root: Path, **where: Any) -> tuple[dict[str, str], list[str], list[str]]:
    """Return git's headers (commit, branch), the changed and the untracked paths."""
    flags = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
    head: dict[str, str] = {}
    changed: list[str] = []
    untracked: list[str] = []
    fields_before_path = {"1": 8, "u": 10}
    for entry in os.fsdecode(git(root, "status", *flags, *ALL_BUT_LOCK, **where)).split("\0"):
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            name, _, value = rest.partition(" ")
            head[name] = value
        elif kind == "?":
            untracked.append(rest)
        elif kind in fields_before_path:
            changed.append(entry.split(" ", fields_before_path[kind])[-1])
    return head, changed, untracked


def _changes(
    root: Path,
    base: str,
    untracked: Sequence[str],
    as_used: Mapping[str, bytes],
    tracked: Mapping[str, str],
    **where: Any,
) -> tuple[bytes, set[str]]:
    """Return the difference to `base` without touching git's index, and what of `as_used` differs.

    untracked : files that are to be in it as the disk has them, beside those that git tracks
    as_used : contents that are to be in it in place of the disk's
    """
    plain = "--binary --no-ext-diff --no-textconv --no-color --no-renames --no-relative -U3"
    # What is changed inside of a submodule is not for this repository's patch.
    plain += " --src-prefix=a/ --dst-prefix=b/ --ignore-submodules=dirty"
    places = git(root, "rev-parse", "--git-path", "index", "--git-path", "objects", **where)
    index, theirs = (root / place for place in os.fsdecode(places).split("\n")[:2])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "index"
        if index.exists():
            shutil.copy2(index, copy)  # with its time stamp: git compares it with those of files
        ours = where | {"GIT_INDEX_FILE": str(copy)}
        if untracked:
            paths = b"\0".join(os.fsencode(path) for path in untracked)
            add = ("add", "--force", "--intent-to-add", "--pathspec-from-file=-")
            literally = ours | {"GIT_LITERAL_PATHSPECS": "1"}
            git(root, *add, "--pathspec-file-nul", stdin=paths, **literally)
        but = [f":(top,exclude,literal){path}" for path in as_used]
        patch = git(root, "diff", *plain.split(), base, *ALL_BUT_LOCK, *but, **ours)
        if not as_used:
            return patch, set()

        # New objects go elsewhere: a run writes nothing into the repository.
        objects = Path(folder) / "objects"
        objects.mkdir()
        quoted = str(theirs).replace("\\", "\\\\").replace('"', '\\"')
        ours["GIT_OBJECT_DIRECTORY"] = str(objects)
        ours["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = f'"{quoted}"'
        entries = []
        for path, content in as_used.items():
            make = ("hash-object", "-w", "--stdin", f"--path={path}")
            name = git(root, *make, stdin=content, **ours).decode().strip()
            mode = tracked.get(path, "H 100644").split()[1]
            mode = mode if mode.startswith("100") else "100644"
            entries.append(f"{mode} {name}\t{path}\0")
        listed = os.fsencode("".join(entries))
        git(root, "update-index", "--add", "-z", "--index-info", stdin=listed, **ours)
        these = ("--", *(f":(top,literal){path}" for path in as_used))
        patch += git(root, "diff", "--cached", *plain.split(), base, *these, **ours)
        names = git(root, "diff", "--cached", "--name-only", "-z", base, *these, **ours)
        return patch, {name for name in os.fsdecode(names).split("\0") if name}


def _lock_changes(root: Path, lock: str | None, **where: Any) -> bytes:
    """Return the patch from the committed uv.lock to the one on disk, empty if they lock the same.

    A lock that git ignores is no change of the checkout: what it locks, the trace has.
    """
    try:
        committed = git(root, "show", "HEAD:uv.lock", **where).decode()
    except GitError:
        committed = ""
    if lock and not committed:
        try:
            git(root, "check-ignore", "--quiet", "uv.lock", **where)
            return b""
        except GitError:
            pass  # not ignored
    return locked.patch(committed, lock or "").encode()
