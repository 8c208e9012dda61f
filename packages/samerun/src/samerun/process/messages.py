"""Ending a command with a message where a person can mend what was wrong, not with a traceback."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

from samerun.errors import RecordError, innermost
from samerun.process.ending import cancelled_by_signals
from samerun.process.job import in_sweep
from samerun.process.outputs import complaint
from samerun.process.surviving import INTERRUPTED, failed
from samerun.process.variables import to_unset

MODULE = "HYDRA_MAIN_MODULE"  # Hydra's, too: the module that a script is taken for
FULL = "HYDRA_FULL_ERROR"  # Hydra's own variable: 1 shows every traceback

Main = TypeVar("Main", bound=Callable[..., object])


More = Callable[[Exception], str | None]


@overload
def plain_errors(main: Main, *, more: More | None = None) -> Main: ...


@overload
def plain_errors(main: None = None, *, more: More | None = None) -> Callable[[Main], Main]: ...


def plain_errors(main: Any = None, *, more: More | None = None) -> Any:
    """Let the `main` of a script end bad input, Ctrl+C and SIGTERM without a traceback.

    Goes between `@hydra.main`, if there is one, and the function. A RecordError, an error of Hydra
    or of its configuration, and a parameter that scikit-learn refuses become one message; anything
    unforeseen keeps its traceback, and so does everything when HYDRA_FULL_ERROR is 1. Files in
    conf/ that are not YAML end a script here: Hydra would show them as a traceback.

    A job of a sweep ends with a JobFailed in place of the process: see `samerun.sweep.Sweep`.

    more : returns the message of an error that a project knows beside these, None for any other
    """
    if main is None:
        return functools.partial(plain_errors, more=more)
    full = os.environ.get(FULL) == "1"
    if main.__module__ == "__main__" and (module := os.environ.get(MODULE)):
        raise SystemExit(
            f"\nerror: {MODULE}={module} is set, and Hydra would look for the configuration "
            f"there. Unset it:\n  {to_unset(MODULE)}"
        )
    if main.__module__ == "__main__" and not full and "omegaconf" in sys.modules:
        conf = Path(main.__code__.co_filename).parent / "conf"
        _check_yaml(conf)
        if "hydra" in sys.modules and (message := complaint(conf)):
            raise SystemExit(f"\nerror: {message}")

    @functools.wraps(main)
    def wrapper(*args: object, **kwargs: object) -> object:
        try:
            with cancelled_by_signals():
                return main(*args, **kwargs)
        except Exception as error:
            message = (more and more(error)) or message_of(error)
            if os.environ.get(FULL) == "1":
                message = None
            if in_sweep():
                raise failed(error, message) from None
            if message is None:
                raise
            raise SystemExit(f"\nerror: {message}") from error
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None

    return wrapper


def _check_yaml(folder: Path) -> None:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    for path in sorted(folder.rglob("*.yaml")):
        try:
            _check_first_line(path)
            OmegaConf.load(path)
        except YAMLError as error:
            raise SystemExit(
                f"\nerror: {error}\n  Expected YAML: each key once, as `key: value`, and spaces, "
                "not tabs, before it."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"\nerror: {path} cannot be read as UTF-8 text: {error}") from None


def _check_first_line(path: Path) -> None:
    """Refuse a mark that hides the first line, and with it a `# @package`, from Hydra."""
    text = path.read_text(encoding="utf-8")
    if text.startswith("\ufeff") and re.search(r"^\ufeff?#\s*@package", text, re.MULTILINE):
        raise SystemExit(
            f"\nerror: {path} begins with a byte-order mark, which some editors write, and Hydra "
            "does not see the line # @package below it: the file would count for something else. "
            "Save it as UTF-8 without the mark (in some editors: without BOM)."
        )


def message_of(error: Exception) -> str | None:
    """Return what a person should read of an error that they can mend, None for any other."""
    cause = innermost(error)
    known: tuple[type[BaseException], ...] = (RecordError,)
    if "omegaconf" in sys.modules:
        from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

        if isinstance(cause, MissingMandatoryValue):
            return f"{cause}\n  ??? in conf/ marks what has to be filled in."
        known = (*known, OmegaConfBaseException)
    if "hydra" in sys.modules:
        from hydra.errors import HydraException

        known = (*known, HydraException)
    for either in (cause, error):
        if isinstance(either, known):
            return str(either)
    if type(cause).__name__ == "ValidationError" and "pydantic" in sys.modules:
        return _of_values(cause)
    if type(error).__name__ == "InvalidParameterError":  # scikit-learn's; its module is private
        return f"{error}\n  It comes from the configuration: see conf/ or your command line."
    return None


def _of_values(error: Any) -> str:
    """Return what pydantic has against values of the configuration, a line each."""
    lines = []
    for found in error.errors(include_url=False):
        name = ".".join(map(str, found["loc"]))
        name = re.sub(r"\.(\d+)", r"[\1]", name)  # the number of an entry of a list
        value = json.dumps(found["input"], default=str).strip('"')  # as YAML has it: true, null
        said = found["msg"].replace("Input should be", "it should be", 1)
        missing = found["type"] == "missing"
        lines.append(f"{name} is missing." if missing else f"{name}={value}: {said}.")
    return "\n  ".join(lines)
