"""The last gate: what goes through MLflow's client is masked, whoever logs it.

`flatten` and `to_yaml` mask by themselves. Somebody who logs `dict(cfg)` or a file of their own
would let secrets out all the same, so the methods of MLflow's client through which every parameter,
tag, name and artifact passes are wrapped, once for a process. What had to be masked there is said
in a warning and in the tag `trace.masked` of the run.

Of artifacts those that are text of up to 1 MB are looked at, for known secrets and for the forms of
tokens; the files on disk stay as they are. Models and pictures are not looked at.
"""

import contextlib
import functools
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samerun.config import as_yaml
from samerun.secrets.masking import (
    MASK,
    as_text,
    is_harmless,
    is_known,
    is_secret,
    known_anywhere,
    masked_text,
    words,
)

if TYPE_CHECKING:
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

TAG = "trace.masked"
LARGEST_TEXT = 2**20  # bytes
LARGEST_YAML = 10**5  # bytes; its reader is slow
TEXT = words(
    """
    .cfg .conf .csv .env .html .ini .ipynb .json .jsonl .log .md .py .sh .toml .tsv .txt .xml
    .yaml .yml
    """
)

log = logging.getLogger(__name__)
_noted: dict[str, set[str]] = {}  # by the ids of runs


@functools.cache
def guard_client() -> None:
    """Let MLflow's client mask what it is given, from now on in this process."""
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    note = functools.partial(_note, TrackingServiceClient.set_tag)
    for name, guarded in _GUARDS.items():
        plain = getattr(TrackingServiceClient, name)
        setattr(TrackingServiceClient, name, functools.wraps(plain)(guarded(plain, note)))


Note = Callable[["TrackingServiceClient", str, str], None]


def _note(
    set_tag: Callable[..., object], client: "TrackingServiceClient", run_id: str, what: str
) -> None:
    """Say once that something was masked, and keep it with the run."""
    noted = _noted.setdefault(run_id, set())
    if what in noted:
        return
    noted.add(what)
    log.warning(
        "The %s held a secret in clear; it was recorded with %s in its place. "
        "Log flatten(cfg) and to_yaml(cfg): they mask by themselves.",
        what,
        MASK,
    )
    with contextlib.suppress(Exception):  # a remark must not cost a run
        set_tag(client, run_id, TAG, ", ".join(sorted(noted))[:1000])


def _value(value: object, key: str) -> object:
    """Return the value of a parameter or a tag, as text where something in it is masked."""
    text = as_text(value)
    if is_harmless(text):
        return value
    # What MLflow writes itself is JSON with words of its own.
    by_key = not key.startswith("mlflow.") or key in ("mlflow.runName", "mlflow.note.content")
    hidden = MASK if by_key and is_secret(key) else masked_text(text, by_key=by_key)
    return value if hidden == text else hidden


def _log_param(plain: Callable, note: Note) -> Callable:
    def log_param(self, run_id, key, value, *rest, **options):
        hidden = _value(value, key)
        if hidden is not value:
            note(self, run_id, f"parameter {key}")
        return plain(self, run_id, key, hidden, *rest, **options)

    return log_param


def _set_tag(plain: Callable, note: Note) -> Callable:
    def set_tag(self, run_id, key, value, *rest, **options):
        hidden = _value(value, key)
        if hidden is not value:
            note(self, run_id, f"tag {key}")
        return plain(self, run_id, key, hidden, *rest, **options)

    return set_tag


def _set_experiment_tag(plain: Callable, note: Note) -> Callable:
    def set_experiment_tag(self, experiment_id, key, value):
        return plain(self, experiment_id, key, _value(value, key))

    return set_experiment_tag


def _log_batch(plain: Callable, note: Note) -> Callable:
    def log_batch(self, run_id, metrics=(), params=(), tags=(), *rest, **options):
        def hide(items: Sequence, kind: str) -> list:
            result = []
            for item in items:
                hidden = _value(item.value, item.key)
                if hidden is not item.value:
                    note(self, run_id, f"{kind} {item.key}")
                    item = type(item)(item.key, hidden)
                result.append(item)
            return result

        params, tags = hide(params, "parameter"), hide(tags, "tag")
        return plain(self, run_id, metrics, params, tags, *rest, **options)

    return log_batch


def _create_run(plain: Callable, note: Note) -> Callable:
    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        tags = {key: _value(value, key) for key, value in (tags or {}).items()}
        name = run_name and masked_text(run_name)
        run = plain(self, experiment_id, start_time, tags, name)
        if name != run_name:
            note(self, run.info.run_id, "name of the run")
        return run

    return create_run


def _update_run(plain: Callable, note: Note) -> Callable:
    def update_run(self, run_id, status=None, name=None):
        hidden = name and masked_text(name)
        if hidden != name:
            note(self, run_id, "name of the run")
        return plain(self, run_id, status, hidden)

    return update_run


