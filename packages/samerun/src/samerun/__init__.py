"""A record of every run by which somebody else can repeat it, kept by MLflow."""

from samerun.command import command_for, hydra_overrides
from samerun.config import flatten, to_yaml, with_secrets
from samerun.data import dataset
from samerun.errors import RecordError
from samerun.find import choose_run, find_interrupted, last_step, wilson_interval
from samerun.imported import watch
from samerun.job import requeued_run
from samerun.messages import plain_errors
from samerun.repeatable import set_up
from samerun.run import continue_run, start_run
from samerun.store import no_progress_bars, use_store

watch()  # from here on, what is imported is kept as it was imported

__all__ = [
    "RecordError",
    "choose_run",
    "command_for",
    "continue_run",
    "dataset",
    "find_interrupted",
    "flatten",
    "hydra_overrides",
    "last_step",
    "no_progress_bars",
    "plain_errors",
    "requeued_run",
    "set_up",
    "start_run",
    "to_yaml",
    "use_store",
    "wilson_interval",
    "with_secrets",
]
