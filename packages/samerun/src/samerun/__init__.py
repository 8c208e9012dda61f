"""A record of every run by which somebody else can repeat it, kept by MLflow."""

from samerun.code.imported import watch
from samerun.command.repeat import command_for
from samerun.config import flatten, to_yaml, with_secrets
from samerun.data import dataset
from samerun.errors import RecordError
from samerun.find import choose_run
from samerun.machine.repeatable import set_up
from samerun.process.messages import plain_errors
from samerun.run import continue_run, start_run
from samerun.store.tracking import use_store

watch()  # from here on, what is imported is kept as it was imported

__all__ = [
    "RecordError",
    "choose_run",
    "command_for",
    "continue_run",
    "dataset",
    "flatten",
    "plain_errors",
    "set_up",
    "start_run",
    "to_yaml",
    "use_store",
    "with_secrets",
]
