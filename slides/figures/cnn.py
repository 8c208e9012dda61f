"""The small CNN, drawn with the values that one real image has in it."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from maps import feature_maps
from matplotlib.patches import Rectangle
from style import HYDRA, INK, LINE, MLFLOW, MUTED, OPTUNA, save, size

MADE_OF = (
    "slides/figures/runs.py",
    "slides/figures/maps.py",
    "solutions/part2_mlp_cnn/models.py",
    "solutions/part2_mlp_cnn/data.py",
)
WORDS = {
    "en": {
        "image": "image",
        "maps": "{n} maps",
        "block": "convolution,\npooling,\nReLU",
        "head": "linear,\nsoftmax",
        "classes": "10 classes",
    },
    "fr": {
        "image": "image",
        "maps": "{n} cartes",
        "block": "convolution,\npooling,\nReLU",
        "head": "linéaire,\nsoftmax",
        "classes": "10 classes",
    },
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    image, first, second, said, classes = feature_maps()
    figure, axis = plt.subplots(figsize=size(746, 275))
    x, spans = 0.0, []
    for maps, edge, name in (
        (image[None], 3.4, words["image"]),
        (first, 2.5, words["maps"].format(n=len(first))),
        (second, 1.7, words["maps"].format(n=len(second))),
    ):
        step = 0.16 if len(maps) > 8 else 0.2
        depth = step * (len(maps) - 1)
        for i in reversed(range(len(maps))):  # the last one lies behind
            left, low = x + step * i, -edge / 2 - depth / 2 + step * i
            box = (left, left + edge, low, low + edge)
            axis.imshow(
                maps[i], cmap="gray", interpolation="none", vmin=0, extent=box, zorder=2 - i / 99
            )
            corner = Rectangle((left, low), edge, edge, fill=False, edgecolor=LINE, linewidth=0.8)
            axis.add_patch(corner)
            corner.set_zorder(2.001 - i / 99)
        spans.append((x, x + edge + depth))
        middle = x + (edge + depth) / 2
        side = maps.shape[-1]
        axis.text(middle, -3.0, name, ha="center", weight="bold", color=INK)
        axis.text(middle, -3.55, f"{side}×{side}", ha="center", color=MUTED)
        x += edge + depth + 2.9
    order = np.arange(10)
    for label in order:
        axis.add_patch(Rectangle((x, 1.75 - 0.4 * label), 1.6, 0.3, color="#EEF1F6"))
        axis.add_patch(Rectangle((x, 1.75 - 0.4 * label), 1.6 * said[label], 0.3, color=OPTUNA))
    best = int(said.argmax())
    axis.text(x + 0.8, -3.0, words["classes"], ha="center", weight="bold", color=INK)
    axis.text(
        x + 0.8, -3.55, f"{classes[best]} {100 * said[best]:.0f}\xa0%", ha="center", color=OPTUNA
    )
    spans.append((x, x + 1.6))
    for i, ((_, start), (end, _)) in enumerate(pairwise(spans)):
        axis.annotate(
            "", (end - 0.1, 0), (start + 0.1, 0),
            arrowprops={"arrowstyle": "-|>", "color": HYDRA, "linewidth": 2},
        )  # fmt: skip
        text = words["head"] if i == 2 else words["block"]
        axis.text((start + end) / 2, 0.3, text, ha="center", va="bottom", color=MLFLOW)
    axis.set(xlim=(-0.1, x + 2.2), ylim=(-3.8, 2.6))
    axis.set_aspect("equal")
    axis.set_axis_off()
    save(figure, "cnn", lang)
