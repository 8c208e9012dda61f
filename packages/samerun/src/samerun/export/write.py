"""Making a crate of a run: what goes in, what stays out, and why."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from samerun.code.known import KnownFile, content_of
from samerun.code.known import read as read_file
from samerun.code.repository import GitError, git
from samerun.display.screen import additions
from samerun.errors import RecordError
from samerun.export import about, checklist, metadata, readme, record, sources
from samerun.export.about import Author
from samerun.export.metadata import Described
from samerun.export.packing import MANIFEST, Member, pack
from samerun.export.sources import Sources
from samerun.received import trust
from samerun.received.safety import MEGABYTE, Refused, check_name
from samerun.recorded import RecordedRun, models, read_run
from samerun.secrets.storable import described, rules_of, secret_in
from samerun.trace import FOLDER, Trace

CODE = re.compile(r"code(?:-\d+)?/")  # see `record.places`
NAMES = {
    "README.md": "What this is, and how to run it again",
    "checklist.md": "Reproducibility checklist",
    "metrics.csv": "Metrics at every step",
    record.NAME: "The run, for samerun",
    "commit": "The commit, as git stores it",
    f"{FOLDER}/trace.json": "The trace of the run",
    f"{FOLDER}/config.yaml": "The configuration",
    f"{FOLDER}/packages.txt": "The installed packages",
    f"{FOLDER}/changes.patch": "The changes since the commit",
    "code/uv.lock": "The locked packages",
}


@dataclass(frozen=True)
class Exported:
    """A crate that was made.

    left_out : what the run had and the crate lacks, and why
    notes : what the person who made it should know, one sentence each
    """

    path: Path
    sources: Sources
    files: int
    left_out: Mapping[str, str]
    notes: tuple[str, ...]


def export(
    run_id: str,
    target: Path,
    clone: Path,
    *,
    author: str | None,
    with_data: bool,
    largest: int,
) -> Exported:
    """Write a run as a crate that an archive takes, and that `reproduce` executes again.

    Parameters
    ----------
    run_id : of the run, or the beginning of it
    target : the archive to write; one of that name is replaced when the new one is whole
    clone : a checkout that has the commit of the run
    author : who ran it; otherwise the name that git knows here
    with_data : take the files of data along that lie in the clone and that git does not have
    largest : of an artifact or of a file of data, in MB; a larger one is named with its digest

    Raises
    ------
    RecordError
        There is no such run, it has not ended, the clone lacks its commit, or the crate would hold
        a secret.
    """
    from mlflow import MlflowClient

    from samerun.find import find_run

    found = find_run(run_id)
    if found.info.end_time is None:
        raise RecordError(
            f"The run {found.info.run_id} ({found.info.run_name}) has not ended: its status is "
            f"{found.info.status}. Export it when it has."
        )
    run = _without_machine_tags(read_run(found.info.run_id))
    traces = [run.trace, *additions(run.files / FOLDER)]  # of what ran, and of what added to it
    states = record.states(run.trace, traces[1:])
    taken = [_code(state, clone) for state in states]
    when = _time(found.info.start_time), _time(found.info.end_time)
    left_out: dict[str, str] = {}
    files = _artifacts(run, models(MlflowClient(), found), left_out, largest * MEGABYTE)
    if with_data:
        files |= _data(run, clone, left_out, largest * MEGABYTE)
    members = contents(run, taken, files, left_out, Author(author or _who(clone)), when)
    pack(members, target)
    notes = _notes(run, taken[0])
    if why := _why_refused([(trace, taken[record.state_of(trace, states)]) for trace in traces]):
        notes.append(f"`reproduce` will refuse this crate: {why}.")
    return Exported(target, taken[0], len(members) + 1, left_out, tuple(notes))


def _code(state: Trace, clone: Path) -> Sources:
    if "patch" in state.problems:
        raise RecordError(
            f"The changes of this run were not stored ({state.problems['patch']}): what ran is "
            "not known. Commit them, and run it again."
        )
    taken = sources.take(clone, state.code.commit, state.patch)
    _check_secrets(taken, clone)
    return taken


def contents(
    run: RecordedRun,
    codes: Sequence[Sources],
    files: Mapping[str, Member],
    left_out: Mapping[str, str],
    agent: Author,
    when: tuple[str, str],
) -> dict[str, Member]:
    """Return all that goes into a crate, by names in it.

    Parameters
    ----------
    codes : every state of the code, as `record.states` has them
    files : the trace, what the run left, and data
    left_out : what is not among them, and why
    agent : who ran it
    when : it started and ended, in ISO 8601

    Raises
    ------
    RecordError
        A file has a name that not every system takes.
    """
    members: dict[str, Member] = {**files, "metrics.csv": record.table(run)}
    for number, code in enumerate(codes):
        folder, commit = record.places(number)
        members |= {f"{folder}/{path}": data for path, data in code.files.items()}
        if code.commit:
            members[commit] = code.commit
    listed = [record.Code(code.directory, code.modes) for code in codes]
    members[record.NAME] = record.write(run, listed, left_out)
    taken, later = codes[0], codes[1:]
    project = about.read(taken.files)
    members["checklist.md"] = checklist.document(checklist.answers(run, taken, project, *when))
    members["README.md"] = readme.document(run, taken, project, agent, [*members], left_out)
    described = _described(members)
    started, ended = when
    members[metadata.NAME] = metadata.document(
        run, taken, project, described, later, agent=agent, started=started, ended=ended
    )
    for name in members:
        _check_portable(name)
    return members


def _without_machine_tags(run: RecordedRun) -> RecordedRun:
    """Return a run without MLflow's own tags, which name accounts, folders and servers."""
    tags = {key: value for key, value in run.tags.items() if not key.startswith("mlflow.")}
    return replace(run, tags=tags)


