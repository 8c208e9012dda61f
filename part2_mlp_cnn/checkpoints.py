"""The checkpoints of a run: its best weights, and all that it takes to continue (resuming.py)."""

from pathlib import Path

import mlflow
from resuming import BEST, CONFIG, FOLDER, Progress, load, save
from torch import nn

__all__ = ["BEST", "CONFIG", "FOLDER", "Progress", "keep_best", "load", "log_checkpoints", "save"]


def keep_best(
    model: nn.Module, epoch: int, accuracy: float, progress: Progress, folder: Path
) -> Progress:
    """Note that an epoch is done, and keep its weights if they are the best so far."""
    ##TODO 2.8## If `accuracy` is higher than progress.best_accuracy, save the model's state_dict as
    ## folder / BEST and return a Progress with this epoch as the best one. Otherwise return one
    ## that differs from `progress` in its epoch alone.
    raise NotImplementedError("TODO 2.8: keep the best weights")
    ##END##


def log_checkpoints(folder: Path) -> None:
    """Copy all checkpoints to the active run."""
    ##TODO 2.9## Log all files of `folder` as artifacts of the run, below the path FOLDER.
    raise NotImplementedError("TODO 2.9: log the checkpoints")
    ##END##
