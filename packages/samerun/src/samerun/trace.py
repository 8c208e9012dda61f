"""The trace of a run: everything it records so that someone else can repeat it.

collect   gathers the trace; an item that cannot be had is named in `problems`, never raised
record    stores it with the active MLflow run: tags `trace.*` and artifacts under `trace/`
"""

import dataclasses
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from samerun.code import imported, known, notebook
from samerun.code.checkout import MEGABYTE, Code, State, checkout_state, warn
from samerun.code.known import Content, KnownFile
from samerun.command.repeat import (
    Command,
    directory,
    hydra_job,
    hydra_overrides,
    repeating,
    running_script,
)
from samerun.config import as_yaml, without_secrets
from samerun.data import Data, Dataset
from samerun.errors import RecordError
from samerun.machine.arithmetic import fingerprints
from samerun.machine.description import (
    Environment,
    Machine,
    environment,
    installed_packages,
    machine,
    read_lock,
)
from samerun.process.variables import set_variables
from samerun.secrets.masking import masked, masked_arguments, masked_text
from samerun.store.tracking import own_uri

if TYPE_CHECKING:
    from omegaconf import DictConfig

SCHEMA = 2
READABLE = (1, 2)  # what a newer form adds, an older trace lacks
FOLDER = "trace"  # of the run's artifacts
ADDED = "added-"  # and a number: folders below it, of commands that added to a run that had ended
LARGEST_PATCH = 20 * MEGABYTE

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Trace:
    """Everything that a run records of itself.

    `patch` and `packages` are stored as files of their own beside trace.json. `script` is relative
    to the checkout, None in a notebook. `files` are all files that it used, by their digests;
    `cells` is what a notebook had executed when the run started; `paths` are the folders of the
    project that it imported from. `problems` says which items could not be had, and why.
    """

    started: str
    seed: int | None
    script: str | None
    directory: str
    command: tuple[str, ...]
    overrides: tuple[str, ...]
    config: dict[str, object]
    code: Code
    data: Data | None
    environment: Environment | None
    machine: Machine | None
    problems: dict[str, str]
    repeat: Command | None = None
    variables: dict[str, str] = field(default_factory=dict)  # see `samerun.process.variables`
    schema: int = SCHEMA
    patch: bytes = b""
    packages: tuple[str, ...] = ()
    files: tuple[KnownFile, ...] = ()
    cells: str | None = None
    paths: tuple[str, ...] = ()


def collect(
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset | None,
    root: Path,
    *,
    overrides: Sequence[str] | None = None,
    script: str | None = None,
) -> Trace:
    """Gather the trace of a run that is about to start. Never raises for an item it cannot have.

    `overrides` are those of the Hydra job unless given: a tuning trial, which composes a
    configuration of its own inside a job, names them, and the `script` beside the running one that
    takes them.
    """
    problems: dict[str, str] = {}

    def attempt(item: str, gather: Callable[[], T], otherwise: T) -> T:
        try:
            return gather()
        except Exception as error:
            problems[item] = masked_text(f"{type(error).__name__}: {error}")[:1000]
            log.warning("The trace of this run lacks its %s: %s", item, problems[item])
            return otherwise

    config: dict[str, object] = attempt("configuration", lambda: without_secrets(cfg), {})
    if "configuration" in problems:  # an interpolation may fail: then as it is written
        config = attempt(
            "configuration as written", lambda: without_secrets(cfg, resolve=False), {}
        )
    composed = overrides
    if overrides is None:
        overrides = attempt("overrides", hydra_overrides, tuple[str, ...]())
    lock = attempt("lock", lambda: read_lock(root), None)
    packages: dict[str, str] = attempt("packages", installed_packages, {})
    used = _used(attempt)
    now = {path: content for _, files in used for path, content in files.items()}
    state = attempt("code", lambda: checkout_state(root, lock, "lock" in problems, now), State())
    if state.without_commit:
        problems["commit"] = state.without_commit
    if len(state.patch) > LARGEST_PATCH:
        problems["patch"] = f"{len(state.patch) / MEGABYTE:.0f} MB of changes; not stored"
        log.warning("The changes since the last commit are too large to keep. Commit them.")
        held = {path: where for path, where in state.held.items() if where != "patch"}
        state = dataclasses.replace(state, patch=b"", held=held)
    unsure = [path for path, content in now.items() if not content.certain]
    uncertain = sorted({known.shown(path, root.resolve()) for path in unsure})
    moved_links = [known.shown(path, root.resolve()) for path in imported.moved_links()]
    code = dataclasses.replace(state.code, uncertain=tuple(uncertain + moved_links))
    warn(code, state.without_commit)
    data_files: list[KnownFile] = attempt(
        "files of the data", lambda: known.data_files(dataset, root, state.held), []
    )
    arithmetic: dict[str, str] = attempt("arithmetic", fingerprints, {})
    return Trace(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=attempt("seed", lambda: _seed(config), None),
        script=attempt("script", lambda: running_script(root), None),
        directory=attempt("directory", directory, ""),
        command=attempt("command", lambda: masked_arguments(sys.argv), ()),
        overrides=masked_arguments(overrides),
        config=config,
        code=code,
        data=attempt("data", lambda: _data(dataset), None),
        environment=attempt("environment", lambda: environment(lock, packages), None),
        machine=attempt("machine", lambda: machine(arithmetic), None),
        problems=problems,
        repeat=attempt(
            "command to repeat it",
            lambda: repeating(cfg, root, overrides=composed, script=script),
            None,
        ),
        variables=attempt("variables", lambda: set_variables(own_uri()), {}),
        patch=state.patch,
        packages=tuple(f"{name}=={version}" for name, version in packages.items()),
        files=(*_known_files(used, state, root), *data_files),
        cells=attempt("cells of the notebook", notebook.cells, None),
        paths=attempt("import paths", lambda: imported.roots(root), ()),
    )


