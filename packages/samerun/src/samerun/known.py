"""The files that a run was made from, each known by its digest: code, configuration, data."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def shown(path: Path, root: Path) -> str:
    """Return a real path as a trace names it: relative to the project if it lies there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def configuration(job: Any) -> dict[Path, Content]:
    """Return the files below the folders from which a Hydra job composed its configuration.

    One that was saved after Hydra wrote down what it had composed is not certain.
    """
    composed = _composed_at(job)
    folders = [s.path for s in job.runtime.config_sources if s.schema == "file" and s.path]
    found = {}
    for path in sorted({path for f in folders for path in Path(f).rglob("*.y*ml")}):
        if path.is_file():
            content = read(path)
            certain = composed is None or path.stat().st_mtime_ns <= composed
            found[path.resolve()] = Content(content.sha256, content.size, content.content, certain)
    return found


def _composed_at(job: Any) -> int | None:
    """Return when Hydra wrote the job's .hydra/config.yaml, just before it called the script."""
    if not job.output_subdir:
        return None
    try:
        written = Path(job.runtime.output_dir, job.output_subdir, "config.yaml")
        return os.stat(written).st_mtime_ns
    except OSError:
        return None


def data_files(dataset: object, root: Path) -> list[KnownFile]:
    """Return the files of a data set that names them in `files`, as paths or as KnownFile.

    Raises OSError for a path that cannot be read.
    """
    named: Iterable[object] = getattr(dataset, "files", None) or ()
    found = []
    for item in named:
        if not isinstance(item, KnownFile):
            path = Path(str(item)).resolve()
            content = read(path)
            item = KnownFile(shown(path, root), "data", content.sha256, content.size)
        found.append(item)
    return found
