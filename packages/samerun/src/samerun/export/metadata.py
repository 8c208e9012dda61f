"""ro-crate-metadata.json: what is in a crate, for machines.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the profile Process Run Crate 0.5: a dataset that
mentions an action, which had an instrument (the script), objects and results. It is one document
of JSON; the libraries that write such documents do not know what to say in it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samerun.export.about import About, Author
from samerun.export.record import places
from samerun.export.sources import Sources, swhid
from samerun.recorded import RecordedRun

NAME = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
RO_CRATE = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
# Not Python's mimetypes: what that says depends on the machine.
TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".lock": "text/plain",
    ".md": "text/markdown",
    ".npz": "application/zip",
    ".patch": "text/x-diff",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".skops": "application/zip",
    ".svg": "image/svg+xml",
    ".toml": "application/toml",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}

Entity = dict[str, Any]


@dataclass(frozen=True)
class Described:
    """A file of the crate that its metadata describe.

    size : in bytes; None where it cannot be known yet
    role : "object" if the run was made from it, "result" if it came out of the run, "" otherwise
    """

    path: str
    name: str
    size: int | None
    role: str = ""


def document(
    run: RecordedRun,
    sources: Sources,
    about: About,
    files: Sequence[Described],
    later: Sequence[Sources] = (),
    *,
    agent: Author,
    started: str,
    ended: str,
) -> bytes:
    """Return the metadata of a crate.

    Parameters
    ----------
    files : those beside code/
    later : other states of the code, in which something was added to the run after its end
    agent : who ran it
    started, ended : of the run, in ISO 8601. Its end counts as the date of publication, too: so
        that one run makes one crate; an archive sets its own date
    """
    people = [_author(author) for author in about.authors]
    who = _author(agent)
    licence = _licence(about)
    script, instrument = _instrument(run, sources, people or [who])
    data = _data(run)
    codes = [
        _code(one, number, about, people or [who]) for number, one in enumerate((sources, *later))
    ]
    others = [file for file in files if file.path != script]
    parts = [*(file.path for file in others), *([script] if script else [])]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"The run {run.name} ({run.run_id[:8]})",
        "description": _description(run, about),
        "datePublished": ended,
        "license": {"@id": licence["@id"]},
        "author": {"@id": who["@id"]},
        "conformsTo": {"@id": PROFILE},
        "hasPart": [
            *({"@id": code["@id"]} for code in codes),
            *({"@id": _identifier(path)} for path in sorted(parts)),
        ],
        "mentions": {"@id": f"#run-{run.run_id}"},
    }
    action: Entity = {
        "@id": f"#run-{run.run_id}",
        "@type": "CreateAction",
        "name": run.name,
        "description": "The run, as it was started and recorded",
        "startTime": started,
        "endTime": ended,
        "actionStatus": {"@id": _status(run)},
        "agent": {"@id": who["@id"]},
        "instrument": {"@id": instrument["@id"]},
        "object": [
            *({"@id": _identifier(file.path)} for file in others if file.role == "object"),
            *([{"@id": data["@id"]}] if data else []),
        ],
        "result": [{"@id": _identifier(file.path)} for file in others if file.role == "result"],
    }
    entities = [
        {
            "@id": NAME,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": RO_CRATE},
        },
        root,
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        licence,
        action,
        instrument,
        *codes,
        *([data] if data else []),
        *(_file(file) for file in others),
        *{person["@id"]: person for person in [who, *people]}.values(),
    ]
    graph = {"@context": CONTEXT, "@graph": entities}
    return json.dumps(graph, indent=2, ensure_ascii=False).encode() + b"\n"


def _description(run: RecordedRun, about: About) -> str:
    of = f" of {about.name}" if about.name else ""
    return (
        f"A recorded run{of}: its code, configuration and packages, what came out of it, and how "
        "to run it again. See README.md."
    )


def _status(run: RecordedRun) -> str:
    done = "CompletedActionStatus" if run.status == "FINISHED" else "FailedActionStatus"
    return f"http://schema.org/{done}"


def _instrument(
    run: RecordedRun, sources: Sources, people: Sequence[Entity]
) -> tuple[str | None, Entity]:
    """Return the path of the script that ran, if the crate has it, and what is to say of it."""
    script = run.trace.script
    version = sources.revision or sources.directory
    entity: Entity = {
        "@id": "#program",
        "@type": "SoftwareSourceCode",
        "name": script or "the program that ran",
        "version": version,
        "programmingLanguage": "Python",
        "author": _one_or_more([{"@id": person["@id"]} for person in people]),
    }
    if run.trace.code.remote and "://" in run.trace.code.remote:
        entity["codeRepository"] = entity["url"] = run.trace.code.remote
    if script is None or script not in sources.files:
        return None, entity
    path = f"code/{script}"
    entity |= {"@id": _identifier(path), "@type": ["File", "SoftwareSourceCode"]}
    entity |= {"contentSize": str(len(sources.files[script])), "encodingFormat": _type(path)}
    return path, entity


def _code(sources: Sources, number: int, about: About, people: Sequence[Entity]) -> Entity:
    names = [swhid("dir", sources.directory), swhid("rev", sources.revision)]
    entity: Entity = {
        "@id": f"{places(number)[0]}/",
        "@type": "Dataset",
        "name": "The code that added to the run" if number else "The code that ran",
        "description": (
            "All files of the project as they were when the command started, changes included. "
            f"{len(sources.files)} files."
        ),
        "author": _one_or_more([{"@id": person["@id"]} for person in people]),
    }
    if identifiers := [name for name in names if name]:
        entity["identifier"] = _one_or_more(identifiers)
    if about.licence_address:
        entity["license"] = {"@id": about.licence_address}
    return entity


def _data(run: RecordedRun) -> Entity | None:
    data = run.trace.data
    if data is None:
        return None
    files = [file for file in run.trace.files if file.kind == "data"]
    listed = "".join(f"; {file.path}: SHA-256 {file.sha256}" for file in files)
    return {
        "@id": "#data",
        "@type": "PropertyValue",
        "name": data.name,
        "propertyID": "digest",
        "value": data.digest,
        "description": f"The data that the run read. Source: {data.source}{listed}",
    }


def _licence(about: About) -> Entity:
    if about.licence_address:
        return {"@id": about.licence_address, "@type": "CreativeWork", "name": about.licence}
    what = about.licence_said or "none is stated"
    return {
        "@id": "#licence",
        "@type": "CreativeWork",
        "name": what,
        "description": "Ask the authors before you use it." if not about.licence_file else what,
    }


def _author(author: Author) -> Entity:
    slug = "".join(c if c.isalnum() else "-" for c in author.name.lower())
    kind = "Person" if author.person else "Organization"
    return {"@id": author.orcid or f"#{slug}", "@type": kind, "name": author.name}


def _file(file: Described) -> Entity:
    size = {} if file.size is None else {"contentSize": str(file.size)}
    return {
        "@id": _identifier(file.path),
        "@type": "File",
        "name": file.name,
        **size,
        "encodingFormat": _type(file.path),
    }


def _type(path: str) -> str:
    suffix = f".{path.rpartition('.')[2].lower()}"
    return TYPES.get(suffix, "application/octet-stream")


def _identifier(path: str) -> str:
    """Return a path as the relative address that JSON-LD wants."""
    from urllib.parse import quote

    return quote(path, safe="/!$&'()*+,;=@-._~")


def _one_or_more(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def read(content: bytes) -> Mapping[str, Any]:
    """Return the entities of a document by their `@id`. Raises ValueError for what is none."""
    graph = json.loads(content)["@graph"]
    return {entity["@id"]: entity for entity in graph}
