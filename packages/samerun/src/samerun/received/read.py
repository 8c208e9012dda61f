"""Opening a crate from elsewhere: hostile until shown otherwise, and then still a program."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from samerun.code import later
from samerun.display.screen import additions
from samerun.errors import RecordError
from samerun.export import metadata, record, sources
from samerun.export.packing import MANIFEST, check_sums
from samerun.export.sources import Sources
from samerun.received import safety, trust
from samerun.received.safety import USUAL, Limits, refuse
from samerun.recorded import RecordedRun
from samerun.trace import FOLDER, Trace, from_json

NEEDED = (metadata.NAME, record.NAME, MANIFEST, f"{FOLDER}/trace.json")
LARGEST_TEXT = 64 * safety.MEGABYTE  # of what is read whole


@dataclass(frozen=True)
class Crate:
    """A crate that was opened and looked at.

    run : what it records, its artifacts below `run.files`
    clone : a repository with its commit, and the files of data that it brings
    states : one trace for every state of the code that is executed, that of the run first
    changed : of each of them the paths that its patch changes
    commands : the traces whose commands are executed: that of the run, then what was added to it
    """

    path: Path
    run: RecordedRun
    clone: Path
    states: tuple[Trace, ...]
    changed: tuple[tuple[str, ...], ...]
    commands: tuple[Trace, ...]


def read_crate(path: Path, folder: Path, limits: Limits = USUAL) -> Crate:
    """Open a crate in a new folder.

    Nothing of it is executed. What lies in the folder afterwards are the files of the crate and a
    repository made from them.

    Raises
    ------
    RecordError
        It is no crate of samerun's, damaged, altered, or asks for what no crate has a need of.
    """
    unpacked = folder / "crate"
    unpacked.mkdir(parents=True)
    sums = safety.unpack(path, unpacked, limits)
    if lacking := [name for name in NEEDED if name not in sums]:
        raise RecordError(
            f"{path} is no crate of samerun's: it lacks {', '.join(lacking)}. Expected what "
            "`samerun export` writes, packed as it was."
        )
    check_sums(sums, _whole(unpacked / MANIFEST))
    _check_metadata(_whole(unpacked / metadata.NAME))
    trace = _trace(unpacked / FOLDER)
    files = _arranged(unpacked, folder / "files")
    run, said = record.read(_whole(unpacked / record.NAME), trace, files)
    added = _additions(files / FOLDER)
    states = record.states(trace, added)
    if len(states) != len(said.codes):
        raise refuse(f"{len(states)} states of the code were executed, it holds {len(said.codes)}")
    for one in (trace, *added):
        place, _ = record.places(record.state_of(one, states))
        here = f"{place}/"
        trust.check(one, [name.removeprefix(here) for name in sums if name.startswith(here)])
    clone = folder / "clone"
    changed = [
        _rebuilt(unpacked, number, state, code, clone)
        for number, (state, code) in enumerate(zip(states, said.codes, strict=True))
    ]
    _bring_data(unpacked / "data", clone)
    return Crate(path, run, clone, tuple(states), tuple(changed), (trace, *added))


def _rebuilt(
    unpacked: Path, number: int, state: Trace, said: record.Code, clone: Path
) -> tuple[str, ...]:
    """Make the commit of a state of the code, and return the paths that its patch changes."""
    trust.check_modes(said.modes)
    code, commit = (unpacked / place for place in record.places(number))
    code.mkdir(exist_ok=True)
    text = _whole(commit) if commit.exists() else b""
    trust.check_size(state.patch)
    taken = Sources(state.code.commit, said.directory, text, modes=said.modes)
    changes = sources.rebuild(clone, taken, code, state.patch)
    trust.check_patch(changes)
    return tuple(sorted(changes))


def _whole(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_TEXT:
        raise refuse(f"{path.name} has {size / safety.MEGABYTE:.0f} MB")
    return path.read_bytes()


def _check_metadata(content: bytes) -> None:
    """Make sure that this is a crate of a run; what runs is taken from the record alone."""
    try:
        entities: Mapping[str, object] = metadata.read(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{metadata.NAME} cannot be read: {error}. It was altered.") from None
    if not set(metadata.PROFILES) <= entities.keys():
        raise RecordError(
            f"This crate does not follow the profile {', '.join(metadata.PROFILES)}: it is no "
            "recorded run."
        )


def _trace(folder: Path) -> Trace:
    patch, packages = folder / "changes.patch", folder / "packages.txt"
    try:
        text = _whole(folder / "trace.json").decode()
        json.loads(text)  # a RecursionError comes from here, and not from within
        trace = from_json(
            text,
            _whole(patch) if patch.exists() else b"",
            tuple(_whole(packages).decode().splitlines()) if packages.exists() else (),
        )
        return replace(trace, files=(*trace.files, *later.read(folder)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"The trace of this crate cannot be read: {error}.") from None


def _additions(folder: Path) -> list[Trace]:
    """Return the traces of the commands that added to the run, such as an evaluation."""
    try:
        return additions(folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise RecordError(f"The trace of this crate cannot be read: {error}.") from None


def _arranged(unpacked: Path, files: Path) -> Path:
    """Lay the artifacts out as a run store has them: the trace beside what the run left."""
    artifacts = unpacked / "artifacts"
    if (artifacts / FOLDER).exists():
        raise refuse(f"it has two folders {FOLDER}")
    if artifacts.exists():
        artifacts.rename(files)
    else:
        files.mkdir()
    (unpacked / FOLDER).rename(files / FOLDER)
    return files


def _bring_data(data: Path, clone: Path) -> None:
    """Put the data of a crate where a clone has them."""
    for path in sorted(data.rglob("*")) if data.exists() else ():
        if path.is_file():
            target = clone / path.relative_to(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
