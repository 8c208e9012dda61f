"""The variables of a person's shell that steer MLflow, Hydra and Optuna.

One that is left over from other work must not change where a run goes unseen. Those in `REFUSED`
stop a run before it begins, those in `IGNORED` have no effect on it, all others do what their
library says; and the trace names every one that was set.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping

from samerun.errors import RecordError
from samerun.secrets.masking import is_secret, masked_text

LIBRARIES = re.compile(r"_?(MLFLOW|HYDRA|OPTUNA)_[A-Z0-9_]+")

REFUSED = {
    "MLFLOW_RUN_ID": "this run would be written into that one",
    "MLFLOW_ACTIVE_MODEL_ID": "the metrics of this run would be counted as that model's",
    "_MLFLOW_ACTIVE_MODEL_ID": "the metrics of this run would be counted as that model's",
}
REFUSED_LOCALLY = {
    "MLFLOW_ENABLE_WORKSPACES": "this store would show the runs of one workspace alone",
}
IGNORED = {
    "MLFLOW_EXPERIMENT_ID": "the configuration names the experiment",
    "MLFLOW_EXPERIMENT_NAME": "the configuration names the experiment",
    "MLFLOW_RUN_CONTEXT": "a run has the tags that its own script sets",
}
OURS = "MLFLOW_DISABLE_TELEMETRY"  # set by samerun.store
HARMLESS = re.compile(r"true|false|\d{1,6}(\.\d+)?", re.I)

log = logging.getLogger(__name__)


def check_variables(address: str) -> None:
    """Refuse to start a run that a variable would lead elsewhere, with a RecordError.

    address : of the store that is recorded to
    """
    refused = REFUSED if address.startswith("http") else REFUSED | REFUSED_LOCALLY
    for name, consequence in refused.items():
        value = os.environ.get(name)
        if value and value.lower() not in ("false", "0"):
            raise RecordError(
                f"{name}={value} is set, perhaps since earlier work: {consequence}. "
                f"Unset it, then start again:\n  {to_unset(name)}"
            )


def to_unset(name: str) -> str:
    """Return the line that unsets a variable, as the shell at hand wants it."""
    if os.name == "nt":
        return f"Remove-Item Env:{name}"
    return f"set -e {name}" if os.environ.get("SHELL", "").endswith("fish") else f"unset {name}"


@contextlib.contextmanager
def ignored_ones_unset() -> Iterator[None]:
    """Take the variables that shall have no effect away for a while, and say so."""
    found = {name: os.environ.pop(name) for name in IGNORED if name in os.environ}
    for name in found:
        log.warning("%s is set, and ignored: %s.", name, IGNORED[name])
    try:
        yield
    finally:
        os.environ.update(found)


@contextlib.contextmanager
def variables_set(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables for a while, or unset those whose value is None.

    At the end these are as they were, whatever was done to them meanwhile.
    """
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def set_variables(own_address: str) -> dict[str, str]:
    """Return the variables of these libraries that are set, by name.

    A value is kept where it can hold no secret: a number, true or false, an address without its
    password. It is "" otherwise. What this library sets itself is left out, such as the address of
    the project's own store.
    """
    return {
        name: _shown(name, value)
        for name, value in sorted(os.environ.items())
        if LIBRARIES.fullmatch(name) and name != OURS and value != own_address
    }


def _shown(name: str, value: str) -> str:
    if name == "MLFLOW_TRACKING_URI":
        return masked_text(value)
    return value if HARMLESS.fullmatch(value) and not is_secret(name) else ""
