"""A multi-layer perceptron, drawn: 784 pixels, two hidden layers, ten classes."""

from itertools import pairwise

import matplotlib.pyplot as plt
from style import HYDRA, INK, LINE, MLFLOW, MUTED, OPTUNA, save, size

WORDS = {
    "en": {
        "layers": ("784 pixels", "256 units", "128 units", "10 logits"),
        "roles": ("input", "hidden", "hidden", "output"),
        "steps": ("linear, ReLU,\ndropout", "linear, ReLU,\ndropout", "linear"),
    },
    "fr": {
        "layers": ("784 pixels", "256 unités", "128 unités", "10 logits"),
        "roles": ("entrée", "couche cachée", "couche cachée", "sortie"),
        "steps": ("linéaire,\nReLU,\ndropout", "linéaire,\nReLU,\ndropout", "linéaire"),
    },
}
SHOWN = (9, 7, 5, 4)  # circles; a gap in the middle stands for the rest
COLOURS = (MUTED, HYDRA, HYDRA, OPTUNA)


def heights(n: int) -> list[float]:
    """Return where the circles of a layer stand, with a gap before the last two."""
    return [(n / 2 - i - (0.9 if i >= n - 2 else 0)) * 0.92 for i in range(n)]


def draw(lang: str) -> None:
    words = WORDS[lang]
    figure, axis = plt.subplots(figsize=size(746, 310))
    places = [[(3.4 * x, y) for y in heights(n)] for x, n in enumerate(SHOWN)]
    for left, right in pairwise(places):
        for x0, y0 in left:
            for x1, y1 in right:
                axis.plot((x0, x1), (y0, y1), color=LINE, linewidth=0.7, zorder=1)
    for x, (layer, colour) in enumerate(zip(places, COLOURS, strict=True)):
        axis.scatter(*zip(*layer, strict=True), s=260, color=colour, zorder=2)
        middle = (layer[-3][1] + layer[-2][1]) / 2
        axis.text(3.4 * x, middle, "⋮", ha="center", va="center", fontsize=18, color=INK)
        axis.text(
            3.4 * x, 5.6, words["layers"][x], ha="center", weight="bold", color=colour, fontsize=16
        )
        axis.text(3.4 * x, -6.4, words["roles"][x], ha="center", color=MUTED)
    for x, step in enumerate(words["steps"]):
        axis.text(3.4 * x + 1.7, 5.5, step, ha="center", va="center", color=MLFLOW)
    axis.set(xlim=(-1.2, 11.4), ylim=(-6.8, 6.6))
    axis.set_axis_off()
    save(figure, "mlp", lang)
