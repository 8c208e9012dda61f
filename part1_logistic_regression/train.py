"""Part 1: a logistic regression whose every run can be traced, compared and repeated.

uv run part1_logistic_regression/train.py data=digits
uv run part1_logistic_regression/train.py model.C=0.1
uv run part1_logistic_regression/train.py -m model.C=0.001,0.01,0.1
"""

import logging
import math
import warnings

import hydra
import matplotlib.pyplot as plt
import mlflow
import numpy as np
from hydra.utils import instantiate
from mlflow.models import infer_signature
from omegaconf import DictConfig
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score
from sklearn.pipeline import Pipeline, make_pipeline

from samerun import flatten, set_up, start_run, to_yaml
from workshop.data import load_dataset
from workshop.errors import plain_errors

from data import to_rows

log = logging.getLogger(__name__)


def check_parameters(model: Pipeline) -> None:
    """Fit a copy on two made-up rows: scikit-learn names a bad parameter now, not after loading."""
    clone(model).fit(np.eye(2), [0, 1])


def fit(model: Pipeline, x: np.ndarray, y: np.ndarray) -> bool:
    """Fit the model in place; return whether the solver converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(x, y)
    return not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def score(y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": accuracy_score(y, predicted),
        "f1_macro": f1_score(y, predicted, average="macro"),
    }


def plot_templates(model: Pipeline, shape: tuple[int, int], classes: tuple[str, ...]) -> plt.Figure:
    """Draw what each pixel adds to the score of each class: red speaks for it, blue against.

    shape : the height and width of an image
    """
    black, single_pixels = np.zeros((1, math.prod(shape))), np.eye(math.prod(shape))
    weights = model.decision_function(single_pixels) - model.decision_function(black)
    templates = weights.T.reshape(-1, *shape)
    limit = np.abs(templates).max()
    rows = math.ceil(len(templates) / 5)
    figure, axes = plt.subplots(rows, 5, figsize=(10, 2.2 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    names = classes[-len(templates) :]  # of two classes, only the second one has a template
    for axis, template, name in zip(axes.flat, templates, names, strict=False):
        axis.imshow(template, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(title=name)
    return figure


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@plain_errors
def main(cfg: DictConfig) -> None:
    set_up(cfg.seed, cfg.threads, portable=cfg.portable)
    plt.switch_backend("agg")  # draws into files and needs no screen
    plt.rcParams["figure.constrained_layout.use"] = True  # makes room for the names of the classes

    ##TODO 1.2## Build the classifier from the config group `model`, not from these constants.
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=100, random_state=0)
    ##END##
    # Fewer numbers, uncorrelated and of one scale: with them the solver converges, and soon.
    model = make_pipeline(PCA(n_components=0.95, whiten=True), classifier)
    check_parameters(model)

    dataset = load_dataset(cfg.data.name)
    rows = {name: to_rows(getattr(dataset, name)) for name in ("train", "val", "test")}

    with start_run(cfg, dataset):
        ##TODO 1.3## Log every value of the config as a parameter of the run, under its dotted
        ## name: model.max_iter = 60, data.name = digits, seed = 0 ...
        ##END##

        ##TODO 1.4## Log the config as the artifact config.yaml, with values in place of ${...} and
        ## without secrets: nobody may read an api_key there.
        ##END##

        ##TODO 1.5## Log the training rows as an input of the run in the context "training", with
        ## the name and the digest of `dataset`.
        ##END##

        converged = fit(model, *rows["train"])
        mlflow.set_tag("converged", converged)
        if not converged:
            log.warning("The solver stopped at max_iter, before it converged.")

        predictions = {name: model.predict(x) for name, (x, _) in rows.items()}
        for name, (_, y) in rows.items():
            scores = score(y, predictions[name])
            log.info("%-5s accuracy %.4f  macro F1 %.4f", name, *scores.values())
            ##TODO 1.6## Log both scores as metrics with the split in their names: train_accuracy,
            ## train_f1_macro, val_accuracy ...
            ##END##

        templates = plot_templates(model, dataset.train.images.shape[1:], dataset.classes)
        mlflow.log_figure(templates, "weight_templates.png")

        ##TODO 1.7## Log the confusion matrix of the test set, in counts and labelled with the names
        ## of the classes, as the figure confusion_matrix.png.
        ##END##

        ##TODO 1.8## Log the fitted model under the name "model", with its signature and a few
        ## training rows as input example.
        ##END##

    plt.close("all")  # a sweep draws the figures of many runs in one process


if __name__ == "__main__":
    main()
