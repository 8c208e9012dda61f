"""What looking many times costs: the best of n models that are all equally good.

The number of right answers of a model with a true accuracy of 92 % on 10,000 images is binomial;
the expected best of n independent ones follows from its distribution, without simulation.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import binom
from style import INK, LINE, MUTED, OPTUNA, number, save, size

WORDS = {
    "en": {
        "x": "models that looked at the test set",
        "y": "test accuracy of the best, in %",
        "truth": "true accuracy of every one of them: 92 %",
    },
    "fr": {
        "x": "modèles qui ont vu le jeu de test",
        "y": "exactitude du meilleur, en\xa0%",
        "truth": "exactitude vraie de chacun d’eux\xa0: 92\xa0%",
    },
}
IMAGES, TRUTH = 10_000, 0.92


def expected_best(n: int) -> float:
    """Return the expected accuracy of the best of n such models."""
    at_most = binom.cdf(np.arange(IMAGES + 1), IMAGES, TRUTH) ** n
    return float((1 - at_most[:-1]).sum()) / IMAGES


def draw(lang: str) -> None:
    words = WORDS[lang]
    looks = np.array((1, 2, 3, 5, 10, 20, 50, 100))
    best = 100 * np.array([expected_best(n) for n in looks])
    figure, axis = plt.subplots(figsize=size(420, 270))
    axis.axhline(100 * TRUTH, color=MUTED, linewidth=2, linestyle="--")
    axis.text(1, 91.78, words["truth"], color=MUTED, va="top")
    axis.plot(looks, best, color=OPTUNA, linewidth=3, marker="o", markersize=8)
    for n, value in zip(looks, best, strict=True):
        if n in (1, 10, 100):
            shift, side = ((-4, -20), "left") if n == 1 else ((0, 10), "center")
            axis.annotate(
                number(value, ".2f", lang), (n, value), shift, textcoords="offset points", ha=side,
                weight="bold", color=INK,
            )  # fmt: skip
    axis.set(xscale="log", xlabel=words["x"], ylabel=words["y"], ylim=(91.64, 92.9))
    axis.set(xticks=(1, 10, 100), xticklabels=("1", "10", "100"), xlim=(0.75, 160))
    axis.yaxis.set_major_formatter(lambda y, _: number(y, ".1f", lang))
    axis.grid(axis="y", color=LINE, linewidth=0.8)
    save(figure, "best_of_many", lang)
