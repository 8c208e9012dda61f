"""The workshop's two data sets, read whole, verified and split: Fashion-MNIST and digits."""

import errno
import gzip
import hashlib
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from samerun.code.known import KnownFile
from workshop.errors import WorkshopError

DATASETS = ("digits", "fashion_mnist")
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

DATA_DIR = Path(__file__).resolve().parents[1] / "data"
# Name of each original file: its SHA-256 and its size in bytes.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26421880),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148),
}  # fmt: skip
MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
DOWNLOAD_TIMEOUT_S = 30.0  # of silence on the connection, not of the whole download

_MISSING = "is missing"
_WITHOUT_DOWNLOAD = (
    "Without a download: data=digits needs none; or copy the folder data/FashionMNIST/raw from a "
    "neighbour's laptop or a USB stick and set FASHION_MNIST_DIR to the copy."
)


class DataError(WorkshopError):
    """A data set that cannot be had or trusted; the message says what to do next."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, both read-only.

    images : ndarray of shape (n, 28, 28), uint8
    labels : ndarray of shape (n,), int64, values 0 to 9
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

    mean, std : of all training pixels scaled to [0, 1]
    source : the folder the files were read from, or "sklearn.datasets.load_digits"
    digest : 32 hex characters of a SHA-256 over the arrays, however their files were compressed
    files : what it was read from, as it was verified
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    mean: float
    std: float
    source: str
    digest: str
    files: tuple[KnownFile, ...] = ()

    @property
    def rows(self) -> dict[str, int]:
        """How many images each open split has: the interval of an accuracy follows from that."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: len(split) for name, split in splits.items() if isinstance(split, Split)}


def load_dataset(name: str) -> Dataset:
    """Load "digits" (1,197 / 300 / 300 images) or "fashion_mnist" (50,000 / 10,000 / 10,000).

    digits comes with scikit-learn. For fashion_mnist see `fetch_fashion_mnist`.

    Raises DataError for an unknown name and for data that cannot be had or is not the original.
    """
    if name in LOADERS:
        return LOADERS[name]()
    raise DataError(
        f"There is no data set {name!r}. Expected one of: {', '.join(DATASETS)}. "
        f"Choose with data={DATASETS[0]} or data={DATASETS[1]}."
    )


def load_training_data(name: str) -> Dataset:
    """Load a data set whose test split is sealed: to look at it raises a WorkshopError.

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
        raise WorkshopError(
            f"The test set is sealed here, and something asked for its {name}. Choose models by "
            "the validation set (dataset.val). evaluate.py opens the test set, for a model that is "
            "final."
        )


def fetch_fashion_mnist(download: bool = True) -> Path:
    """Return a folder with the four original files of Fashion-MNIST, each one verified.

    If FASHION_MNIST_DIR is set, the files lie directly in that folder, and nothing is downloaded.
    Otherwise they lie in the repository's data/FashionMNIST/raw, in the layout of torchvision, and
    what is missing or damaged there is downloaded, unless `download` is false.

    Raises DataError if the files cannot be had, read or trusted.
    """
    folder, _ = _find_fashion_mnist(download)
    return folder


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = np.pad(pixels.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    labels = digits.target.astype(np.int64)
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=300, stratify=labels, random_state=0
    )
    train, val = train_test_split(rest, test_size=300, stratify=labels[rest], random_state=0)
    return make_dataset(
        "digits",
        tuple(str(digit) for digit in range(10)),
        *(Split(images[chosen], labels[chosen]) for chosen in (train, val, test)),
        source="sklearn.datasets.load_digits",
    )


def _load_fashion_mnist() -> Dataset:
    folder, files = _find_fashion_mnist()
    images, labels = _decode(files, "train")
    return make_dataset(
        "fashion_mnist",
        CLASSES,
        Split(images[:50_000], labels[:50_000]),
        Split(images[50_000:], labels[50_000:]),
        Split(*_decode(files, "t10k")),
        source=str(folder),
        files=tuple(KnownFile(str(folder / name), "data", *FILES[name]) for name in files),
    )


LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": _load_digits,
    "fashion_mnist": _load_fashion_mnist,
}


def _decode(files: dict[str, bytes], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    # The header (16 or 8 bytes) is known, since the checksum of the whole file is.
    images = gzip.decompress(files[f"{prefix}-images-idx3-ubyte.gz"])
    labels = gzip.decompress(files[f"{prefix}-labels-idx1-ubyte.gz"])
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def make_dataset(
    name: str,
    classes: tuple[str, ...],
    train: Split,
    val: Split,
    test: Split,
    source: str,
    files: tuple[KnownFile, ...] = (),
) -> Dataset:
    mean, std = _mean_and_std(train.images)
    digest = _digest({"train": train, "val": val, "test": test})
    return Dataset(name, classes, train, val, test, mean, std, source, digest, files)


def _mean_and_std(images: np.ndarray) -> tuple[float, float]:
    # Sums of whole numbers: exact, and a tenth of the time and memory of a float copy.
    n = images.size
    total = int(images.sum(dtype=np.uint64))
    squares = int(np.square(images, dtype=np.uint16).sum(dtype=np.uint64))
    return total / n / 255, math.sqrt(n * squares - total**2) / n / 255


def _digest(splits: dict[str, Split]) -> str:
    sha256 = hashlib.sha256()
    for name, split in splits.items():
        for field, array in (("images", split.images), ("labels", split.labels)):
            sha256.update(f"{name}.{field} {array.dtype.str} {array.shape}\n".encode())
            sha256.update(array)
    return sha256.hexdigest()[:32]  # MLflow allows a digest at most 36 characters


def _find_fashion_mnist(download: bool = True) -> tuple[Path, dict[str, bytes]]:
    chosen = os.environ.get("FASHION_MNIST_DIR")
    if chosen:
        folder = Path(os.path.abspath(os.path.expanduser(chosen)))
        return folder, _read_chosen(folder)
    folder = DATA_DIR / "FashionMNIST" / "raw"
    files, faults = _read_files(folder)
    if not faults:
        return folder, files
    if not download:
        lines = "".join(f"\n  {name} {fault}" for name, fault in faults.items())
        raise DataError(f"{folder} lacks files of Fashion-MNIST:{lines}\nuv run workshop data")
    try:
        return folder, _download(folder)
    except OSError as error:
        raise DataError(_cannot_store(folder, error)) from error


def _read_chosen(folder: Path) -> dict[str, bytes]:
    """Read the user's own folder, which is never written to."""
    try:
        os.listdir(folder)
    except OSError as error:
        raise DataError(
            f"FASHION_MNIST_DIR={folder} cannot be opened as a folder: {error.strerror}. "
            "Expected the folder that holds the four .gz files of Fashion-MNIST. "
            "Correct FASHION_MNIST_DIR or the folder's permissions, unset it to have them "
            "downloaded, or use data=digits, which needs no download."
        ) from error
    files, faults = _read_files(folder)
    if faults:
        raise DataError(
            f"FASHION_MNIST_DIR={folder} does not hold the four original files of Fashion-MNIST:\n"
            + "".join(f"  {name} {fault}\n" for name, fault in faults.items())
            + "Copy the files named here again, unset FASHION_MNIST_DIR to have them downloaded, "
            "or use data=digits, which needs no download."
        )
    return files


