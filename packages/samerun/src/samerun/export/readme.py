"""README.md of a crate: what it is, and the commands, for whoever unpacks it in ten years."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from samerun.command.quoting import command_line
from samerun.export import metadata
from samerun.export.about import About, Author
from samerun.export.packing import MANIFEST
from samerun.export.sources import PROGRAM, Sources, swhid
from samerun.recorded import RecordedRun

CONTENTS = {
    "code/": "the project as it was when the run started, its changes included",
    "trace/": "the record: configuration, packages, machine, files by their digests, the changes",
    "artifacts/": "what the run left: model, figures, reports",
    "data/": "files that the run read and that the code does not hold",
    "metrics.csv": "every metric at every step",
    "checklist.md": "what a form on reproducibility asks, answered as far as the record knows",
    "commit": "the commit as git stores it",
    "run.json": "the run for samerun: parameters, metrics, tags, what is left out",
    "ro-crate-metadata.json": "what is in here, for machines: RO-Crate 1.1, Process Run Crate 0.5",
    MANIFEST: "the SHA-256 of every file",
}


def document(
    run: RecordedRun,
    sources: Sources,
    about: About,
    agent: Author,
    names: Sequence[str],
    left_out: Mapping[str, str],
) -> bytes:
    """Return the README of a crate.

    names : of the files of the crate, this one and the manifest may be missing among them
    left_out : what the run had and the crate lacks, and why
    """
    trace = run.trace
    of = f" of *{about.name}*" if about.name else ""
    lines = [
        f"# The run {run.name}",
        "",
        f"One run{of}, recorded by samerun: {run.run_id}, started {trace.started}, "
        f"{run.status.lower()}. Run by {agent.name}.",
        "",
        "## Run it again",
        "",
        "With samerun, the library that recorded it, in a clone of the project or wherever its "
        "packages are installed. It shows what will be executed, and asks:",
        "",
        "```",
        "uv run samerun reproduce THIS.zip",
        "```",
        "",
        *_by_hand(run, sources),
        "## Prove that it is whole",
        "",
        "```",
        f"sha256sum --check {MANIFEST}",
        "```",
        "",
        *_identifiers(sources),
        "## What is in here",
        "",
        "| | |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in CONTENTS.items() if _is_there(name, names)),
        *_later(names),
        "",
    ]
    if left_out:
        lines += ["Left out:", ""]
        lines += [f"- `{path}`: {why}" for path, why in sorted(left_out.items())] + [""]
    lines += ["## Licence and authors", "", *_rights(about)]
    return ("\n".join(lines) + "\n").encode(errors="replace")


def _by_hand(run: RecordedRun, sources: Sources) -> list[str]:
    repeat = run.trace.repeat
    if not repeat or not repeat.words:
        return [*(repeat.notes if repeat else ()), ""]
    folder = (PurePosixPath("code") / repeat.directory).as_posix()
    notes = [*repeat.notes]
    links = [path for path, mode in sources.modes.items() if not mode.startswith("100")]
    if links:
        notes.append(f"Links and submodules are not in code/ as such: {', '.join(sorted(links))}.")
    return [
        "By hand, after the archive was unpacked:",
        "",
        "```",
        command_line(["cd", folder]),
        command_line(repeat.words),
        "```",
        "",
        *(line for note in notes for line in (note, "")),
    ]


def _identifiers(sources: Sources) -> list[str]:
    directory, revision = swhid("dir", sources.directory), swhid("rev", sources.revision)
    if not directory:
        return []
    lines = [
        "What ran has a name that follows from its contents, and by which the archive of [Software "
        "Heritage](https://www.softwareheritage.org) knows it:",
        "",
        f"- `{directory}`: the files in `code/`",
    ]
    if revision:
        lines.append(f"- `{revision}`: the commit that they were made from")
    programs = sorted(path for path, mode in sources.modes.items() if mode == PROGRAM)
    modes = ["git", "update-index", "--chmod=+x", *programs]
    return [
        *lines,
        "",
        "To compute the first one anew:",
        "",
        "```",
        "cd code",
        "git init",
        "git add --all --force",
        *([command_line(modes)] if programs else []),
        "git write-tree",
        "```",
        "",
    ]


def _later(names: Sequence[str]) -> list[str]:
    """Return the rows of the code in which something was added to the run after its end."""
    folders = sorted({name.split("/")[0] for name in names if re.match(r"code-\d+/", name)})
    return [
        f"| `{folder}/` | ... as it was when something was added to the run: an evaluation, say |"
        for folder in folders
    ]


def _is_there(name: str, names: Sequence[str]) -> bool:
    if name in (MANIFEST, metadata.NAME):  # these are made after this file
        return True
    return any(other == name or (name.endswith("/") and other.startswith(name)) for other in names)


def _rights(about: About) -> list[str]:
    authors = ", ".join(author.name for author in about.authors) or "not stated"
    return [f"Code: {authors}. Licence: {about.licence_said or 'none is stated'}."]
