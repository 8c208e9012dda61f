"""The data of a run, known by its digest, brought from where it lies now."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from samerun.code.known import KnownFile, read
from samerun.reproduce import Obstacle
from samerun.reproduce.leftovers import PLACE, place
from samerun.trace import Trace


def bring(tree: Path, trace: Trace, clones: Iterable[Path]) -> str:
    """Put the data that lay in the project into the new folder of it; return what was done.

    Copies, however large, so that nothing the run does can change the originals. Data elsewhere is
    read where it lies, and what is not found is left to the program, which may know another place:
    in the end the digest counts.

    clones : checkouts that may have it; one whose file is the run's is taken

    Raises
    ------
    Obstacle
        A file is there, and it is not the one that the run read; or it cannot be read, or there is
        no room for a copy. Nothing has been copied then, unless files changed meanwhile.
    """
    clones, in_place, absent = list(clones), 0, 0
    copies: list[tuple[Path, Path]] = []
    room = 0
    for file in trace.files:
        if file.kind != "data":
            continue
        target = tree / file.path  # the path itself where it is absolute
        if Path(file.path).is_absolute():
            places = [target]
        elif target.resolve().is_relative_to(tree.resolve()):
            places = [target, *(clone / file.path for clone in clones)]
        else:
            raise Obstacle(f"The trace names data outside of its project: {file.path}.")
        source = _found(file, places)
        if source is None:
            absent += 1
        elif source != target:
            copies.append((source, target))
            room += file.size
        elif Path(file.path).is_absolute():
            in_place += 1
    if copies and room > (free := shutil.disk_usage(tree.parent).free):
        raise Obstacle(
            f"A repetition reads copies of the data, which take {_size(room)}, and the disk of "
            f"{place()} has {_size(free)} left. To name a folder on another disk: {PLACE}=FOLDER"
        )
    for source, target in copies:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return _in_words(trace, len(copies), in_place, absent)


def _found(file: KnownFile, places: Iterable[Path]) -> Path | None:
    """Return the first place where a file is what it was; None if none has a file."""
    changed = ""
    for path in places:
        try:
            if not path.is_file():
                continue
        except OSError as error:
            changed = changed or f"The data cannot be read: {path}: {error.strerror}."
            continue
        if not (why := _changed(path, file)):
            return path
        changed = changed or why
    if changed:
        raise Obstacle(changed)
    return None


def _changed(path: Path, file: KnownFile) -> str:
    try:
        if (size := path.stat().st_size) != file.size:
            return f"The data has changed: {path} has {size} bytes, had {file.size}."
        digest = read(path).sha256
    except OSError as error:
        return f"The data cannot be read: {path}: {error.strerror}."
    if digest != file.sha256:
        return (
            f"The data has changed: {path} has the SHA-256 {digest[:16]}..., had "
            f"{file.sha256[:16]}...."
        )
    return ""


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _in_words(trace: Trace, copied: int, in_place: int, absent: int) -> str:
    if trace.data is None:
        return "the run named none"
    said = [f"{trace.data.name}, {trace.data.digest[:16]}"]
    counts = {"copied": copied, "read where it lies": in_place, "not found": absent}
    for what, count in counts.items():
        if count:
            said.append(f"{count} {'file' if count == 1 else 'files'} {what}")
    return ", ".join(said)