def _log_inputs(plain: Callable, note: Note) -> Callable:
    def log_inputs(self, run_id, datasets=None, *rest, **options):
        from mlflow.entities import Dataset, DatasetInput

        shown = []
        for given in datasets or ():
            fields = dict(given.dataset)
            source = masked_text(fields["source"], by_key=False)
            if source != fields["source"]:
                note(self, run_id, f"source of the dataset {fields['name']}")
                given = DatasetInput(Dataset(**fields | {"source": source}), given.tags)
            shown.append(given)
        return plain(self, run_id, shown if datasets is not None else None, *rest, **options)

    return log_inputs


def _model_params(plain: Callable, note: Note) -> Callable:
    def log_model_params(self, model_id, params):
        return plain(self, model_id, {key: _value(value, key) for key, value in params.items()})

    return log_model_params


def _create_model(plain: Callable, note: Note) -> Callable:
    def create_logged_model(self, *arguments, params=None, tags=None, **options):
        for given in (params, tags):
            if given:
                given.update({key: _value(value, key) for key, value in given.items()})
        return plain(self, *arguments, params=params, tags=tags, **options)

    return create_logged_model


def _log_artifact(plain: Callable, note: Note) -> Callable:
    def log_artifact(self, run_id, local_path, artifact_path=None):
        with _without_secrets(Path(local_path)) as (path, names):
            for name in names:
                note(self, run_id, f"artifact {name}")
            return plain(self, run_id, str(path), artifact_path)

    return log_artifact


def _log_artifacts(plain: Callable, note: Note) -> Callable:
    def log_artifacts(self, run_id, local_dir, artifact_path=None):
        with _without_secrets(Path(local_dir)) as (path, names):
            for name in names:
                note(self, run_id, f"artifact {artifact_path + '/' if artifact_path else ''}{name}")
            return plain(self, run_id, str(path), artifact_path)

    return log_artifacts


_GUARDS = {
    "log_param": _log_param,
    "set_tag": _set_tag,
    "set_experiment_tag": _set_experiment_tag,
    "log_batch": _log_batch,
    "create_run": _create_run,
    "update_run": _update_run,
    "log_inputs": _log_inputs,
    "log_model_params": _model_params,
    "create_logged_model": _create_model,
    "log_artifact": _log_artifact,
    "log_artifacts": _log_artifacts,
}


@contextlib.contextmanager
def _without_secrets(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a file or folder to log, and the names of what was masked in it: the path or a copy."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    hidden = {file: text for file in files if (text := _masked_file(file)) is not None}
    if not hidden:
        yield path, []
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        if path.is_dir():
            shutil.copytree(path, copy)
        for file, text in hidden.items():
            (copy / file.relative_to(path)).write_bytes(text.encode())
        yield (
            copy,
            [
                file.relative_to(path.parent if path.is_file() else path).as_posix()
                for file in hidden
            ],
        )


def _masked_file(file: Path) -> str | None:
    """Return the text of a file with its secrets masked; None if it has none or is no text."""
    if file.suffix.lower() not in TEXT or not file.is_file():
        return None
    try:
        if file.stat().st_size > LARGEST_TEXT:
            return None
        text = file.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    hidden = masked_document(text, file.suffix.lower())
    return None if hidden == text else hidden


def masked_document(text: str, suffix: str = "") -> str:
    """Return a text without known secrets and tokens. Words beside `token` are left alone.

    JSON and YAML are read as what they say, too: a secret may be escaped or span lines there.
    """
    said = _read(text, suffix)
    if said is not None:
        hidden = _hide_known(said, "", known_anywhere())
        if hidden != said and suffix == ".json":
            return json.dumps(hidden, indent=2)
        if hidden != said:
            return as_yaml(hidden)
    return masked_text(text, by_key=False)


def _read(text: str, suffix: str) -> Any:
    """Return what a JSON or YAML file says; None if it is none of them, or not what it seems."""
    try:
        if suffix == ".json":
            return json.loads(text)
        if suffix in (".yaml", ".yml") and len(text) <= LARGEST_YAML:
            import yaml

            return yaml.safe_load(text)
    except (ValueError, RecursionError):
        pass
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
    return None


def _hide_known(value: object, key: str, known: Sequence[str]) -> Any:
    match value:
        case Mapping():
            return {name: _hide_known(item, str(name), known) for name, item in value.items()}
        case list():
            return [_hide_known(item, key, known) for item in value]
        case None | bool():
            return value
        case _ if is_secret(key) and is_known(as_text(value)):
            return MASK
        case str():
            return masked_text(value, by_key=False, known=known)
        case _:
            return value
