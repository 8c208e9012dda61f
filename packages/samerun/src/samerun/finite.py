"""A training whose loss is no number any more has failed, and says so."""

import math
from collections.abc import Iterable

from samerun.errors import RecordError

DIVERGED = "diverged"  # a tag of the run: where


class Diverged(RecordError):
    """A loss is NaN or infinite: nothing is learned from there on."""


def check_finite(epoch: int, losses: Iterable[float], val_loss: float = 0.0) -> None:
    """Stop a training at the first loss that is no finite number, and tag the active run.

    Parameters
    ----------
    epoch : the number of the epoch
    losses : of its steps, in their order. To look at them once an epoch is enough, and in each step
        it would make a GPU wait for Python
    val_loss : of the validation set after the epoch

    Raises
    ------
    Diverged
        The message says in which step, and what to try.
    """
    found = ((f"step {step}", loss) for step, loss in enumerate(losses, 1))
    for place, loss in (*found, ("the validation", val_loss)):
        if not math.isfinite(loss):
            _tag(f"epoch {epoch}, {place}")
            raise Diverged(
                f"In epoch {epoch}, {place}, the loss is {loss}: the training has diverged, and "
                "nothing is learned from there on. Most often the steps are too large: try a tenth "
                "of the learning rate. If that does not help, look for values in the data that are "
                "no numbers or are huge, and for a logarithm, a root or a division in the model."
            )


def _tag(place: str) -> None:
    import mlflow

    if mlflow.active_run():
        mlflow.set_tag(DIVERGED, place)
