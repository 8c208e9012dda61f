"""Errors that a person can mend, shown without a traceback."""

import functools
import os
import re
import traceback
from collections.abc import Callable
from pathlib import Path

from samerun.errors import RecordError, innermost

TODO = re.compile(r"TODO (\d+\.\d+)")


class WorkshopError(RecordError):
    """Something of the course that a person can mend, as a RecordError is one of the record."""


def plain_errors(main: Callable) -> Callable:
    """Let the `main` of a part end bad input, open TODOs and Ctrl+C without a traceback.

    Goes between `@hydra.main` and the function. What a person can mend becomes one message;
    anything unforeseen keeps its traceback, and so does everything when HYDRA_FULL_ERROR is 1.
    Files in conf/ that are not YAML end a script here: Hydra would show them as a traceback.
    """
    if main.__module__ == "__main__" and os.environ.get("HYDRA_FULL_ERROR") != "1":
        _check_yaml(Path(main.__code__.co_filename).parent / "conf")

    @functools.wraps(main)
    def wrapper(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except Exception as error:
            message = _message(error)
            if message is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            raise SystemExit(f"\nerror: {message}") from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # the status that shells give to Ctrl+C

    return wrapper


def _check_yaml(folder: Path) -> None:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    for path in sorted(folder.rglob("*.yaml")):
        try:
            OmegaConf.load(path)
        except YAMLError as error:
            raise SystemExit(
                f"\nerror: {error}\n  Expected YAML: each key once, as `key: value`, and spaces, "
                "not tabs, before it."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"\nerror: {path} cannot be read as UTF-8 text: {error}") from None


def _message(error: Exception) -> str | None:
    """Return what a person should read of an error they can mend, None for any other."""
    from hydra.errors import HydraException
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    cause = innermost(error)
    if isinstance(cause, NotImplementedError) and (todo := TODO.search(str(cause))):
        place = traceback.extract_tb(cause.__traceback__)[-1]
        return (
            f"{cause}\n  still open in {place.filename}, line {place.lineno}\n"
            f"  a hint:  uv run workshop hint {todo[1]}"
        )
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause}\n  ??? in conf/ marks what has to be filled in: uv run workshop check"
    for known in (cause, error):
        if isinstance(known, (RecordError, HydraException, OmegaConfBaseException)):
            return str(known)
    if type(error).__name__ == "InvalidParameterError":  # scikit-learn's; its module is private
        return f"{error}\n  It comes from the configuration: see conf/ or your command line."
    return None
