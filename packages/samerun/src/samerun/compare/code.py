"""How the code of two runs differs: both states made by git, in a repository that is thrown away.

It borrows the objects of the clones that have the commits and writes nothing there.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from samerun.code import later
from samerun.code.known import KnownFile
from samerun.code.repository import GitError, borrow, git
from samerun.compare.causes import CODE, LOCK, Cause, code_by_digest, is_inside, name_of
from samerun.display.screen import has_commit
from samerun.trace import FOLDER, Trace

MOST_LINES = 2000  # of one file's diff
PLAIN = "--no-color --no-ext-diff --no-textconv -M --src-prefix=a/ --dst-prefix=b/ --full-index"


@dataclass(frozen=True)
class Difference:
    """How two states of code differ.

    files : one cause for each file, those that were imported first
    locks : the text of uv.lock in both states; None where there is none, or it is not known
    notes : what a person should know of how this was found
    """

    files: tuple[Cause, ...]
    locks: tuple[str | None, str | None] = (None, None)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """The code of a run: its trace, and the folder with the files that it imported late."""

    trace: Trace
    stored: Path

    @classmethod
    def of(cls, trace: Trace, files: Path) -> "State":
        """Return the code of a run with the folder `files` of its artifacts."""
        return cls(trace, files / FOLDER)


def difference(first: State, second: State, clones: Iterable[Path]) -> Difference:
    """Return how the code of two runs differs.

    Where a commit is not to be had, or there is no git, the digests of the files that both used
    are compared, and a note says so.

    clones : checkouts that may have the commits
    """
    clones = [clone for clone in dict.fromkeys(clones) if clone.is_dir()]
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _by_git(first, second, clones, Path(folder))
        except (GitError, OSError) as error:
            note = f"The code is compared by the digests of the files that were used: {error}"
            return Difference(tuple(code_by_digest(first.trace, second.trace)), notes=(note,))


def _by_git(first: State, second: State, clones: Sequence[Path], folder: Path) -> Difference:
    sources = [_source(state.trace, clones) for state in (first, second)]
    repository = folder / "repository"
    _init(repository, {source for source in sources if source})
    one, other = (
        _tree(repository, state, folder / f"index-{number}")
        for number, state in enumerate((first, second))
    )
    locks = _blob(repository, f"{one}:{LOCK}"), _blob(repository, f"{other}:{LOCK}")
    found = _files(repository, one, other, first.trace, second.trace) if one != other else []
    # What neither commit nor patch holds, such as a large file that was imported.
    by_path = {cause.name for cause in found}
    nowhere = {
        name_of(file.path)
        for state in (first, second)
        for file in state.trace.files
        if file.held not in ("commit", "patch", later.FILES)
    }
    found += [
        cause
        for cause in code_by_digest(first.trace, second.trace)
        if cause.name in nowhere and cause.name not in by_path
    ]
    return Difference(tuple(sorted(found, key=lambda cause: cause.unlikely)), locks)


def _source(trace: Trace, clones: Sequence[Path]) -> Path | None:
    """Return the clone that has a run's commit; None where there is no commit."""
    commit = trace.code.commit
    if commit is None:
        if not trace.patch and not any(file.kind == "imported" for file in trace.files):
            return None
        if not trace.patch:
            raise GitError("one of the runs has no commit, and its code was not stored")
        return None
    for clone in clones:
        if has_commit(clone, commit):
            return clone
    raise GitError(
        f"no clone here has the commit {commit[:12]} (start this in one that has it; of a shallow "
        "one: git fetch --unshallow)"
    )


def _init(repository: Path, sources: set[Path]) -> None:
    forms = {git(s, "rev-parse", "--show-object-format").decode().strip() for s in sources}
    if len(forms) > 1:
        raise GitError("one clone has commits of SHA-1, the other of SHA-256")
    form = forms.pop() if forms else "sha1"
    repository.mkdir()
    git(repository, "init", "-q", "--bare", "--template=", f"--object-format={form}")
    borrow(repository, sorted(sources))


def _tree(repository: Path, state: State, index: Path) -> str:
    """Write the tree of a run's code, and return its name."""
    trace = state.trace

    def at_index(*words: str, stdin: bytes = b"") -> bytes:
        return git(repository, *words, stdin=stdin, GIT_INDEX_FILE=str(index))

    at_index("read-tree", trace.code.commit or "--empty")
    if trace.patch:
        at_index("apply", "--cached", "--whitespace=nowarn", "-", stdin=trace.patch)
    for file in _imported_late(trace):
        copy = state.stored / later.FILES / file.path
        if copy.is_file():
            write = ("hash-object", "-w", "--stdin", f"--path={file.path}")
            name = at_index(*write, stdin=copy.read_bytes()).decode().strip()
            entry = f"100644 {name}\t{file.path}\0".encode(errors="surrogateescape")
            at_index("update-index", "--add", "-z", "--index-info", stdin=entry)
    return at_index("write-tree").decode().strip()


def _imported_late(trace: Trace) -> Iterable[KnownFile]:
    """Return the files that were imported after the start alone."""
    at_start = {file.path for file in trace.files if file.kind == "imported"}
    return [f for f in trace.files if f.held == later.FILES and f.path not in at_start]


def _blob(repository: Path, name: str) -> str | None:
    try:
        return git(repository, "cat-file", "blob", name).decode(errors="replace")
    except GitError:
        return None


def _files(repository: Path, one: str, other: str, first: Trace, second: Trace) -> list[Cause]:
    options = (*PLAIN.split(), one, other, "--", ".", f":(exclude){LOCK}")
    counts = os.fsdecode(git(repository, "diff", "--numstat", "-z", *options))
    text = git(repository, "diff", *options).decode(errors="replace")
    # One piece of the whole for each file, in the same order.
    pieces = re.split(r"^(?=diff --git )", text, flags=re.M)[1:]
    entries = list(_counted(counts))
    if len(pieces) != len(entries):  # a file that became a link has two pieces
        pieces = [""] * len(entries)
    kinds = _kinds(first, second)
    found = []
    for (path, was, said), piece in zip(entries, pieces, strict=True):
        of_both = kinds.get(path, set()) | kinds.get(was, set())
        if was != path:
            said = f"was {was}, {said}"
        for state in ("new", "deleted"):
            if f"\n{state} file mode" in piece[:500]:
                said = f"{state}, {said}"
        lines = tuple(piece.splitlines()[:MOST_LINES])
        # Every value of a configuration is in the trace, whatever file it comes from; and what
        # nobody imported is most likely no part of what ran.
        unlikely = "imported" not in of_both
        found.append(Cause(CODE, path, "", said, unlikely, lines))
    return found


def _kinds(first: Trace, second: Trace) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for trace in (first, second):
        for file in trace.files:
            if is_inside(file.path):
                kinds.setdefault(file.path, set()).add(file.kind.removesuffix(" later"))
    return kinds


def _counted(numstat: str) -> Iterable[tuple[str, str, str]]:
    """Yield the path of each file, its path before, and how many lines came and went."""
    fields = iter(numstat.split("\0"))
    for field in fields:
        if not field:
            continue
        added, removed, path = field.split("\t", 2)
        was = path
        if not path:  # renamed: both paths follow
            was, path = next(fields), next(fields)
        said = "other bytes" if added == "-" else f"+{added} -{removed} lines"
        yield path, was, said
