"""One image of every class of Fashion-MNIST: the first of each in the training set."""

import matplotlib.pyplot as plt
import numpy as np
from style import save, size

from workshop.data import load_dataset


def draw() -> None:  # for all languages: the names of the classes are part of the data set
    dataset = load_dataset("fashion_mnist")
    figure, axes = plt.subplots(2, 5, figsize=size(746, 300))
    for label, (axis, name) in enumerate(zip(axes.flat, dataset.classes, strict=True)):
        first = np.flatnonzero(dataset.train.labels == label)[0]
        axis.imshow(dataset.train.images[first], cmap="gray_r", interpolation="none")
        axis.set_title(f"{label}  {name}", fontsize=14)
        axis.set(xticks=(), yticks=())
        axis.spines[:].set_visible(False)
    save(figure, "samples")
