"""Spaghetti code: the boxes of one script, joined by a tangle of lines."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch
from style import HYDRA, INK, LINE, MLFLOW, MUTED, OPTUNA, UV, save, size

WORDS = {
    "en": {
        "columns": (
            ("raw data", "old data", "data (new)"),
            ("if flag", "if flag", "if not flag", "if flag == 2"),
            ("model", "model_old"),
            ("figures", "results"),
        )
    },
    "fr": {
        "columns": (
            ("brutes", "anciennes", "nouvelles"),
            ("if flag", "if flag", "if not flag", "if flag == 2"),
            ("modèle", "modèle_old"),
            ("figures", "résultats"),
        )
    },
}
PLACES = (0.11, 0.40, 0.69, 0.91)  # of the columns


def draw(lang: str) -> None:
    figure, axis = plt.subplots(figsize=size(400, 270))
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.axis("off")
    columns = WORDS[lang]["columns"]
    boxes = []
    for x, names in zip(PLACES, columns, strict=True):
        heights = np.linspace(0.92, 0.08, len(names))
        boxes.append([(x, y) for y in heights])
        for y, name in zip(heights, names, strict=True):
            axis.text(
                x, y, name, ha="center", va="center", color=INK, zorder=3,
                bbox={"boxstyle": "round,pad=0.35", "facecolor": "#F1F4F9", "edgecolor": LINE},
            )  # fmt: skip
    # Every box to every box of the next column, and some of them back again.
    chosen = np.random.default_rng(3)
    colours = (UV, HYDRA, MLFLOW, OPTUNA, MUTED)
    ways = [(a, b) for left, right in pairwise(boxes) for a in left for b in right]
    ways += [(boxes[2][0], boxes[0][2]), (boxes[3][1], boxes[1][0]), (boxes[2][1], boxes[0][0])]
    for number, (start, end) in enumerate(ways):
        bent = chosen.uniform(0.15, 0.75) * chosen.choice((-1, 1))
        axis.add_patch(
            FancyArrowPatch(
                start,
                end,
                connectionstyle=f"arc3,rad={bent:.2f}",
                arrowstyle="-",
                color=colours[number % len(colours)],
                linewidth=1.8,
                alpha=0.75,
                zorder=1,
            )
        )
    save(figure, "spaghetti", lang)
