"""Errors that a person can mend."""


class RecordError(Exception):
    """Something a person can mend.

    The message says what was wrong, what was expected and what to do next. Commands show it alone,
    without a traceback.
    """


def innermost(error: BaseException) -> BaseException:
    """Return the error that led to this one: Hydra wraps what happens in `instantiate`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
