"""Part 1: a logistic regression whose every run can be traced, compared and repeated.

uv run part1_logistic_regression/train.py data=digits
uv run part1_logistic_regression/train.py model.C=0.1
uv run part1_logistic_regression/train.py -m "preprocessing=pixels,standardised,whitened"
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
from settings import check
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score, f1_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from samerun import flatten, set_up, start_run, to_yaml
from workshop.data import load_training_data
from workshop.errors import WorkshopError, plain_errors

log = logging.getLogger(__name__)


def check_parameters(model: Pipeline) -> None:
    """Fit a copy on made-up rows: scikit-learn names a bad parameter now, not after loading.

    Raises
    ------
    WorkshopError
        It refuses one.
    """
    pixels = 28 * 28
    try:
        clone(model).fit(np.eye(pixels), np.arange(pixels) % 2)
    except (TypeError, ValueError) as error:
        raise WorkshopError(
            f"{error}\n  It comes from the configuration: see conf/ or your command line."
        ) from None


def taking_images(model: Pipeline, shape: tuple[int, int]) -> Pipeline:
    """Return a model of rows as one of images, which may be of another height and width.

    The function is one of numpy's, not of ours: who loads the model needs no file of this project.
    """
    to_rows = FunctionTransformer(np.reshape, kw_args={"shape": (-1, math.prod(shape))})
    return Pipeline([("rows", to_rows), *model.steps])


def fit(model: Pipeline, images: np.ndarray, labels: np.ndarray) -> bool:
    """Fit the model in place; return whether the solver converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(images, labels)
    return not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def score(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": accuracy_score(labels, predicted),
        "f1_macro": f1_score(labels, predicted, average="macro"),
    }


def plot_templates(model: Pipeline, images: np.ndarray, classes: tuple[str, ...]) -> plt.Figure:
    """Draw what more of each pixel does to the score of each class: red for it, blue against it.

    More is one standard deviation of the pixel in `images`, and less is their mean.
    """
    mean, spread = images.mean(axis=0), images.std(axis=0)
    brighter = mean + np.eye(mean.size).reshape(-1, *mean.shape) * spread
    weights = model.decision_function(brighter) - model.decision_function(mean[None])
    templates = weights.T.reshape(-1, *mean.shape)
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
    check(cfg)
    set_up(cfg.seed, cfg.threads, portable=cfg.portable)
    plt.switch_backend("agg")  # draws into files and needs no screen
    plt.rcParams["figure.constrained_layout.use"] = True  # makes room for the names of the classes

    ##TODO 1.2## Build both from the configuration, not from these constants: the preprocessing
    ## `steps` from cfg.preprocessing.steps, and the `classifier` from cfg.model.
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    roots = FunctionTransformer(np.sqrt, kw_args={"dtype": "float32"})
    steps = {"roots": roots, "components": PCA(n_components=0.95, whiten=True)}
    classifier = LogisticRegression(max_iter=100, random_state=0)
    ##END##
    model = Pipeline([*steps.items(), ("classifier", classifier)])
    check_parameters(model)

    dataset = load_training_data(cfg.data.name)  # without its test set: evaluate.py opens that
    train, val = dataset.train, dataset.val
    model = taking_images(model, train.images.shape[1:])

    with start_run(cfg, dataset):
        ##TODO 1.3## Log every value of the config as a parameter of the run, under its dotted
        ## name: model.max_iter = 100, data.name = digits, seed = 0 ...
        ##END##

        ##TODO 1.4## Log the config as the artifact config.yaml, with values in place of ${...} and
        ## without secrets: nobody may read an api_key there.
        ##END##

        ##TODO 1.5## Log the training images as an input of the run in the context "training", with
        ## the name and the digest of `dataset`.
        ##END##

        converged = fit(model, train.images, train.labels)
        mlflow.set_tag("converged", converged)
        if not converged:
            log.warning("The solver stopped at max_iter, before it converged.")

        predictions = {"train": model.predict(train.images), "val": model.predict(val.images)}
        for name, predicted in predictions.items():
            scores = score(getattr(dataset, name).labels, predicted)
            log.info("%-5s accuracy %.4f  macro F1 %.4f", name, *scores.values())
            ##TODO 1.6## Log both scores as metrics with the split in their names: train_accuracy,
            ## train_f1_macro, val_accuracy ...
            ##END##

        templates = plot_templates(model, train.images, dataset.classes)
        mlflow.log_figure(templates, "weight_templates.png")

        ##TODO 1.7## Log the confusion matrix of the validation set, in counts and labelled with the
        ## names of the classes, as the figure confusion_matrix.png.
        ##END##

        ##TODO 1.8## Log the fitted model under the name "model", with its signature and a few
        ## training images as input example. MLflow loads only functions that it is told to trust:
        ## skops_trusted_types=["numpy.reshape"].
        ##END##

    plt.close("all")  # a sweep draws the figures of many runs in one process


if __name__ == "__main__":
    main()
