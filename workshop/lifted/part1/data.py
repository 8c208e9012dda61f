"""Preprocessing for scikit-learn: an example becomes a row of numbers."""

import numpy as np
from data_source import Dataset, Split


def to_rows(dataset: Dataset, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 of shape (n, values of an example) and the labels, shape (n,).

    They are normalised by mean and standard deviation of the training split.
    """
    rows = (split.images - dataset.mean) / dataset.std
    return rows.reshape(len(split), -1).astype(np.float32), split.labels
