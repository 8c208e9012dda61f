"""What was saved: the regions of a part as they stand, and word of it when they change."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import watchfiles

from workshop import checks, regions
from workshop.course import Course, Part, is_open
from workshop.errors import WorkshopError
from workshop.regions import Region

CODE = {".py", ".yaml"}  # what a check can depend on; a notebook counts by its regions alone
STEP = 30  # ms without an event, until a group of them is complete
LONGEST = 300  # ms that such a group may take
LOOK = 1.0  # seconds between two looks at the files, in case that no events come ...
POLL = 300  # ms between them when that is so
MISSED = 2  # saves in a row without an event; one may come before the system listens
SETTLE = 0.1  # seconds to wait for the other half of a file that was half saved
PATIENCE = 6  # times


@dataclass(frozen=True)
class Snapshot:
    """A part as it stands.

    regions : of every hole, by id, with the file that holds it
    around : what stands around them, as one digest: code of the part that is no hole
    broken : why the regions cannot be read, empty if they can; `regions` is not complete then
    """

    regions: Mapping[str, tuple[Path, Region]] = field(default_factory=dict)
    around: str = ""
    broken: str = ""


@dataclass(frozen=True)
class Change:
    """What differs between two snapshots: ids of holes, and whether the code around them does."""

    holes: frozenset[str]
    around: bool


@dataclass(frozen=True)
class Saved:
    """Something was saved, and this is how the part stands now."""

    snapshot: Snapshot


@dataclass(frozen=True)
class NoEvents:
    """The system tells nothing of what is saved, and the files are looked at instead."""


def snapshot(course: Course, part: Part) -> Snapshot:
    """Read how a part of the participant's tree stands."""
    found: dict[str, tuple[Path, Region]] = {}
    around = hashlib.sha256()
    try:
        for file in part.files(course.root):
            path = course.root / part.folder / file
            if path.suffix not in regions.SUFFIXES:
                continue
            text = path.read_text(encoding="utf-8")
            notebook = path.suffix == ".ipynb"
            there = regions.parse(text, notebook)
            found |= {region.id: (path, region) for region in there}
            if path.suffix in CODE:
                empty = regions.fill(text, {region.id: "" for region in there}, notebook)
                around.update(f"{file.as_posix()}\0{empty}\0".encode())
    except (WorkshopError, OSError, ValueError) as error:
        return Snapshot(found, "", _told(course, part, error))
    broken = next((hole for hole in part.holes if hole.id not in found), None)
    if broken:
        return Snapshot(found, around.hexdigest(), _told(course, part, None))
    return Snapshot(found, around.hexdigest())


def _told(course: Course, part: Part, error: Exception | None) -> str:
    """Say what is broken, as `workshop check` would."""
    for hole in part.holes:
        file = course.root / part.folder / hole.file
        if not file.is_file():
            return (
                f"{part.folder}/{hole.file} is not there; expected the file of TODO {hole.id}. "
                f"If you did not mean to remove it: git restore {part.folder}/{hole.file}"
            )
        try:
            checks.region_of(course, hole)
        except WorkshopError as found:
            return str(found)
        except (OSError, ValueError):
            return f"{part.folder}/{hole.file} cannot be read: {error}"
    return f"{part.folder} cannot be read: {error}" if error else ""


def change(before: Snapshot, after: Snapshot) -> Change:
    """Return what differs, blanks at the ends and how lines end left aside."""
    ids = before.regions.keys() | after.regions.keys()
    bodies = [
        {id: one.regions[id][1].body.strip().splitlines() for id in one.regions}
        for one in (before, after)
    ]
    changed = frozenset(id for id in ids if bodies[0].get(id) != bodies[1].get(id))
    return Change(changed, before.around != after.around)


def open_holes(part: Part, seen: Snapshot) -> frozenset[str]:
    """Return the holes that hold their stub."""
    return frozenset(
        hole.id
        for hole in part.holes
        if hole.id in seen.regions and is_open(hole, seen.regions[hole.id][1].body)
    )


async def listen(
    course: Course, part: Part, first: Snapshot, *, events: bool = True
) -> AsyncIterator[Saved | NoEvents]:
    """Yield how the part stands, each time something was saved.

    first : how it stood at the beginning
    events : whether to begin with the system's; where none come, as from a network's folder, the
        files are looked at
    """
    folder = course.root / part.folder
    woken = asyncio.Event()
    polling = not events
    task = asyncio.create_task(_wake(folder, woken, polling))
    if polling:
        yield NoEvents()
    seen, stamp, missed = first, (), 0
    woken.set()  # something may have been saved since the first was read
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):  # wait_for may swallow that we are cancelled
                    await woken.wait()
            missed = 0 if woken.is_set() else missed
            told = woken.is_set()
            woken.clear()
            if _stamp(course, part) == stamp:
                continue
            missed += not told
            if missed == MISSED and not polling:
                polling = True
                await _end(task)
                task = asyncio.create_task(_wake(folder, woken, polling))
                yield NoEvents()
            stamp, after = _stamp(course, part), snapshot(course, part)
            for _ in range(PATIENCE):
                if not after.broken:
                    break
                await asyncio.sleep(SETTLE)
                stamp, after = _stamp(course, part), snapshot(course, part)
            if after != seen:
                seen = after
                yield Saved(after)
    finally:
        await _end(task)


async def _wake(folder: Path, woken: asyncio.Event, polling: bool) -> None:
    """Set the event when something happens to a file in a folder."""
    # RuntimeError is the library's own; either may be that too many files are watched already.
    with contextlib.suppress(OSError, RuntimeError):
        async for _ in watchfiles.awatch(
            folder, step=STEP, debounce=LONGEST, force_polling=polling, poll_delay_ms=POLL
        ):
            woken.set()


async def _end(task: asyncio.Task) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _stamp(course: Course, part: Part) -> tuple:
    """Return what tells from afar whether a file of the part was saved."""
    found = []
    with contextlib.suppress(OSError):  # one goes away while we look
        for file in part.files(course.root):
            if file.suffix in regions.SUFFIXES:
                stat = (course.root / part.folder / file).stat()
                found.append((file, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)