Used = list[tuple[str, dict[Path, Content]]]


class Attempt(Protocol):
    def __call__(self, item: str, gather: Callable[[], T], otherwise: T) -> T: ...


def _used(attempt: Attempt) -> Used:
    """Return the files that this process runs and was configured by, by kind."""

    def configuration() -> dict[Path, Content]:
        job = hydra_job()
        return known.configuration(job) if job else {}

    return [
        ("configuration", attempt("files of the configuration", configuration, {})),
        ("imported", attempt("imported files", imported.files, {})),
    ]


def _known_files(used: Used, state: State, root: Path) -> list[KnownFile]:
    files = []
    for kind, contents in used:
        for path, content in contents.items():
            shown = known.shown(path, root.resolve())
            held = state.held.get(shown, "nowhere")
            files.append(KnownFile(shown, kind, content.sha256, content.size, held))
    return sorted(files, key=lambda file: (file.kind, file.path))


def _data(dataset: Dataset | None) -> Data | None:
    if dataset is None:
        return None
    rows = {str(split): int(n) for split, n in getattr(dataset, "rows", {}).items()}
    return Data(str(dataset.name), str(dataset.digest), str(dataset.source), rows=rows)


def _seed(config: Mapping[str, object]) -> int | None:
    seed = config.get("seed")
    return None if seed is None else int(str(seed))


def tags(trace: Trace) -> dict[str, str]:
    """Return the tags by which the MLflow UI can filter runs, like tags.`trace.dirty` = 'true'."""
    dirty = {True: "true", False: "false", None: "unknown"}[trace.code.dirty]
    values = {
        "commit": trace.code.commit,
        "branch": trace.code.branch,
        "dirty": dirty,
        "dataset": trace.data and trace.data.name,
        "dataset_digest": trace.data and trace.data.digest,
        "seed": trace.seed,
        "lock": trace.environment and trace.environment.lock,
        "environment": trace.environment and trace.environment.installed,
        "problems": ", ".join(trace.problems) or None,
    }
    # A branch may have a name that is no Unicode; databases of a server take 5,000 characters.
    return {
        f"trace.{name}": masked_text(str(value), by_key=False)
        .encode(errors="replace")
        .decode()[:1000]
        for name, value in values.items()
        if value is not None
    }


def to_json(trace: Trace) -> str:
    """Return trace.json: all of the trace but what has files of its own, without any secret."""
    fields = dataclasses.asdict(trace)
    del fields["patch"], fields["packages"], fields["cells"]
    return json.dumps(masked(fields, by_key=False), indent=2)


def from_json(
    text: str, patch: bytes = b"", packages: tuple[str, ...] = (), cells: str | None = None
) -> Trace:
    """Return the trace that `to_json` wrote.

    Raises
    ------
    RecordError
        The text is no trace, or one of another version of samerun.
    """
    try:
        fields = json.loads(text)
        if fields["schema"] not in READABLE:
            raise RecordError(
                f"This trace has the form {fields['schema']}, expected {SCHEMA}: another version "
                "of samerun recorded it. Install that version to read it."
            )
        kinds = {
            "code": Code,
            "data": Data,
            "environment": Environment,
            "machine": Machine,
            "repeat": Command,
        }
        for part, kind in kinds.items():
            if fields.get(part) is not None:
                fields[part] = kind(**_tuples(fields[part]))
        fields["files"] = [KnownFile(**file) for file in fields.get("files", [])]
        return Trace(**_tuples(fields), patch=patch, packages=packages, cells=cells)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"trace.json cannot be read ({error}): it was altered.") from error


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in fields.items()}


def record(trace: Trace, folder: str = FOLDER, run_id: str | None = None) -> None:
    """Store the trace with an MLflow run, the active one by default, below `folder`.

    The tags are set by the first trace of a run; those of continuations and of commands that add
    to it go below trace/.
    """
    import mlflow

    if folder == FOLDER:
        mlflow.set_tags(tags(trace))
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        # As bytes: Windows would turn line ends, and paths may hold what is no Unicode.
        (files / "trace.json").write_bytes(to_json(trace).encode())
        (files / "config.yaml").write_bytes(as_yaml(trace.config).encode(errors="replace"))
        (files / "packages.txt").write_bytes("".join(f"{p}\n" for p in trace.packages).encode())
        if trace.patch:
            (files / "changes.patch").write_bytes(trace.patch)
        if trace.cells is not None:
            (files / "cells.py").write_bytes(trace.cells.encode(errors="replace"))
        mlflow.log_artifacts(name, folder, run_id)
