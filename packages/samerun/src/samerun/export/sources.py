"""The code of a run as git objects: taken from a clone, and made again where no clone has it.

The directory that ran (the commit with the patch of the run applied) has one name in git and at
Software Heritage: `swh:1:dir:` and the hash of its tree. All of it is written elsewhere: the
clone's index, objects and branches stay as they are.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from samerun.code.repository import GitError, borrow, git
from samerun.errors import RecordError

SECONDS = 600  # for git, in a large project
PLAIN, PROGRAM, LINK, SUBMODULE = "100644", "100755", "120000", "160000"  # modes of git's
SETTINGS = ("core.autocrlf=false", "core.protectHFS=true", "core.protectNTFS=true")
# The person's own configuration may name programs that convert files.
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}


@dataclass(frozen=True)
class Sources:
    """The code of a run.

    revision : the commit that it was made from; None if there was none
    directory : the name of git's tree of what ran, the patch included
    commit : the commit as git stores it: its tree, parents, author and message
    files : the contents of what ran, by paths with "/"; of a link, where it points to
    modes : git's mode of every file that is not a plain one; of a submodule its commit, too
    """

    revision: str | None
    directory: str
    commit: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)


def swhid(kind: str, name: str | None) -> str | None:
    """Return the identifier of Software Heritage for a revision (rev) or a directory (dir).

    None without a name, or for one of a repository that uses SHA-256: these have no identifier yet.
    """
    return f"swh:1:{kind}:{name}" if name and len(name) == 40 else None


def take(clone: Path, revision: str | None, patch: bytes) -> Sources:
    """Return the code that a commit and a patch make.

    Parameters
    ----------
    clone : where the commit is; anything where there is no commit
    patch : of the run: from the commit, or from nothing

    Raises
    ------
    RecordError
        The clone does not have the commit, the patch does not apply, or git is not there.
    """
    with _repository(revision) as scratch:
        if revision:
            borrow(scratch / ".git", [clone])
            if not _has(scratch, revision):
                raise RecordError(
                    f"The commit {revision[:12]} of this run is not in {clone}. Fetch it there (of "
                    "a shallow clone: git fetch --unshallow), or export from the clone that has it."
                )
            _git(scratch, "read-tree", revision)
        _apply(scratch, patch)
        directory = _tree(scratch)
        if revision and patch:  # who opens the crate has the files that ran, and goes back
            _apply(scratch, patch, "-R")
            if (
                _tree(scratch)
                != _git(scratch, "rev-parse", f"{revision}^{{tree}}").decode().strip()
            ):
                raise RecordError("The patch of this run leads to files, and not back from them.")
        names, modes = _listed(scratch, directory)
        files = dict(zip(names, _contents(scratch, list(names.values())), strict=True))
        commit = _git(scratch, "cat-file", "commit", revision) if revision else b""
        return Sources(revision, directory, commit, files, modes)


def rebuild(
    clone: Path, sources: Sources, code: Path, patch: bytes
) -> dict[str, tuple[str | None, str | None]]:
    """Make a repository that has the commit of a run, from the files that ran; or add to it.

    Every name is computed anew, so that no file of another content can pass for that commit.
    Return the changes of the patch: for every path its mode in the commit and in what ran.

    Parameters
    ----------
    clone : the folder for the repository
    sources : what the crate says; its `files` are not looked at
    code : the folder that holds the files

    Raises
    ------
    RecordError
        The files are not those of the directory that is named, or do not lead to the commit.
    """
    try:
        if clone.exists():
            _git(clone, "read-tree", "--empty")
        else:
            _init(clone, sources.revision or sources.directory)
        _add(clone, code, sources.modes)
        _expect(_tree(clone), sources.directory, "The files in code/ are not those that ran")
        try:
            _apply(clone, patch, "-R")
        except RecordError:
            raise RecordError("The patch of the crate does not fit its code/.") from None
        base = _tree(clone)
        _apply(clone, patch)
        _expect(_tree(clone), sources.directory, "The patch of the crate leads to other files")
        if sources.revision:
            _write_commit(clone, sources, base)
        return _changes(clone, base, sources.directory)
    except GitError as error:
        raise RecordError(f"git refuses the code of this crate: {error}") from None


def _write_commit(clone: Path, sources: Sources, base: str) -> None:
    header = sources.commit.partition(b"\n\n")[0].decode(errors="replace").splitlines()
    named = [line.removeprefix("tree ") for line in header if line.startswith("tree ")]
    _expect(base, named[0] if named else "", "The commit of the crate has other files")
    written = _git(clone, "hash-object", "-t", "commit", "-w", "--stdin", stdin=sources.commit)
    revision = written.decode().strip()
    _expect(revision, sources.revision or "", "The commit of the crate is another one")
    if any(line.startswith("parent ") for line in header):
        with (clone / ".git" / "shallow").open("a", encoding="ascii") as file:
            file.write(f"{revision}\n")
    _git(clone, "update-ref", f"refs/heads/recorded-{revision[:12]}", revision)


def _expect(found: str, named: str, otherwise: str) -> None:
    if found != named:
        raise RecordError(f"{otherwise}: {found[:12]}, expected {named[:12]}. It was altered.")


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    return git(folder, *settings, *arguments, stdin=stdin, seconds=SECONDS, **ALONE)


@contextlib.contextmanager
def _repository(like: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder, "scratch")
        try:
            _init(scratch, like or "")
            yield scratch
        except GitError as error:
            raise RecordError(f"The code of this run cannot be gathered: {error}") from None


def _init(folder: Path, name: str) -> None:
    form = "sha256" if len(name) == 64 else "sha1"
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "--template=", f"--object-format={form}")


def _has(scratch: Path, revision: str) -> bool:
    try:
        _git(scratch, "cat-file", "-e", f"{revision}^{{tree}}")
    except GitError:
        return False
    return True


def _apply(folder: Path, patch: bytes, *how: str) -> None:
    if not patch:
        return
    try:
        _git(folder, "apply", "--cached", "--whitespace=nowarn", *how, "-", stdin=patch)
    except GitError as error:
        raise RecordError(f"The patch of this run does not apply: {error}") from None


def _tree(folder: Path) -> str:
    return _git(folder, "write-tree").decode().strip()


def _listed(scratch: Path, tree: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the object of every file of a tree, and the modes of those that are not plain."""
    names, modes = {}, {}
    for entry in os.fsdecode(_git(scratch, "ls-tree", "-r", "-z", tree)).split("\0"):
        if not entry:
            continue
        about, _, path = entry.partition("\t")
        mode, _, name = about.split(" ")
        if mode == SUBMODULE:
            modes[path] = f"{mode} {name}"
            continue
        names[path] = name
        if mode != PLAIN:
            modes[path] = mode
    return names, modes


