"""Preprocessing for scikit-learn: an image becomes a row of pixels."""

import numpy as np

from workshop.data import Split


def to_rows(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels, float32 of shape (n, 784) between 0 and 1, and the labels, shape (n,)."""
    pixels = split.images.reshape(len(split), -1)
    return np.divide(pixels, 255, dtype=np.float32), split.labels
