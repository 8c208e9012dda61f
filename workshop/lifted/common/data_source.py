"""The data: put your own in here.

To add a data set: write a function that returns an `Examples`, name it in READERS, and add a file
to conf/data that names it, too. Nothing else has to know how many pixels or classes there are.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import samerun
from samerun import RecordError

SHARES = {"val": 0.2, "test": 0.2}  # of all examples; the rest is for training
SPLIT_SEED = 0  # one split for all runs: they are compared by it


@dataclass(frozen=True)
class Examples:
    """What a reader returns.

    values : of images, shape (n, height, width); of a table, shape (n, columns); all of them finite
    labels : of shape (n,), whole numbers: the position of each example's class in `classes`
    classes : their names
    source : where the data came from, for people to read: a path, an address, a DOI
    """

    values: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    source: str


def digits() -> Examples:
    """1,797 images of 8x8 pixels, which scikit-learn brings along: a stand-in for your own data."""
    found = load_digits()
    names = [str(name) for name in found.target_names]
    return Examples(found.images, found.target, names, "sklearn.datasets.load_digits")


READERS: dict[str, Callable[[], Examples]] = {"digits": digits}


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and their labels, both read-only.

    images : float64 of shape (n, height, width); a row of a table is an image of one line
    labels : int64 of shape (n,), from 0
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        self.images.setflags(write=False)
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits and what a run records about them.

    mean, std : of the training split, by which all splits are normalised: one number for all pixels
        of images, one for each column of a table
    digest : changes if any value, label or name of a class does
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: np.ndarray
    std: np.ndarray
    source: str
    digest: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an example."""
        return self.train.images.shape[1:]

    @property
    def rows(self) -> dict[str, int]:
        """How many examples each open split has: the interval of an accuracy follows from that."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: len(split) for name, split in splits.items() if isinstance(split, Split)}


@functools.cache
def load_dataset(name: str) -> Dataset:
    """Read a data set, check it, and split it so that every split has its share of each class.

    Raises
    ------
    RecordError
        There is no such data set, or what its reader returns cannot be learned from.
    """
    if name not in READERS:
        raise RecordError(
            f"data_source.py knows no data set {name!r}. There are: {', '.join(READERS)}. Write a "
            "function that reads it, and name it in READERS."
        )
    read = READERS[name]()
    values, labels = np.asarray(read.values), np.asarray(read.labels)
    _check(name, values, labels, read.classes)
    named = samerun.dataset(name, values, labels, list(read.classes), source=read.source)

    is_table = values.ndim == 2
    images = np.array(values, dtype=np.float64)
    images = images[:, None, :] if is_table else images
    labels = labels.astype(np.int64)
    rest, held_out = _split(np.arange(len(labels)), labels, sum(SHARES.values()))
    val, test = _split(held_out, labels, SHARES["test"] / sum(SHARES.values()))
    parts = [Split(images[chosen], labels[chosen]) for chosen in (rest, val, test)]

    axes = 0 if is_table else None
    mean = parts[0].images.mean(axis=axes)
    std = parts[0].images.std(axis=axes)
    std = np.where(std > 0, std, 1.0)  # what never changes says nothing, and must not divide by 0
    return Dataset(name, tuple(read.classes), *parts, mean, std, named.source, named.digest)


def _split(chosen: np.ndarray, labels: np.ndarray, share: float) -> list[np.ndarray]:
    return train_test_split(
        chosen, test_size=share, stratify=labels[chosen], random_state=SPLIT_SEED
    )


def _check(name: str, values: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    def wrong(what: str) -> RecordError:
        return RecordError(f"The data set {name!r} (data_source.py): {what}")

    if values.dtype.kind not in "buif" or values.ndim not in (2, 3):
        raise wrong(
            f"its values are of type {values.dtype} and shape {values.shape}. Expected numbers of "
            "shape (n, height, width), for images of one channel, or (n, columns), for a table."
        )
    if not np.isfinite(values).all():
        raise wrong("some of its values are NaN or infinite. Fill or drop them in its reader.")
    if labels.shape != (len(values),):
        raise wrong(f"labels of shape {labels.shape}, expected ({len(values)},): one an example.")
    if labels.dtype.kind not in "bui" or not set(labels.tolist()) <= set(range(len(classes))):
        found = ", ".join(map(str, sorted(set(labels.tolist()), key=str)[:12]))
        raise wrong(
            f"the labels are {found}. Expected whole numbers from 0 to {len(classes) - 1}, the "
            f"positions of the {len(classes)} classes. numpy.unique(..., return_inverse=True) "
            "makes such labels from names."
        )
    counts = np.bincount(labels.astype(int), minlength=len(classes))
    if len(classes) < 2 or counts.min() < 5:
        rare = ", ".join(f"{c}: {n}" for c, n in zip(classes, counts, strict=True) if n < 5)
        raise wrong(f"too few examples ({rare}). Expected two classes or more, with 5 each.")
    odd = [c for c in classes if not isinstance(c, str) or not re.fullmatch(r"[\w\-. :/]+", c)]
    if odd or len(set(classes)) < len(classes):
        raise wrong(
            f"the names of its classes are {list(classes)}. Expected different texts of letters, "
            "numbers, spaces and - _ . : / each, for they are parts of the names of metrics."
        )


def load_training_data(name: str) -> Dataset:
    """Load a data set whose test split is sealed: to look at it raises a RecordError.

    For code that compares models: what has seen the test set cannot be judged by it any more.
    """
    dataset = load_dataset(name)
    return replace(dataset, test=_Sealed(dataset.test))


def unsealed(dataset: Dataset) -> Dataset:
    """Return a data set with its test split to be looked at: for evaluate.py alone."""
    return replace(dataset, test=getattr(dataset.test, "__split__", dataset.test))


class _Sealed:
    """Stands where the test set would be."""

    def __init__(self, split: Split):
        self.__split__ = split

    def __len__(self) -> int:
        return self.length

    def __getattr__(self, name: str):
        if name.startswith("__"):  # what Python itself asks for, such as __deepcopy__
            raise AttributeError(name)
        raise RecordError(
            f"The test set is sealed here, and something asked for its {name}. Choose models by "
            "the validation set (dataset.val). evaluate.py opens the test set, for a model that is "
            "final."
        )
