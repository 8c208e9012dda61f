"""The code that a run imported after its start, when its trace had been recorded."""

import contextlib
import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from samerun.code import imported, known
from samerun.code.known import Content, KnownFile
from samerun.secrets.storable import rules_of, why_not_stored

LISTED = "later.json"  # in the folder of the trace, beside the folder with the files themselves
FILES = "later"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def recorded(run_id: str, folder: str, root: Path) -> Iterator[None]:
    """Store, at the end of what runs inside, the project's files that it imported, or anew."""
    before = imported.files()
    try:
        yield
    finally:
        try:
            now = imported.files()
            late = {path: content for path, content in now.items() if before.get(path) != content}
            if late:
                _store(run_id, folder, root.resolve(), late)
        except Exception as error:  # whatever it is, the experiment matters more
            log.warning("What this run imported after its start is not recorded: %s", error)


def _store(run_id: str, folder: str, root: Path, late: Mapping[Path, Content]) -> None:
    from mlflow import MlflowClient

    listed, rules = [], rules_of(root)
    with tempfile.TemporaryDirectory() as name:
        for path, content in sorted(late.items()):
            shown, held = known.shown(path, root), "nowhere"
            kept = content.content
            is_ours = path.is_relative_to(root)
            if is_ours and kept is not None and why_not_stored(shown, kept, rules) is None:
                copy = Path(name, FILES, shown)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(kept)
                held = FILES
            listed.append(KnownFile(shown, "imported later", content.sha256, content.size, held))
        text = json.dumps([dataclasses.asdict(file) for file in listed], indent=2)
        Path(name, LISTED).write_bytes(text.encode())
        MlflowClient().log_artifacts(run_id, name, folder)


def read(folder: Path) -> tuple[KnownFile, ...]:
    """Return the files that a trace's folder lists as imported later."""
    listed = folder / LISTED
    if not listed.exists():
        return ()
    return tuple(KnownFile(**file) for file in json.loads(listed.read_text(encoding="utf-8")))
