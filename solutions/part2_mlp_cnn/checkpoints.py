"""The checkpoints of a run: its best weights, and all that it takes to continue (resuming.py).

Every file is a dictionary of tensors and numbers, which torch.load(weights_only=True) reads: a
pickled module would run code of its author when it is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import torch
from torch import nn

# Artifacts of a run: a folder, the best weights in it, and the configuration.
FOLDER = "checkpoints"
BEST = "best.pt"
CONFIG = "config.yaml"


@dataclass(frozen=True)
class Progress:
    """How far a training has come: epochs done, the best validation accuracy and its epoch."""

    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0

    @property
    def epochs_without_a_better_one(self) -> int:
        return self.epoch - self.best_epoch


def save(state: Mapping[str, object], path: Path) -> None:
    """Write a file that is whole or not there: Ctrl+C may come at any moment."""
    unfinished = path.with_suffix(".unfinished")
    try:
        torch.save(state, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True, map_location="cpu")


def keep_best(
    model: nn.Module, epoch: int, accuracy: float, progress: Progress, folder: Path
) -> Progress:
    """Note that an epoch is done, and keep its weights if they are the best so far."""
    ##TODO 2.8## If `accuracy` is higher than progress.best_accuracy, save the model's state_dict as
    ## folder / BEST and return a Progress with this epoch as the best one. Otherwise return one
    ## that differs from `progress` in its epoch alone.
    if accuracy > progress.best_accuracy:
        save(model.state_dict(), folder / BEST)
        return Progress(epoch, best_accuracy=accuracy, best_epoch=epoch)
    return Progress(epoch, progress.best_accuracy, progress.best_epoch)
    ##END##


def log_checkpoints(folder: Path) -> None:
    """Copy all checkpoints to the active run."""
    ##TODO 2.9## Log all files of `folder` as artifacts of the run, below the path FOLDER.
    mlflow.log_artifacts(folder, FOLDER)
    ##END##


def drop_copied(folder: Path) -> None:
    """Remove what has been logged, so as not to log it again; the next state needs the best."""
    for file in folder.iterdir():
        if file.name != BEST:
            file.unlink()
