"""What a participant wrote into a hole: put back to its beginning, compared with ours, caught up.

Nothing is lost by any of it: a file is copied below `outputs/replaced` before it changes.
"""

import difflib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workshop import regions
from workshop.checks import Result, region_of
from workshop.course import Course, Hole, is_open
from workshop.errors import WorkshopError


@dataclass(frozen=True)
class Replaced:
    """Holes whose regions were replaced: the files, and the folder that keeps what they held.

    `not_done` are holes that are not, whatever was replaced; `interrupted` says that somebody ended
    the check, so that there may be more of them.
    """

    holes: tuple[Hole, ...]
    files: tuple[Path, ...]
    kept: Path | None
    not_done: tuple[Hole, ...] = ()
    interrupted: bool = False


def reset(course: Course, hole: Hole, kept: Path) -> Replaced:
    """Put the stub of a hole back, all else in its file left alone; nothing if it is there.

    Raises
    ------
    WorkshopError
        The file has lost the hole's markers.
    """
    _, region = region_of(course, hole)
    if is_open(hole, region.body):
        return Replaced((), (), None)
    return _replace(course, {hole: hole.stub}, kept)


def difference(course: Course, hole: Hole) -> list[str]:
    """Return the lines by which a participant's answer differs from ours, as `diff -u` writes them.

    Raises
    ------
    WorkshopError
        The hole is still open, or its file has lost its markers.
    """
    file, region = region_of(course, hole)
    if is_open(hole, region.body):
        raise WorkshopError(
            f"TODO {hole.id} is still open, so there is no answer of yours to compare.\n"
            f"  a hint:  uv run workshop hint {hole.id}\n"
            f"  ours:    solutions/{hole.part}/{hole.file}"
        )
    solved, ours = region_of(course, hole, course.solutions)
    return list(
        difflib.unified_diff(
            region.body.splitlines(),
            ours.body.splitlines(),
            _shown(course, file),
            _shown(course, solved),
            lineterm="",
        )
    )


def catch_up(
    course: Course,
    holes: list[Hole],
    kept: Path,
    check: Callable[[list[Hole]], Iterable[Result]],
) -> Replaced:
    """Give these holes our answer where the participant's is missing or wrong.

    Answers that `check` finds done stay.

    Raises
    ------
    WorkshopError
        A file has lost the markers of a hole.
    """
    stands = {hole: region_of(course, hole)[1].body for hole in holes}
    given = {hole for hole in holes if is_open(hole, stands[hole])}
    # One folder for all rounds: what is kept is what stood there before the first of them.
    folder = _new_folder(kept)
    done = [_replace(course, _ours(course, given), folder, new=False)]
    found: list[Result] = []
    interrupted = False
    while set(holes) - given:  # a wrong answer may hide the next one
        try:
            found = list(check(holes))
        except KeyboardInterrupt:
            found = []
        if interrupted := len(found) < len(holes):
            break
        wrong = {result.hole for result in found if result.state == "wrong"} - given
        if not wrong:
            break
        given |= wrong
        done.append(_replace(course, _ours(course, wrong), folder, new=False))
        found = []
    files = dict.fromkeys(file for step in done for file in step.files)
    return Replaced(
        tuple(hole for hole in holes if hole in given),
        tuple(files),
        folder if folder.exists() else None,
        tuple(result.hole for result in found if result.state != "done"),
        interrupted,
    )


def _ours(course: Course, holes: Iterable[Hole]) -> dict[Hole, str]:
    return {hole: region_of(course, hole, course.solutions)[1].body for hole in holes}


def _replace(
    course: Course, bodies: Mapping[Hole, str], kept: Path, *, new: bool = True
) -> Replaced:
    folder = _new_folder(kept) if new else kept
    by_file: dict[Path, dict[str, str]] = {}
    for hole, body in bodies.items():
        by_file.setdefault(region_of(course, hole)[0], {})[hole.id] = body
    for file, filled in by_file.items():
        text = file.read_bytes().decode("utf-8")
        copy = folder / file.relative_to(course.root)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        new = regions.fill(text.replace("\r\n", "\n"), filled, notebook=file.suffix == ".ipynb")
        # An editor on Windows may have left its line ends.
        _write(file, new.replace("\n", "\r\n") if "\r\n" in text else new)
    return Replaced(tuple(bodies), tuple(by_file), folder)


def _write(file: Path, text: str) -> None:
    """Write a file so that whoever looks sees the old one or the new one, never half of it."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    try:
        unfinished.write_bytes(text.encode("utf-8"))
        shutil.copymode(file, unfinished)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def _new_folder(kept: Path) -> Path:
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = kept / now, 1
    while folder.exists():  # two of them within a second
        folder, number = kept / f"{now}_{number}", number + 1
    return folder


def _shown(course: Course, file: Path) -> str:
    return file.relative_to(course.root).as_posix()