def _check_secrets(taken: Sources, clone: Path) -> None:
    """Refuse code with a secret in it: git has it for ever, and so would the archive."""
    rules = rules_of(clone)
    found = {
        path: what
        for path, content in taken.files.items()
        if b"\0" not in content
        and not rules.asks_for(path)
        and (what := secret_in(content, path)) is not None
    }
    if found:
        listed = "".join(f"\n  {path}, {what}" for path, what in sorted(found.items())[:10])
        raise RecordError(
            f"The code of this run holds what looks like secrets, and a crate is for everybody:"
            f"{listed}\nTake them out, commit, and run it again; or, where they are made up, name "
            "these files in pyproject.toml: [tool.samerun] store = [...]"
        )


def _artifacts(
    run: RecordedRun, logged: Sequence[tuple[Path, str]], left_out: dict[str, str], largest: int
) -> dict[str, Member]:
    """Return the files that a run left, by their names in the crate.

    logged : the folders of its models, with what their names begin with
    """
    members: dict[str, Member] = {}
    for folder, within in [(run.files, ""), *logged]:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            name = f"{within}{path.relative_to(folder).as_posix()}"
            of_trace = not within and name.startswith(f"{FOLDER}/")
            place = name if of_trace else f"artifacts/{name}"
            if why := None if of_trace else _why_left_out(path, name, largest):
                left_out[name] = why
            else:
                members[place] = path
    return members


def _why_left_out(path: Path, name: str, largest: int) -> str | None:
    size = path.stat().st_size
    why = f"larger than {largest // MEGABYTE} MB" if size > largest else _secret(path, name)
    return described(size, read_file(path).sha256, why) if why else None


def _secret(path: Path, name: str) -> str | None:
    """Return which secret a file of text holds; None if none, or if it is no text."""
    content = path.read_bytes()
    if b"\0" in content:
        return None
    return secret_in(content, name, by_name=len(content) <= MEGABYTE)


def _data(
    run: RecordedRun, clone: Path, left_out: dict[str, str], largest: int
) -> dict[str, Member]:
    """Return the files of data that lie in the clone and nowhere in its commit."""
    members: dict[str, Member] = {}
    for file in run.trace.files:
        if file.kind != "data" or file.held != "nowhere":
            continue
        why = _why_no_data(file, clone / file.path, largest)
        if why:
            left_out[file.path] = described(file.size, file.sha256, why)
        else:
            members[f"data/{file.path}"] = clone / file.path
    return members


def _why_no_data(file: KnownFile, path: Path, largest: int) -> str | None:
    if Path(file.path).is_absolute():
        return "data outside of the project"
    if file.size > largest:
        return f"larger than {largest // MEGABYTE} MB"
    try:
        changed = read_file(path).sha256 != file.sha256
        return "the data has changed" if changed else _secret(path, file.path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _check_portable(name: str) -> None:
    try:
        check_name(name)
    except RecordError:
        raise RecordError(
            f"The file {name!r} of this run cannot be unpacked on every system (Windows takes no "
            "such name), so nobody could open its crate. Give it another name, and run it again."
        ) from None


def _who(clone: Path) -> str:
    try:
        return git(clone, "config", "user.name").decode(errors="replace").strip()
    except GitError:
        return "not stated"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _described(members: Mapping[str, Member]) -> list[Described]:
    """Return what the metadata describe: every file, but code/ as one folder."""
    found = []
    for name, member in sorted(members.items()):
        if CODE.match(name) and name != "code/uv.lock":
            continue
        size = len(member) if isinstance(member, bytes) else os.stat(member).st_size
        shown = NAMES.get(name, PurePosixPath(name).name)
        found.append(Described(name, shown, size, _role(name)))
    found.append(Described(MANIFEST, "The SHA-256 of every file", None))  # of this one, too
    return found


def _role(name: str) -> str:
    if name.startswith("artifacts/") or name == "metrics.csv":
        return "result"
    if name.startswith("data/") or name in ("code/uv.lock", f"{FOLDER}/config.yaml"):
        return "object"
    return "object" if name == f"{FOLDER}/packages.txt" else ""


def _notes(run: RecordedRun, code: Sources) -> list[str]:
    notes, said = [], about.read(code.files)
    if not said.licence_said:
        notes.append(
            "The project states no licence, so nobody may use the crate. Add one: license = "
            '"MIT" in pyproject.toml, or a file LICENSE.'
        )
    if not said.authors:
        notes.append("The project names no authors. Add them: CITATION.cff, or a file AUTHORS.")
    if run.trace.code.not_stored:
        names = ", ".join(run.trace.code.not_stored)
        notes.append(f"The run had files whose contents are not recorded: {names}.")
    return notes


def _why_refused(commands: Iterable[tuple[Trace, Sources]]) -> str | None:
    """Return why `reproduce` would refuse what is executed of a crate; None if it would not."""
    try:
        for trace, code in commands:
            sums = {path: content_of(content).sha256 for path, content in code.files.items()}
            trust.check_modes(code.modes)
            trust.check(trace, sums)
            trust.check_data(trace, sums)
    except Refused as refused:
        return refused.what
    return None
