"""The files that a run was made from, each known by its digest: code, configuration, data."""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from samerun.machine.installed import in_environment

LARGEST_KEPT = 2**20  # bytes; of a larger file only the digest is kept
BLOCK = 2**20  # bytes read at a time


@dataclass(frozen=True)
class Content:
    """A file as it was used.

    content : None if it is large
    certain : whether this is known to be what was used
    """

    sha256: str
    size: int
    content: bytes | None
    certain: bool = True


@dataclass(frozen=True)
class KnownFile:
    """A file that a run used.

    path : relative to the project if it lies there, with "/"
    kind : "imported", "configuration" or "data"
    sha256, size : of its content as it was used, in bytes
    held : where its content is kept: "commit", "patch" (the changes that the run stores), or
        "nowhere": then it takes a copy of the file to repeat the run
    """

    path: str
    kind: str
    sha256: str
    size: int
    held: str = "nowhere"


def content_of(data: bytes, certain: bool = True) -> Content:
    kept = data if len(data) <= LARGEST_KEPT else None
    return Content(hashlib.sha256(data).hexdigest(), len(data), kept, certain)


def read(path: Path) -> Content:
    """Read a file, however large. Raises OSError."""
    with path.open("rb") as file:
        beginning = file.read(LARGEST_KEPT + 1)
        digest = hashlib.sha256(beginning)
        while block := file.read(BLOCK):
            digest.update(block)
        kept = beginning if len(beginning) <= LARGEST_KEPT else None
        return Content(digest.hexdigest(), file.tell(), kept)


def known_file(path: Path, kind: str, root: Path) -> KnownFile:
    """Read a file by its real path, and return what is known of it. Raises OSError."""
    content = read(path)
    return KnownFile(shown(path, root.resolve()), kind, content.sha256, content.size)


def shown(path: Path, root: Path) -> str:
    """Return a real path as a trace names it: relative to the project if it lies there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def configuration(job: Any) -> dict[Path, Content]:
    """Return the files below the folders from which a Hydra job composed its configuration.

    One that was saved after Hydra wrote down what it had composed is not certain.
    """
    composed = _composed_at(job)
    folders = {folder for source in job.runtime.config_sources for folder in _folders(source)}
    found = {}
    for path in sorted({path for folder in folders for path in folder.rglob("*.y*ml")}):
        if path.is_file():
            content = read(path)
            certain = composed is None or path.stat().st_mtime_ns <= composed
            found[path.resolve()] = Content(content.sha256, content.size, content.content, certain)
    return found


def _folders(source: Any) -> list[Path]:
    """Return the folders of one of Hydra's config sources, if they are of the project."""
    if source.schema == "file" and source.path:
        return [Path(source.path)]
    if source.schema == "pkg" and source.provider != "hydra" and source.path:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(source.path.replace("/", "."))
            places = list(spec.submodule_search_locations or ()) if spec else []
            return [Path(place) for place in places if not in_environment(place + os.sep)]
    return []


def _composed_at(job: Any) -> int | None:
    """Return when Hydra wrote the job's .hydra/config.yaml, just before it called the script."""
    if not job.output_subdir:
        return None
    try:
        written = Path(job.runtime.output_dir, job.output_subdir, "config.yaml")
        return os.stat(written).st_mtime_ns
    except OSError:
        return None


def data_files(dataset: object, root: Path, held: Mapping[str, str]) -> list[KnownFile]:
    """Return the files of a data set that names them in `files`, as paths or as KnownFile.

    held : where the contents of the project's files are kept, by their paths

    Raises OSError for a path that cannot be read.
    """
    named: Iterable[object] = getattr(dataset, "files", None) or ()
    root = root.resolve()
    found = []
    for item in named:
        if isinstance(item, KnownFile):
            item = replace(item, path=shown((root / item.path).resolve(), root))
        else:
            item = known_file(Path(str(item)).resolve(), "data", root)
        found.append(replace(item, held=held.get(item.path, item.held)))
    return found
