"""Part 2: evaluate the best weights of a run on the test set, and add the result to its record.

uv run part2_mlp_cnn/evaluate.py run_id=latest
uv run part2_mlp_cnn/evaluate.py run_id=best

Evaluate as often as you like: the second time changes nothing.
"""

import logging
from collections.abc import Mapping, Sequence

import checkpoints
import hydra
import matplotlib.pyplot as plt
import mlflow
import numpy as np
from engine import predict
from hydra.utils import instantiate
from mlflow import MlflowClient
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import ConfusionMatrixDisplay, classification_report
from torch import Tensor

from samerun import choose_run, set_up, with_secrets
from samerun.compare.intervals import wilson_interval
from samerun.compare.predictions import as_csv
from samerun.run import record_addition
from samerun.store.tracking import no_progress_bars
from workshop.errors import WorkshopError, plain_errors
from workshop.sealed import open_test_set, warn_of_many_looks

from data import to_tensors

log = logging.getLogger(__name__)


def restore(run_id: str) -> tuple[DictConfig, dict[str, Tensor]]:
    """Return the configuration that a run was trained with, and its best weights."""
    ##TODO 2.12## Take both from the run, since conf/ may have changed: `trained`, from the text of
    ## its artifact runs:/RUN_ID/config.yaml, and `weights`, with checkpoints.load from its
    ## artifact checkpoints/best.pt. The module mlflow.artifacts fetches them.
    raise NotImplementedError("TODO 2.12: fetch config and weights from the run")
    ##END##
    return trained, weights


def class_probabilities(
    model_config: DictConfig, weights: Mapping[str, Tensor], images: Tensor
) -> np.ndarray:
    """Return what a trained model makes of images: for each one, the probability of each class."""
    ##TODO 2.13## Build the model from its config, move it to the device of `images`, load the
    ## weights into it, and turn the logits that `predict` returns into `probabilities` (softmax).
    raise NotImplementedError("TODO 2.13: rebuild the model and predict")
    ##END##
    return probabilities.cpu().numpy()


def score(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Return the metrics of the test set, by the names under which they are logged."""
    low, high = wilson_interval(int((predicted == labels).sum()), len(labels))
    by_name = report(labels, predicted, classes, output_dict=True)
    metrics = {
        "test_accuracy": float((predicted == labels).mean()),
        "test_accuracy_low": low,  # the 95 % interval, as far as the number of images decides it
        "test_accuracy_high": high,
        "test_f1_macro": by_name["macro avg"]["f1-score"],
        "test_f1_weighted": by_name["weighted avg"]["f1-score"],
    }
    for name in classes:
        for metric in ("precision", "recall"):
            metrics[f"test_{metric}/{name.replace('/', '-')}"] = by_name[name][metric]
    return metrics


def report(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], **options):
    every = range(len(classes))
    names = {"labels": every, "target_names": classes}
    return classification_report(labels, predicted, **names, digits=4, zero_division=0, **options)


def plot_mistakes(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> plt.Figure:
    """Draw the images about which the model was most certain and wrong, the worst first."""
    predicted, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-certainty[wrong], kind="stable")][:20]
    figure, axes = plt.subplots(4, 5, figsize=(10, 9.5))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, i in zip(axes.flat, worst, strict=False):
        axis.imshow(images[i], cmap="gray_r")
        said = f"said {classes[predicted[i]]} ({certainty[i]:.1%})"
        axis.set_title(f"is {classes[labels[i]]}\n{said}", fontsize=9)
    figure.suptitle(f"The most confident of {len(wrong)} mistakes on {len(labels)} test images")
    return figure


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@plain_errors
def main(cfg: DictConfig) -> None:
    plt.switch_backend("agg")  # draws into files and needs no screen
    plt.rcParams["figure.constrained_layout.use"] = True  # makes room for the names of the classes

    needs = (checkpoints.CONFIG, f"{checkpoints.FOLDER}/{checkpoints.BEST}")
    run = choose_run(cfg.run_id, cfg.experiment, "best_val_accuracy", needs)
    run_id = run.info.run_id
    log.info("Evaluating the run %s (%s)", run_id, run.info.run_name)

    with no_progress_bars():
        trained, weights = restore(run_id)
    trained = with_secrets(trained, cfg, needed=("seed", "training.threads", "data", "model"))
    device = set_up(
        trained.seed, trained.training.threads, cfg.device, portable=trained.get("portable", False)
    )
    dataset = open_test_set(run, instantiate(trained.data))

    images, labels = to_tensors(dataset, dataset.test, device)
    try:
        probabilities = class_probabilities(trained.model, weights, images)
    except RuntimeError as error:
        raise WorkshopError(
            f"The weights of the run {run_id} do not fit the model that models.py makes today: "
            f"{error}\nCheck out the code of the run: uv run workshop trace {run_id[:8]}"
        ) from None
    labels, predicted = dataset.test.labels, probabilities.argmax(axis=1)
    metrics = score(labels, predicted, dataset.classes)
    text = report(labels, predicted, dataset.classes)

    record_addition(run, cfg, dataset)  # whoever repeats the run will evaluate it, too
    # The run has ended and shall not be opened again: every call below names it instead.
    ##TODO 2.14## Log `metrics` and, as the artifact classification_report.txt, `text` to the run
    ## with this run_id. The metrics get timestamp=run.info.end_time, so that a second evaluation
    ## adds no second point.
    raise NotImplementedError("TODO 2.14: log metrics and report to the run")
    ##END##

    ##TODO 2.15## Draw the confusion matrix of `labels` and `predicted`, with the names of the
    ## classes on both axes, and log it to the same run as the figure confusion_matrix.png. Of the
    ## two log_figure it is MlflowClient().log_figure that takes a run_id.
    raise NotImplementedError("TODO 2.15: log the confusion matrix to the run")
    ##END##

    # Where two runs kept their answers, `workshop diff` compares them image by image.
    mlflow.log_text(as_csv(labels, predicted), "predictions/test.csv", run_id=run_id)
    mistakes = plot_mistakes(dataset.test.images, labels, probabilities, dataset.classes)
    MlflowClient().log_figure(run_id, mistakes, "mistakes.png")
    plt.close("all")

    values = [metrics[f"test_accuracy{end}"] for end in ("", "_low", "_high")]
    log.info("test accuracy %.4f  (95 %% interval %.4f to %.4f)\n\n%s", *values, text)
    warn_of_many_looks(run)


if __name__ == "__main__":
    main()
