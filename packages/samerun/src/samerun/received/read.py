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
    sources : the names of its code, computed anew from the files
    changed : the paths that the patch changes
    """

    path: Path
    run: RecordedRun
    clone: Path
    sources: Sources
    changed: tuple[str, ...]


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
    trust.check_modes(said.modes)
    code = [name.removeprefix("code/") for name in sums if name.startswith("code/")]
    trust.check(trace, code)
    for added in _additions(files / FOLDER):
        trust.check(added, code)
        if (added.code.commit, added.patch) != (trace.code.commit, trace.patch):
            raise refuse("what was added to its run ran other code, which it does not hold")
    taken = Sources(
        revision=trace.code.commit,
        directory=said.directory,
        commit=_whole(unpacked / "commit") if "commit" in sums else b"",
        modes=said.modes,
    )
    clone = folder / "clone"
    (unpacked / "code").mkdir(exist_ok=True)
    changes = sources.rebuild(clone, taken, unpacked / "code", trace.patch)
    trust.check_patch(changes)
    _bring_data(unpacked / "data", clone)
    return Crate(path, run, clone, taken, tuple(sorted(changes)))


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
