"""How an interrupted training goes on: what the next epoch depends on is kept, and put back.

Every file is a dictionary of tensors and numbers, which torch.load(weights_only=True) reads: a
pickled module would run code of its author when it is loaded.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf

from samerun import RecordError, flatten, with_secrets
from samerun.command.repeat import hydra_overrides
from samerun.find import find_interrupted
from samerun.process.job import requeued_run
from samerun.secrets.masking import is_secret
from samerun.store.tracking import no_progress_bars
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


@dataclass(frozen=True)
class Interrupted:
    """A run to be continued, and the latest state that it left."""

    run: Run
    state: dict[str, Any]


def to_continue(cfg: DictConfig) -> tuple[DictConfig, Interrupted | None]:
    """Return the run that shall go on, with its own configuration; for a new one `cfg` and None.

    That is the run that training.resume names, or the one that this Slurm job was at when it was
    put back into the queue.

    Raises
    ------
    RecordError
        The run left nothing, it was trained with a secret that is not given again, or the command
        line asks for something else than the run recorded.
    """
    if cfg.training.resume:
        run = find_interrupted(cfg.training.resume, cfg.experiment, (CONFIG,))
        own = own_config(run)
        # Secrets have to be given again, since no run records them.
        asked = [o for o in hydra_overrides() if not is_secret(o.partition("=")[0])]
        if any(not override.startswith("training.resume=") for override in asked):
            _check_same(run, own, cfg)
        return with_secrets(own, cfg), Interrupted(run, download_state(run))
    if run := requeued_run(cfg.experiment):
        try:
            return with_secrets(own_config(run), cfg), Interrupted(run, download_state(run))
        except (RecordError, mlflow.MlflowException) as error:
            log.warning("This job begins anew, in a new run: %s", error)
    return cfg, None


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


def save_state(
    folder: Path, progress: Progress, parts: Mapping[str, Any], device: torch.device
) -> None:
    """Write everything that the next epoch depends on, and the best weights so far.

    parts : by name what changes from step to step: model, optimizer, random generators ...
    """
    best = folder / BEST
    state = {
        "progress": asdict(progress),
        "best": load(best) if best.exists() else None,
        "random": _random(device).get_rng_state(),  # of dropout, and of augmentation
    }
    for name, part in parts.items():
        is_generator = isinstance(part, torch.Generator)
        state[name] = part.get_state() if is_generator else part.state_dict()
    save(state, folder / RESUME[progress.epoch % len(RESUME)])


def load_state(
    state: Mapping[str, Any], folder: Path, parts: Mapping[str, Any], device: torch.device
) -> Progress:
    """Put everything back as `save_state` found it."""
    if state["best"]:
        save(state["best"], folder / BEST)
    for name, part in parts.items():
        restore = part.set_state if isinstance(part, torch.Generator) else part.load_state_dict
        restore(state[name])
    _random(device).set_rng_state(state["random"])
    return Progress(**state["progress"])


def _random(device: torch.device):
    """Return the module with the random state of a device."""
    return torch if device.type == "cpu" else torch.get_device_module(device)


def download_state(run: Run) -> dict[str, Any]:
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


def own_config(run: Run) -> DictConfig:
    """Return the configuration that a run recorded."""
    with no_progress_bars():
        text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{CONFIG}")
    return OmegaConf.create(text)


def _check_same(run: Run, own: DictConfig, asked: DictConfig) -> None:
    """Refuse a command line that does not repeat what the run was started with."""
    now, then = flatten(asked), flatten(own)
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
