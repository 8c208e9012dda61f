"""Part 3: train a model for the competition.

uv run part3_competition/train.py
uv run part3_competition/train.py model=own augmentation=flip_and_shift schedule=one_cycle
uv run part3_competition/train.py +recipe=strong tracking=shared
uv run part3_competition/train.py training.resume=RUN_ID
"""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
import mlflow
import resuming
import torch
from engine import PRECISIONS, accuracy, average_of, check_fit, predict, train_epoch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from samerun import command_for, continue_run, flatten, set_up, start_run, to_yaml
from samerun.find import last_step
from workshop.errors import WorkshopError, plain_errors

from data import shuffled, to_tensors

log = logging.getLogger(__name__)


def check_values(cfg: DictConfig) -> None:
    """Refuse what cannot be trained, before anything is loaded."""
    for name in ("epochs", "batch_size", "threads"):
        value = cfg.training[name]
        if not isinstance(value, int) or value < 1:
            raise WorkshopError(f"training.{name}={value}. Expected a whole number from 1 on.")
    if cfg.training.precision not in PRECISIONS:
        raise WorkshopError(
            f"training.precision={cfg.training.precision}. Expected one of: {', '.join(PRECISIONS)}"
        )
    decay = cfg.training.average
    if decay is not None and not 0 <= decay < 1:
        raise WorkshopError(f"training.average={decay}. Expected null, or a number from 0 below 1.")


def experiment(
    cfg: DictConfig,
    stop: Callable[[int, float], bool] = lambda epoch, val_accuracy: False,
    interrupted: resuming.Interrupted | None = None,
    **run_options: object,
) -> float:
    """Train what a configuration describes, in an MLflow run; return the best val accuracy.

    stop : gets every epoch and its validation accuracy, and says whether the training ends there
    interrupted : the run that shall go on, in place of a new one
    run_options : passed on to `samerun.start_run`
    """
    check_values(cfg)
    tracking = instantiate(cfg.tracking)
    device = set_up(
        cfg.seed, cfg.training.threads, cfg.training.device, portable=cfg.get("portable", False)
    )
    # Channels last in memory, which makes a step with the recipe 1.4 to 1.7 times as fast here.
    model = instantiate(cfg.model).to(device, memory_format=torch.channels_last)
    average = average_of(model, cfg.training.average)
    loss = instantiate(cfg.training.loss)
    optimizer = instantiate(cfg.optimizer, model.parameters())
    precision = PRECISIONS[cfg.training.precision]
    factor, augmentation = instantiate(cfg.schedule), instantiate(cfg.augmentation)

    dataset, normalise = instantiate(cfg.data), cfg.training.normalise  # without its test set
    train_images, train_labels = to_tensors(dataset, dataset.train, device, normalise)
    val_images, val_labels = to_tensors(dataset, dataset.val, device, normalise)
    check_fit(model, val_images, dataset.classes)
    order = torch.Generator().manual_seed(cfg.seed)
    steps = cfg.training.epochs * (len(train_labels) // cfg.training.batch_size)
    if not steps:
        raise WorkshopError(
            f"training.batch_size={cfg.training.batch_size} is more than the {len(train_labels)} "
            "images there are."
        )
    schedule = LambdaLR(optimizer, lambda step: factor(step / steps))

    judged = model if average is None else average.module
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "order": order}
    parts |= {} if average is None else {"average": average}
    if interrupted:
        this_run = continue_run(interrupted.run, cfg, dataset)
    else:
        this_run = start_run(cfg, dataset, **run_options)
    with this_run as run, tracking, TemporaryDirectory() as scratch:
        folder, progress = Path(scratch), resuming.Progress()
        if interrupted:
            progress = resuming.load_state(interrupted.state, folder, parts, device)
        else:
            weights = sum(p.numel() for p in model.parameters())
            mlflow.log_params({**flatten(cfg), "weights": weights})
            mlflow.log_text(to_yaml(cfg), resuming.CONFIG)
        recorded = last_step(run.info.run_id, "val_accuracy")  # 0 in a new run
        epochs = range(progress.epoch + 1, cfg.training.epochs + 1)
        bar = tqdm(epochs, initial=progress.epoch, total=cfg.training.epochs, disable=None)
        for epoch in bar:
            if progress.epochs_without_a_better_one >= (cfg.training.patience or math.inf):
                log.info("No epoch was better than %d: stopped early.", progress.best_epoch)
                break
            batches = shuffled(train_labels, cfg.training.batch_size, order)
            train_loss = train_epoch(
                model, average, train_images, train_labels, batches, augmentation, loss, optimizer,
                schedule, precision,
            )  # fmt: skip
            logits = predict(judged, val_images, cfg.training.mirror, precision)
            metrics = {
                "train_loss": train_loss.item(),
                "val_loss": loss(logits, val_labels).item(),
                "val_accuracy": accuracy(logits, val_labels),
                "learning_rate": optimizer.param_groups[0]["lr"],
            }
            if epoch > recorded:  # a resumed run may repeat an epoch that the record has
                mlflow.log_metrics(metrics, step=epoch)
            val_accuracy = metrics["val_accuracy"]
            progress = replace(progress, epoch=epoch)
            bar.set_postfix(val_accuracy=f"{val_accuracy:.4f}")
            if val_accuracy > progress.best_accuracy:
                progress = resuming.Progress(epoch, best_accuracy=val_accuracy, best_epoch=epoch)
                resuming.save(judged.state_dict(), folder / resuming.BEST)
            resuming.save_state(folder, progress, parts, device)
            mlflow.log_artifacts(folder, resuming.FOLDER)
            if stop(epoch, val_accuracy):
                break
        mlflow.log_metric("best_val_accuracy", progress.best_accuracy, progress.best_epoch)
    return progress.best_accuracy


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg: DictConfig) -> None:
    cfg, interrupted = resuming.to_continue(cfg)
    try:
        log.info("val accuracy %.4f", experiment(cfg, interrupted=interrupted))
    except KeyboardInterrupt:
        if run := mlflow.last_active_run():
            again = command_for("train.py", f"training.resume={run.info.run_id}")
            log.warning("Stopped. To continue: %s", again)
        raise
    log.info("When it is final: %s", command_for("evaluate.py", "run_id=latest"))


if __name__ == "__main__":
    main()
