"""Accuracy against C on the digits: the sweep of part 1, run with the project's own script."""

import matplotlib.pyplot as plt
from runs import part1_sweep, wilson
from style import HYDRA, INK, LINE, OPTUNA, number, save, size

MADE_OF = (
    "slides/figures/runs.py",
    "solutions/part1_logistic_regression/train.py",
    "solutions/part1_logistic_regression/conf/preprocessing/whitened.yaml",
    "solutions/part1_logistic_regression/conf/model/logistic_regression.yaml",
    "solutions/part1_logistic_regression/conf/sweep/regularisation.yaml",
)
WORDS = {
    "en": {
        "x": "C  (small: strong regularisation)",
        "y": "accuracy, in %",
        "train": "training, 1,197 images",
        "val": "validation, 300 images, with 95 % interval",
    },
    "fr": {
        "x": "C  (petit\xa0: forte régularisation)",
        "y": "exactitude, en\xa0%",
        "train": "entraînement, 1\u202f197 images",
        "val": "validation, 300 images, avec intervalle à 95\xa0%",
    },
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    runs = part1_sweep()
    c = [float(run.data.params["model.C"]) for run in runs]
    train = [100 * run.data.metrics["train_accuracy"] for run in runs]
    val = [100 * run.data.metrics["val_accuracy"] for run in runs]
    ends = [wilson(value / 100, 300) for value in val]
    figure, axis = plt.subplots(figsize=size(680, 300))
    axis.plot(c, train, color=OPTUNA, linewidth=3, marker="s", markersize=8, label=words["train"])
    axis.errorbar(
        c, val, yerr=[[v - 100 * e[0] for v, e in zip(val, ends, strict=True)],
                      [100 * e[1] - v for v, e in zip(val, ends, strict=True)]],
        color=HYDRA, linewidth=3, marker="o", markersize=9, capsize=6, label=words["val"],
    )  # fmt: skip
    axis.set(xscale="log", xlabel=words["x"], ylabel=words["y"], ylim=(84, 101))
    axis.set_xticks(c, [number(value, "g", lang) for value in c])
    axis.minorticks_off()
    axis.grid(axis="y", color=LINE, linewidth=0.8)
    axis.legend(loc="lower right", frameon=False, labelcolor=INK)
    save(figure, "sweep", lang)
