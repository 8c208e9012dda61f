"""What a run keeps of its training: the best weights, and all that it takes to continue.

Every file is a dictionary of tensors and numbers, which torch.load(weights_only=True) reads: a
pickled module would run code of its author when it is loaded.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from samerun import flatten, no_progress_bars
from workshop.errors import WorkshopError

FOLDER = "checkpoints"  # of the run's artifacts
BEST = "best.pt"
RESUME = ("resume-0.pt", "resume-1.pt")  # in turn: a killed process leaves one of them whole
CONFIG = "config.yaml"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a training has come: epochs done, the best validation accuracy and its epoch."""

    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0

    @property
    def epochs_without_a_better_one(self) -> int:
        return self.epoch - self.best_epoch


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


def save(state: Mapping[str, object], path: Path) -> None:
    """Write a file that is whole or not there: Ctrl+C may come at any moment."""
    unfinished = path.with_suffix(".unfinished")
    try:
        torch.save(state, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: Path) -> dict[str, object]:
    return torch.load(path, weights_only=True, map_location="cpu")


def save_state(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimizer: Optimizer,
    order: torch.Generator,
    device: torch.device,
) -> None:
    """Write everything that the next epoch depends on, and the best weights so far."""
    best = folder / BEST
    state = {
        "progress": asdict(progress),
        "best": load(best) if best.exists() else None,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "order": order.get_state(),
        "dropout": _random(device).get_rng_state(),
    }
    save(state, folder / RESUME[progress.epoch % len(RESUME)])


def load_state(
    state: Mapping[str, object],
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    order: torch.Generator,
    device: torch.device,
) -> Progress:
    """Put everything back as `save_state` found it."""
    if state["best"]:
        save(state["best"], folder / BEST)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    order.set_state(state["order"])
    _random(device).set_rng_state(state["dropout"])
    return Progress(**state["progress"])


def download_state(run: Run) -> dict[str, object]:
    """Return the latest state that an interrupted run left.

    Raises
    ------
    WorkshopError
        It left none.
    """
    states = []
    for file in MlflowClient().list_artifacts(run.info.run_id, FOLDER):
        if file.path.rpartition("/")[2] not in RESUME:
            continue
        with no_progress_bars():
            path = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/{file.path}")
        try:
            states.append(load(Path(path)))
        except (RuntimeError, EOFError):  # the process was killed while it copied this one
            log.warning("%s of the run is not whole; an epoch will be repeated.", file.path)
    if not states:
        raise WorkshopError(
            f"The run {run.info.run_id} ({run.info.run_name}) left nothing to continue from: no "
            f"whole {' or '.join(RESUME)} below {FOLDER}/. Start a new run."
        )
    return max(states, key=lambda state: state["progress"]["epoch"])


def _random(device: torch.device):
    """Return the module with the random state of a device."""
    return torch if device.type == "cpu" else torch.get_device_module(device)


def own_config(run: Run, cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration that a run recorded, to continue the run with it.

    `cfg` is what the command line asks for now. It may say nothing but training.resume, or repeat
    what the run was started with.

    Raises
    ------
    WorkshopError
        The command line asks for something else than the run recorded.
    """
    with no_progress_bars():
        text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{CONFIG}")
    own = OmegaConf.create(text)
    if any(not override.startswith("training.resume=") for override in overrides):
        now, then = flatten(cfg), flatten(own)
        differs = [
            f"\n  {key}: {then.get(key)} in the run, {now.get(key)} on the command line"
            for key in sorted({*now, *then} - {"training.resume"})
            if now.get(key) != then.get(key)
        ]
        if differs:
            raise WorkshopError(
                f"The run {run.info.run_id} goes on with its own configuration, and the command "
                f"line asks for another:{''.join(differs)}\n"
                "Leave out everything but training.resume=..., or start a new run."
            )
    return own
