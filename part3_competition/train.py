"""Part 3: train a model for the competition.

uv run part3_competition/train.py
uv run part3_competition/train.py model=own augmentation=flip_and_shift schedule=one_cycle
uv run part3_competition/train.py +recipe=strong tracking=shared
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
import mlflow
import torch
from engine import PRECISIONS, accuracy, average_of, predict, train_epoch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from samerun import flatten, set_up, start_run
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


def never(epoch: int, val_accuracy: float) -> bool:
    return False


def experiment(
    cfg: DictConfig, stop: Callable[[int, float], bool] = never, **run_options: object
) -> float:
    """Train what a configuration describes, in an MLflow run of its own.

    Parameters
    ----------
    cfg : a composed configuration, see conf/config.yaml
    stop : gets every epoch and its validation accuracy, and says whether the training ends there
    run_options : passed on to `samerun.run.start_run`

    Returns
    -------
    The best validation accuracy of an epoch.
    """
    check_values(cfg)
    tracking = instantiate(cfg.tracking)
    device = set_up(cfg.seed, cfg.training.threads, cfg.training.device)
    # Channels last in memory, which makes a step with the recipe 1.4 to 1.7 times as fast here.
    model = instantiate(cfg.model).to(device, memory_format=torch.channels_last)
    average = average_of(model, cfg.training.average)
    loss = instantiate(cfg.training.loss)
    optimizer = instantiate(cfg.optimizer, model.parameters())
    precision = PRECISIONS[cfg.training.precision]
    factor, augmentation = instantiate(cfg.schedule), instantiate(cfg.augmentation)

    dataset = instantiate(cfg.data)  # without its test set
    normalise = cfg.training.normalise
    train_images, train_labels = to_tensors(dataset, dataset.train, device, normalise)
    val_images, val_labels = to_tensors(dataset, dataset.val, device, normalise)
    order = torch.Generator().manual_seed(cfg.seed)
    steps = cfg.training.epochs * (len(train_labels) // cfg.training.batch_size)
    if not steps:
        raise WorkshopError(
            f"training.batch_size={cfg.training.batch_size} is more than the {len(train_labels)} "
            "images there are."
        )
    schedule = LambdaLR(optimizer, lambda step: factor(step / steps))

    best_accuracy, best_epoch = -math.inf, 0
    with start_run(cfg, dataset, **run_options), tracking, TemporaryDirectory() as scratch:
        mlflow.log_params(flatten(cfg))
        mlflow.log_text(OmegaConf.to_yaml(cfg, resolve=True), "config.yaml")
        mlflow.log_param("weights", sum(p.numel() for p in model.parameters()))
        bar = tqdm(range(1, cfg.training.epochs + 1), disable=None)
        for epoch in bar:
            batches = shuffled(train_labels, cfg.training.batch_size, order)
            train_loss = train_epoch(
                model, average, train_images, train_labels, batches, augmentation, loss, optimizer,
                schedule, precision,
            )  # fmt: skip
            judged = model if average is None else average.module
            logits = predict(judged, val_images, cfg.training.mirror, precision)
            metrics = {
                "train_loss": train_loss.item(),
                "val_loss": loss(logits, val_labels).item(),
                "val_accuracy": accuracy(logits, val_labels),
                "learning_rate": optimizer.param_groups[0]["lr"],
            }
            mlflow.log_metrics(metrics, step=epoch)
            bar.set_postfix(val_accuracy=f"{metrics['val_accuracy']:.4f}")
            if metrics["val_accuracy"] > best_accuracy:
                best_accuracy, best_epoch = metrics["val_accuracy"], epoch
                best = Path(scratch) / "best.pt"
                torch.save(judged.state_dict(), best)
                mlflow.log_artifact(str(best), "checkpoints")
            if stop(epoch, metrics["val_accuracy"]):
                log.info("Stopped after epoch %d.", epoch)
                break
            if epoch - best_epoch >= (cfg.training.patience or math.inf):
                log.info("No epoch was better than %d: stopped early.", best_epoch)
                break
        mlflow.log_metric("best_val_accuracy", best_accuracy, best_epoch)
    return best_accuracy


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg: DictConfig) -> None:
    log.info("val accuracy %.4f", experiment(cfg))
    log.info("When it is final: uv run part3_competition/evaluate.py run_id=latest")


if __name__ == "__main__":
    main()
