"""Part 3: train a model for the competition.

uv run part3_competition/train.py
uv run part3_competition/train.py model=own augmentation=flip_and_shift schedule=one_cycle
uv run part3_competition/train.py +recipe=strong tracking=shared
uv run part3_competition/train.py training.resume=RUN_ID
"""

import logging
import math
from collections.abc import Callable

import hydra
import mlflow
import torch
from checkpoints import CONFIG, drop_copied, keep_best, log_checkpoints
from engine import PRECISIONS, accuracy, average_of, check_fit, predict, train_epoch
from hydra.utils import instantiate
from omegaconf import DictConfig
from resuming import Interrupted, begin, recorded_run, save_state, to_continue
from settings import check
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from samerun import command_for, flatten, set_up, to_yaml
from samerun.find import last_step
from samerun.finite import check_finite
from workshop.errors import WorkshopError, plain_errors

from data import shuffled, to_tensors

log = logging.getLogger(__name__)


def experiment(
    cfg: DictConfig,
    stop: Callable[[int, float], bool] = lambda epoch, val_accuracy: False,
    interrupted: Interrupted | None = None,
    **run_options: object,
) -> float:
    """Train what a configuration describes, in an MLflow run; return the best val accuracy.

    stop : gets every epoch and its validation accuracy, and says whether the training ends there
    interrupted : the run that shall go on, in place of a new one
    run_options : passed on to `samerun.start_run`
    """
    check(cfg)
    device = set_up(cfg.seed, cfg.training.threads, cfg.training.device, portable=cfg.portable)

    # Channels last in memory, which makes a step with the recipe 1.4 to 1.7 times as fast here.
    model = instantiate(cfg.model).to(device, memory_format=torch.channels_last)
    average = average_of(model, cfg.training.average)
    judged = model if average is None else average.module
    loss = instantiate(cfg.training.loss)
    optimizer = instantiate(cfg.optimizer, model.parameters())
    factor, augmentation = instantiate(cfg.schedule), instantiate(cfg.augmentation)
    precision, normalise = PRECISIONS[cfg.training.precision], cfg.training.normalise
    tracking = instantiate(cfg.tracking)

    dataset = instantiate(cfg.data)  # without its test set
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
    changing = {"model": model, "optimizer": optimizer, "schedule": schedule, "order": order}
    changing |= {} if average is None else {"average": average}

    with recorded_run(cfg, dataset, interrupted, **run_options) as (run_id, folder), tracking:
        weights = sum(p.numel() for p in model.parameters())
        mlflow.log_params({**flatten(cfg), "weights": weights})
        mlflow.log_text(to_yaml(cfg), CONFIG)
        recorded = last_step(run_id, "val_accuracy")  # 0 in a new run
        progress = begin(interrupted, folder, changing, device)

        epochs = range(progress.epoch + 1, cfg.training.epochs + 1)
        bar = tqdm(epochs, initial=progress.epoch, total=cfg.training.epochs, disable=None)
        for epoch in bar:
            if progress.epochs_without_a_better_one >= (cfg.training.patience or math.inf):
                log.info("No epoch was better than %d: stopped early.", progress.best_epoch)
                break
            batches = shuffled(train_labels, cfg.training.batch_size, order)
            losses = train_epoch(
                model, train_images, train_labels, batches, loss, optimizer,
                precision, augmentation, schedule, average,
            )  # fmt: skip
            logits = predict(judged, val_images, cfg.training.mirror, precision)
            metrics = {
                "train_loss": losses.mean().item(),
                "val_loss": loss(logits, val_labels).item(),
                "val_accuracy": accuracy(logits, val_labels),
                "learning_rate": optimizer.param_groups[0]["lr"],
            }
            check_finite(epoch, losses.tolist(), metrics["val_loss"])
            bar.set_postfix(val_accuracy=f"{metrics['val_accuracy']:.4f}")
            if epoch > recorded:  # a resumed run may repeat an epoch that the record has
                mlflow.log_metrics(metrics, step=epoch)

            progress = keep_best(judged, epoch, metrics["val_accuracy"], progress, folder)
            save_state(folder, progress, changing, device, cfg.training.state_every)
            log_checkpoints(folder)  # in every epoch: a process may be killed at any time
            drop_copied(folder)
            if stop(epoch, metrics["val_accuracy"]):
                break
        mlflow.log_metric("best_val_accuracy", progress.best_accuracy, progress.best_epoch)
    return progress.best_accuracy


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg: DictConfig) -> None:
    cfg, interrupted = to_continue(cfg)  # a run that training.resume names; None for a new one
    log.info("val accuracy %.4f", experiment(cfg, interrupted=interrupted))
    log.info("When it is final: %s", command_for("evaluate.py", "run_id=latest"))


if __name__ == "__main__":
    main()
