"""How an interrupted training goes on: what the next epoch depends on is kept, and put back."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import torch
from checkpoints import BEST, CONFIG, FOLDER, Progress, load, log_checkpoints, save
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf

from samerun import (
    RecordError,
    command_for,
    continue_run,
    flatten,
    start_run,
    with_secrets,
)
from samerun.command.repeat import hydra_overrides
from samerun.find import find_interrupted
from samerun.process.job import requeued_run
from samerun.secrets.masking import is_secret
from samerun.store.tracking import no_progress_bars
from workshop.data import Dataset
from workshop.errors import WorkshopError

STATES = ("resume-0.pt", "resume-1.pt")  # in turn: a killed process leaves one of them whole

log = logging.getLogger(__name__)


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
    if cfg.training.resume is not None:
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


@contextlib.contextmanager
def recorded_run(
    cfg: DictConfig, dataset: Dataset, interrupted: Interrupted | None, **options: Any
) -> Iterator[tuple[str, Path]]:
    """Start a run, or make an interrupted one go on; yield its id and a folder for checkpoints.

    After Ctrl+C the checkpoints are kept, and a line says how to continue.

    options : of samerun's start_run, for a new run
    """
    if interrupted:
        this_run = continue_run(interrupted.run, cfg, dataset)
    else:
        this_run = start_run(cfg, dataset, **options)
    with this_run as run, TemporaryDirectory() as scratch:
        try:
            yield run.info.run_id, Path(scratch)
        except KeyboardInterrupt:
            log_checkpoints(Path(scratch))  # again, for it may have come in the middle of that
            if "parent" not in options:  # a trial goes on with its study
                again = command_for("train.py", f"training.resume={run.info.run_id}")
                log.warning("Stopped. To continue: %s", again)
            raise


def begin(
    interrupted: Interrupted | None,
    folder: Path,
    changing: Mapping[str, Any],
    device: torch.device,
) -> Progress:
    """Put everything back as the last state of an interrupted run has it; return how far it came.

    folder : gets the checkpoints: of a new run its first state, of another one its best weights
    changing : by name what changes from step to step: model, optimizer, random generators ...
    """
    if interrupted is None:
        save_state(folder, Progress(), changing, device)
        return Progress()
    state = interrupted.state
    if state["best"]:
        save(state["best"], folder / BEST)
    for name, part in changing.items():
        restore = part.set_state if isinstance(part, torch.Generator) else part.load_state_dict
        restore(state[name])
    _random(device).set_rng_state(state["random"])
    return Progress(**state["progress"])


def save_state(
    folder: Path,
    progress: Progress,
    changing: Mapping[str, Any],
    device: torch.device,
    every: int = 1,
) -> None:
    """Write all that the next epoch depends on, and the best weights, after so many epochs."""
    if progress.epoch % every:
        return
    best = folder / BEST
    state = {
        "progress": asdict(progress),
        "best": load(best) if best.exists() else None,
        "random": _random(device).get_rng_state(),  # of dropout, and of augmentation
    }
    for name, part in changing.items():
        is_generator = isinstance(part, torch.Generator)
        state[name] = part.get_state() if is_generator else part.state_dict()
    save(state, folder / STATES[progress.epoch // every % len(STATES)])


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
        if file.path.rpartition("/")[2] not in STATES:
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
            f"whole {' or '.join(STATES)} below {FOLDER}/. Start a new run."
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
