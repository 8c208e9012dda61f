"""The data of a run, known by its digest, brought from where it lies now."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from samerun.code.known import KnownFile, read
from samerun.reproduce import Obstacle
from samerun.trace import Trace

LARGEST_COPY = 256 * 2**20  # bytes; a larger file is linked to, and read once: by the run


def bring(tree: Path, trace: Trace, clones: Iterable[Path]) -> str:
    """Put the data that lay in the project into the new folder of it; return what was done.

    Copies, so that nothing the run does can change the originals. Data elsewhere is left there, and
    what is not found is left to the program, which may know another place: in the end the digest
    counts.

    clones : checkouts that may have it

    Raises
    ------
    Obstacle
        A file is there, and it is not the one that the run read.
    """
    clones, brought, elsewhere = list(clones), 0, 0
    for file in trace.files:
        if file.kind != "data":
            continue
        there = Path(file.path)
        if there.is_absolute():
            elsewhere += 1
            if there.is_file():
                _check(there, file)
            continue
        target = tree / file.path
        if not target.resolve().is_relative_to(tree.resolve()):
            raise Obstacle(f"The trace names data outside of its project: {file.path}.")
        if target.is_file():  # in the commit or in the patch
            _check(target, file)
            continue
        for clone in clones:
            if (clone / file.path).is_file():
                _check(clone / file.path, file)
                _copy(clone / file.path, target)
                brought += 1
                break
    return _in_words(trace, brought, elsewhere)


def _check(path: Path, file: KnownFile) -> None:
    size = path.stat().st_size
    if size != file.size:
        raise Obstacle(f"The data has changed: {path} has {size} bytes, had {file.size}.")
    if size <= LARGEST_COPY and (digest := read(path).sha256) != file.sha256:
        raise Obstacle(
            f"The data has changed: {path} has the SHA-256 {digest[:16]}..., had "
            f"{file.sha256[:16]}...."
        )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_size > LARGEST_COPY:
        try:
            target.symlink_to(source.resolve())
            return
        except OSError:  # Windows lets few users do it
            pass
    shutil.copyfile(source, target)


def _in_words(trace: Trace, brought: int, elsewhere: int) -> str:
    if trace.data is None:
        return "the run named none"
    said = f"{trace.data.name}, {trace.data.digest[:16]}"
    where = []
    if brought:
        where.append(f"{brought} files copied")
    if elsewhere:
        where.append(f"{elsewhere} files read where they lie")
    return ", ".join([said, *where])
