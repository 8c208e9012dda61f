"""Errors that a person can mend, shown without a traceback."""

import re
import traceback
from collections.abc import Callable

from samerun.errors import RecordError, innermost
from samerun.process import messages
from workshop import neutral_lock

TODO = re.compile(r"TODO (\d+\.\d+)")


class WorkshopError(RecordError):
    """Something of the course that a person can mend, as a RecordError is one of the record."""


def plain_errors(main: Callable) -> Callable:
    """Let the `main` of a part end bad input, open TODOs and Ctrl+C without a traceback.

    As `samerun.plain_errors`, which knows nothing of TODOs. Every command of a part passes here
    as it begins, so here git is told what uv did to uv.lock.
    """
    if main.__module__ == "__main__":
        neutral_lock.settle()
    return messages.plain_errors(main, more=_open_todo)


def _open_todo(error: Exception) -> str | None:
    """Return what to do about a hole that is still open, None for any other error."""
    from omegaconf.errors import MissingMandatoryValue

    cause = innermost(error)
    if isinstance(cause, NotImplementedError) and (todo := TODO.search(str(cause))):
        place = traceback.extract_tb(cause.__traceback__)[-1]
        return (
            f"{cause}\n  still open in {place.filename}, line {place.lineno}\n"
            f"  a hint:  uv run workshop hint {todo[1]}"
        )
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause}\n  ??? in conf/ marks what has to be filled in: uv run workshop check"
    return None
