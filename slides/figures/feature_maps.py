"""Feature maps of a small CNN that this project trained, for one real image."""

import matplotlib.pyplot as plt
from maps import feature_maps
from style import HYDRA, INK, MLFLOW, save, size

MADE_OF = (
    "slides/figures/runs.py",
    "slides/figures/maps.py",
    "solutions/part2_mlp_cnn/models.py",
    "solutions/part2_mlp_cnn/data.py",
)
WORDS = {
    "en": {
        "image": "test image, 28×28",
        "first": "after the first block: 8 maps, 14×14",
        "second": "after the second block: 8 of 16 maps, 7×7",
    },
    "fr": {
        "image": "image de test, 28×28",
        "first": "après le premier bloc\xa0: 8 cartes, 14×14",
        "second": "après le second bloc\xa0: 8 cartes sur 16, 7×7",
    },
}


def draw(lang: str) -> None:
    words = WORDS[lang]
    image, first, second, _, _ = feature_maps()
    figure = plt.figure(figsize=size(746, 280))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.3))
    axis = left.subplots()
    axis.imshow(image, cmap="gray", interpolation="none")
    axis.set_title(words["image"], color=INK)
    axis.set(xticks=(), yticks=())
    axis.spines[:].set_visible(False)
    rows = right.subfigures(2, 1)
    for row, maps, name, colour in zip(
        rows, (first, second), (words["first"], words["second"]), (HYDRA, MLFLOW), strict=True
    ):
        row.suptitle(name, color=colour, fontsize=15, weight="bold")
        for axis, values in zip(row.subplots(1, 8), maps, strict=False):
            axis.imshow(values, cmap="gray", interpolation="none", vmin=0)
            axis.set(xticks=(), yticks=())
            axis.spines[:].set_visible(False)
    save(figure, "feature_maps", lang)