def _contents(scratch: Path, names: list[str]) -> list[bytes]:
    wanted = "".join(f"{name}\n" for name in names).encode()
    stream = _git(scratch, "cat-file", "--batch", stdin=wanted)
    found, position = [], 0
    for _ in names:
        end = stream.index(b"\n", position)
        size = int(stream[position:end].split()[-1])
        found.append(stream[end + 1 : end + 1 + size])
        position = end + 1 + size + 1
    return found


def _add(clone: Path, code: Path, modes: Mapping[str, str]) -> None:
    """Put all files below `code` into the index, as they are."""
    paths = sorted(p.relative_to(code).as_posix() for p in code.rglob("*") if p.is_file())
    if missing := set(modes) - set(paths):
        raise RecordError(f"The crate names code that it does not hold: {', '.join(missing)}.")
    listed = "".join(f"{(code / path).resolve().as_posix()}\n" for path in paths)
    make = ("hash-object", "-w", "--no-filters", "--stdin-paths")
    names = _git(clone, *make, stdin=os.fsencode(listed)).decode().split()
    entries = "".join(
        f"{modes.get(path, PLAIN)} {name}\t{path}\0"
        for path, name in zip(paths, names, strict=True)
    )
    _git(clone, "update-index", "--add", "-z", "--index-info", stdin=os.fsencode(entries))


def _changes(clone: Path, base: str, tree: str) -> dict[str, tuple[str | None, str | None]]:
    raw = os.fsdecode(_git(clone, "diff-tree", "-r", "-z", "--no-renames", base, tree))
    fields = raw.split("\0")
    found = {}
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        before, after = about.removeprefix(":").split(" ")[:2]
        found[path] = (None if before == "000000" else before, None if after == "000000" else after)
    return found
