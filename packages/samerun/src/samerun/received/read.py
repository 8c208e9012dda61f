"""Opening a crate from elsewhere: hostile until shown otherwise, and then still a program."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from samerun.code import later
from samerun.code.known import KnownFile, read
from samerun.display.screen import additions, from_folder
from samerun.errors import RecordError
from samerun.export import metadata, record, sources
from samerun.export.packing import MANIFEST, check_sums
from samerun.export.sources import Sources
from samerun.received import safety, trust
from samerun.received.safety import USUAL, Limits, Refused, shown
from samerun.received.shape import shaped
from samerun.recorded import RecordedRun
from samerun.trace import ADDED, FOLDER, Trace

NEEDED = (metadata.NAME, record.NAME, MANIFEST, f"{FOLDER}/trace.json")
LARGEST_TEXT = 64 * safety.MEGABYTE  # of what is read whole


@dataclass(frozen=True)
class Crate:
    """A crate that was opened and looked at.

    run : what it records, its artifacts below `run.files`
    clone : a repository with its commit, and the files of data that it brings
    states : one trace for every state of the code that is executed, that of the run first
    changed : of each of them the paths that its patch changes
    sizes : of each of them the number of its files
    commands : the traces whose commands are executed: that of the run, then what was added to it
    later : files that were imported after a start and that are not so in the code, by their paths
    data : the paths of the files of data that it brings
    """

    path: Path
    run: RecordedRun
    clone: Path
    states: tuple[Trace, ...]
    changed: tuple[tuple[str, ...], ...]
    sizes: tuple[int, ...]
    commands: tuple[Trace, ...]
    later: Mapping[str, bytes]
    data: tuple[str, ...]


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
    traces = _traces(unpacked / FOLDER)
    files = _arranged(unpacked, folder / "files")
    run, said = record.read(_whole(unpacked / record.NAME), traces[0], files)
    states = record.states(traces[0], traces[1:])
    if len(states) != len(said):
        raise Refused(f"{len(states)} states of the code were executed, it holds {len(said)}")
    codes = [_below(f"{record.places(number)[0]}/", sums) for number in range(len(states))]
    brought = _below("data/", sums)
    late: dict[str, bytes] = {}
    for number, trace in enumerate(traces):
        code = codes[record.state_of(trace, states)]
        trust.check(trace, code)
        trust.check_data(trace, code)
        late |= _later(trace, files / FOLDER / (f"{ADDED}{number}" if number else ""), code)
    trust.check_brought(brought, run.trace)
    clone = folder / "clone"
    changed = [
        _rebuilt(unpacked, number, state, code, clone)
        for number, (state, code) in enumerate(zip(states, said, strict=True))
    ]
    _bring_data(unpacked / "data", clone)
    return Crate(
        path,
        run,
        clone,
        tuple(states),
        tuple(changed),
        tuple(map(len, codes)),
        tuple(traces),
        late,
        tuple(brought),
    )


def _below(folder: str, sums: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a folder of the crate, by their paths in it, with their sums."""
    return {n.removeprefix(folder): digest for n, digest in sums.items() if n.startswith(folder)}


def _later(trace: Trace, stored: Path, code: Mapping[str, str]) -> dict[str, bytes]:
    """Return what the crate puts in the place of code, or beside it: it will be executed, too."""
    found = {}
    for file in trace.files:
        if file.held != later.FILES:
            continue
        place = stored / later.FILES / file.path
        if not place.is_file() or read(place).sha256 != file.sha256:
            raise Refused(f"it does not hold {shown(file.path)} as it was imported")
        if code.get(file.path) != file.sha256:
            found[file.path] = _whole(place)
    return found


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
    _check_size(path)
    return path.read_bytes()


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > LARGEST_TEXT:
        raise Refused(f"{path.name} has {size / safety.MEGABYTE:.0f} MB")


def _check_metadata(content: bytes) -> None:
    """Make sure that this is a crate of a run; what runs is taken from the record alone."""
    try:
        entities: Mapping[str, object] = metadata.read(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{metadata.NAME} cannot be read: {error}. It was altered.") from None
    if metadata.PROFILE not in entities:
        raise RecordError(
            f"This crate does not follow the profile {metadata.PROFILE}: it is no recorded run."
        )


def _traces(folder: Path) -> list[Trace]:
    """Return the trace of a run, and those of the commands that added to it, such as an evaluation.

    What was added is numbered from 1.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            _check_size(path)
    try:
        found = [from_folder(folder), *additions(folder)]
        for number in range(len(found)):
            place = folder / (f"{ADDED}{number}" if number else "")
            shaped(Trace, (place / "trace.json").read_bytes())
            if (listed := place / later.LISTED).exists():
                shaped(tuple[KnownFile, ...], listed.read_bytes())
        return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"The trace of this crate cannot be read: {error}.") from None


def _arranged(unpacked: Path, files: Path) -> Path:
    """Lay the artifacts out as a run store has them: the trace beside what the run left."""
    artifacts = unpacked / "artifacts"
    if (artifacts / FOLDER).exists():
        raise Refused(f"it has two folders {FOLDER}")
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