def _read_files(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the good files' bytes, and of each other file what is wrong with it."""
    files, faults = {}, {}
    for name in FILES:
        path = folder / name
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            faults[name] = _MISSING
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror}. Expected a file that you may read. "
                "Change its permissions or delete it, then run the command again."
            ) from error
        else:
            fault = _fault(name, content)
            if fault:
                faults[name] = fault
            else:
                files[name] = content
    return files, faults


def _fault(name: str, content: bytes) -> str | None:
    expected, size = FILES[name]
    found = hashlib.sha256(content).hexdigest()
    if found == expected:
        return None
    for other, (sha256, _) in FILES.items():
        if found == sha256:
            return f"holds what belongs in {other}"
    if len(content) < size:
        return f"is truncated: {len(content):,} bytes, expected {size:,}"
    return f"is altered: SHA-256 {found[:12]}..., expected {expected[:12]}..."


def _download(folder: Path) -> dict[str, bytes]:
    """Bring what is missing or damaged in `folder`, one process at a time; return all files."""
    folder.mkdir(parents=True, exist_ok=True)
    with _one_process_at_a_time(DATA_DIR / ".fashion_mnist.lock"):
        # Inside `folder`, because os.replace cannot cross from one file system to another.
        partial = folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)  # a killed process may have left it
        files, faults = _read_files(folder)  # another process may have just brought them
        if not faults:
            return files
        _say(f"Downloading Fashion-MNIST (31 MB at most, once) into {folder}")
        try:
            partial.mkdir()
            for name, fault in faults.items():
                if fault != _MISSING:
                    _say(f"{folder / name} {fault}; replacing it.")
                files[name] = _download_file(name, partial)
                os.replace(partial / name, folder / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return files


def _download_file(name: str, partial: Path) -> bytes:
    from pooch import HTTPDownloader

    path = partial / name
    # A bar where somebody can see it. Proxies are those of the environment, passwords included.
    fetch = HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=DOWNLOAD_TIMEOUT_S)
    failures = []
    for mirror in MIRRORS:
        try:
            fetch(mirror + name, path, None)
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # requests' are OSErrors, of an address ValueErrors
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            failures.append(f"  {mirror}{name}: {error or type(error).__name__}\n")
            continue
        fault = _fault(name, content)
        if fault is None:
            return content
        failures.append(f"  {mirror}{name}: what arrived {fault}\n")
    raise DataError(
        f"Fashion-MNIST could not be downloaded:\n{''.join(failures)}"
        "Expected a network that reaches this address; a Wi-Fi that wants a login first does not. "
        f"Connect and run the command again: files that arrived whole are kept. {_WITHOUT_DOWNLOAD}"
    )


def _cannot_store(folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full: {folder} needs 31 MB for Fashion-MNIST. "
            f"Free some space and run the command again. {_WITHOUT_DOWNLOAD}"
        )
    in_the_way = (path for path in (folder, *folder.parents) if os.path.isfile(path))
    where = next(in_the_way, error.filename or folder)
    return (
        f"Fashion-MNIST cannot be stored in {folder}: {error.strerror}: {where}. "
        "Expected a folder that you may write to. Change the permissions, or delete a file that "
        f"stands where a folder should be, and run the command again. {_WITHOUT_DOWNLOAD}"
    )


@contextmanager
def _one_process_at_a_time(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say("Another process is downloading Fashion-MNIST; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
