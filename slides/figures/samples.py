"""One image of every class of Fashion-MNIST, the first in the training set, and their scale."""

import matplotlib.pyplot as plt
import numpy as np
from style import save, size

from workshop.data import load_dataset


def draw() -> None:  # for all languages: the names of the classes are part of the data set
    dataset = load_dataset("fashion_mnist")
    figure, axes = plt.subplots(2, 5, figsize=size(746, 305))
    for label, (axis, name) in enumerate(zip(axes.flat, dataset.classes, strict=True)):
        first = np.flatnonzero(dataset.train.labels == label)[0]
        shown = axis.imshow(
            dataset.train.images[first], cmap="gray", interpolation="none", vmin=0, vmax=255
        )
        axis.set_title(f"{label}  {name}", fontsize=14)
        axis.set(xticks=(), yticks=())
        axis.spines[:].set_visible(False)
    scale = figure.colorbar(shown, ax=axes, location="bottom", aspect=50, shrink=0.7, pad=0.02)
    scale.set_ticks((0, 64, 128, 192, 255))
    save(figure, "samples")
