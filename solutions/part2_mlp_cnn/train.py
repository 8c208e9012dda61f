"""Part 2: train an MLP or a CNN, and record every choice, every epoch and the best weights.

uv run part2_mlp_cnn/train.py data=digits
uv run part2_mlp_cnn/train.py model=cnn "model.channels=[64]"
uv run part2_mlp_cnn/train.py training.resume=RUN_ID
"""

import logging
import math

import hydra
import mlflow
import torch
from checkpoints import CONFIG, drop_copied, keep_best, log_checkpoints, save
from engine import accuracy, check_fit, predict, train_epoch
from hydra.utils import instantiate
from omegaconf import DictConfig
from resuming import begin, recorded_run, save_state, to_continue
from settings import check
from tqdm import tqdm

from samerun import command_for, flatten, set_up, to_yaml
from samerun.find import last_step
from samerun.finite import check_finite
from workshop.errors import plain_errors

from data import shuffled, to_tensors

log = logging.getLogger(__name__)


##TODO 2.1## Connect main to its configuration: decorate it with hydra.main, above plain_errors, so
## that it gets conf/config.yaml, changed by the command line, as cfg.
@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg: DictConfig) -> None:
    ##END##
    cfg, interrupted = to_continue(cfg)  # a run that training.resume names; None for a new one
    check(cfg)
    device = set_up(cfg.seed, cfg.training.threads, cfg.training.device, portable=cfg.portable)

    ##TODO 2.2## Build what the config describes: `model`, moved to `device`; `loss`, from
    ## cfg.training.loss; `optimizer`, which also gets the model's parameters; and `dataset`, last,
    ## so that a mistake in the others shows before any data is loaded.
    model = instantiate(cfg.model).to(device)
    loss = instantiate(cfg.training.loss)
    optimizer = instantiate(cfg.optimizer, model.parameters())
    dataset = instantiate(cfg.data)
    ##END##
    train_images, train_labels = to_tensors(dataset, dataset.train, device)
    val_images, val_labels = to_tensors(dataset, dataset.val, device)
    check_fit(model, val_images, dataset.classes)
    order = torch.Generator().manual_seed(cfg.seed)  # of the images, drawn anew for every epoch
    changing = {"model": model, "optimizer": optimizer, "order": order}

    with recorded_run(cfg, dataset, interrupted) as (run_id, folder):
        ##TODO 2.4## Log every value of the config as a parameter of the run, under its dotted
        ## name: model.dropout = 0.0, optimizer.lr = 0.001, seed = 0 ...
        mlflow.log_params(flatten(cfg))
        ##END##
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
            losses = train_epoch(model, train_images, train_labels, batches, loss, optimizer)
            logits = predict(model, val_images)
            metrics = {
                "train_loss": losses.mean().item(),
                "val_loss": loss(logits, val_labels).item(),
                "val_accuracy": accuracy(logits, val_labels),
                "learning_rate": optimizer.param_groups[0]["lr"],
            }
            check_finite(epoch, losses.tolist(), metrics["val_loss"])
            bar.set_postfix(val_accuracy=f"{metrics['val_accuracy']:.4f}")
            if epoch > recorded:  # a resumed run may repeat an epoch that the record has
                ##TODO 2.7## Log the metrics of this epoch, with the epoch as their step.
                mlflow.log_metrics(metrics, step=epoch)
                ##END##

            progress = keep_best(model, epoch, metrics["val_accuracy"], progress, folder)
            save_state(folder, progress, changing, device, cfg.training.state_every)
            if epoch % cfg.training.checkpoint_every == 0:
                save(model.state_dict(), folder / f"epoch_{epoch:03}.pt")
            log_checkpoints(folder)  # in every epoch: a process may be killed at any time
            drop_copied(folder)
        mlflow.log_metric("best_val_accuracy", progress.best_accuracy, progress.best_epoch)

    log.info("val accuracy %.4f, in epoch %d", progress.best_accuracy, progress.best_epoch)
    log.info("To evaluate: %s", command_for("evaluate.py", f"run_id={run_id}"))


if __name__ == "__main__":
    main()
