"""The logistic function, from a score to a probability."""

import matplotlib.pyplot as plt
import numpy as np
from style import HYDRA, LINE, MUTED, number, save, size

WORDS = {
    "en": {"x": "score  Xw + w₀", "y": "probability"},
    "fr": {"x": "score  Xw + w₀", "y": "probabilité"},
}


def draw(lang: str) -> None:
    figure, axis = plt.subplots(figsize=size(330, 230))
    x = np.linspace(-6, 6, 121)
    axis.axhline(0.5, color=LINE, linewidth=1.5)
    axis.axvline(0, color=LINE, linewidth=1.5)
    axis.plot(x, 1 / (1 + np.exp(-x)), color=HYDRA, linewidth=4)
    axis.set(xlabel=WORDS[lang]["x"], ylabel=WORDS[lang]["y"])
    axis.set(xticks=(-6, -3, 0, 3, 6), yticks=(0, 0.5, 1))
    axis.yaxis.set_major_formatter(lambda y, _: number(y, ".1f", lang))
    axis.tick_params(color=MUTED)
    save(figure, "sigmoid", lang)
