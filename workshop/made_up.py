"""A data set that the checks of the exercises make up, so that no answer is right on ours alone.

Its names, its sizes, the number of its classes and the side of its images are those of neither
data set of the course.
"""

import contextlib
import functools
from collections.abc import Iterator
from unittest import mock

import numpy as np

from workshop.data import LOADERS, Dataset, Split, make_dataset

NAME = "gratings"
CLASSES = ("upright", "level", "rising", "falling", "fine", "coarse", "plain/none")
SIDE = 20  # pixels
SIZES = {"train": 147, "val": 63, "test": 49}


@contextlib.contextmanager
def available() -> Iterator[None]:
    """Let load_dataset(NAME) return it for a while."""
    with mock.patch.dict(LOADERS, {NAME: gratings}):
        yield


def load_gratings(name: str) -> Dataset:
    """Return the data set, whatever it is called: for a configuration that names this function."""
    return gratings()


@functools.cache
def gratings() -> Dataset:
    """Return stripes of six kinds and of none, some of them hard to tell: no model is perfect."""
    random = np.random.default_rng(5)
    return make_dataset(
        NAME,
        CLASSES,
        *(_split(random, size) for size in SIZES.values()),
        source="made up by the checks",
    )


def _split(random: np.random.Generator, size: int) -> Split:
    # Every class is there, some more often than others: sums over classes are weighted, or not.
    labels = np.r_[np.arange(7), random.choice(7, size - 7, p=np.array([4, 3, 2, 2, 1, 1, 1]) / 14)]
    random.shuffle(labels)
    down, right = np.mgrid[:SIDE, :SIDE]
    waves = np.stack(
        [right, down, right + down, right - down, 2 * right, down / 2, np.zeros((SIDE, SIDE))]
    )
    clean = np.sin(waves[labels] * np.pi / 3)
    noisy = 110 + 40 * clean + random.normal(0, 55, clean.shape)
    return Split(noisy.clip(0, 255).astype(np.uint8), labels.astype(np.int64))
