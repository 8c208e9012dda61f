"""The images that rank: test images, each changed in one way that a secret seed decides.

A quarter of the images goes through each change, in an order that is drawn:

| change     | what is drawn for each image                                                 |
|------------|------------------------------------------------------------------------------|
| shift      | 1 to 4 pixels up or down and 1 to 4 left or right, zeros move in             |
| noise      | a standard deviation of 10 to 50 grey levels of 255; Gaussian, for each pixel |
| brightness | a factor of 0.4 to 0.75 or of 1.25 to 1.6                                    |
| occlusion  | a rectangle of 5 to 10 by 5 to 10 pixels around some lit pixel is set to 0   |

No image stays what it was. The numbers come from PCG64, seeded with the SHA-256 of a word and the
secret, so that whoever knows the secret makes the same images on any machine.
"""

import hashlib
from collections.abc import Callable

import numpy as np

SMALL = 1000  # a test set with fewer images than this is used ten times, a larger one once
SHIFT = (1, 4)  # pixels
NOISE = (10.0, 50.0)  # grey levels
DARKER, BRIGHTER = (0.4, 0.75), (1.25, 1.6)
OCCLUSION = (5, 10)  # pixels

# https://github.com/zalandoresearch/fashion-mnist, its README.md; "we haven't yet tested these".
PUBLISHED = {
    "digits": [],
    "fashion_mnist": [
        {"name": "human", "score": None, "test": 0.835},
        {"name": "WRN-40-4, as published", "score": None, "test": 0.967},
    ],
}


def seed_sha256(seed: bytes) -> str:
    """Return the hex digest by which a seed is known before it is published."""
    return hashlib.sha256(seed).hexdigest()


def digest_of(images: np.ndarray, labels: np.ndarray) -> str:
    """Return a hex SHA-256 over types, shapes and values of images and labels."""
    sha256 = hashlib.sha256()
    for name, array, kind in (("images", images, "|u1"), ("labels", labels, "<i8")):
        array = np.ascontiguousarray(array, kind)
        sha256.update(f"{name} {kind} {array.shape}\n".encode())
        sha256.update(array)
    return sha256.hexdigest()


def generator(seed: bytes, word: str) -> np.random.Generator:
    """Return random numbers that belong to a secret seed and a purpose."""
    digest = hashlib.sha256(f"workshop leaderboard 1: {word}\n".encode() + seed).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def hidden_images(
    seed: bytes, images: np.ndarray, labels: np.ndarray, word: str = "hidden"
) -> tuple[np.ndarray, np.ndarray]:
    """Return changed copies of images: each once, or ten times if there are less than 1,000.

    Parameters
    ----------
    seed : the secret; others make other images
    images : ndarray of shape (n, 28, 28), uint8
    labels : ndarray of shape (n,)
    word : another one draws other changes from the same seed

    Returns
    -------
    ndarray of shape (m, 28, 28), uint8, and ndarray of shape (m,) with their labels: the images in
    their order, and that ten times over or once.
    """
    times = 10 if len(images) < SMALL else 1
    images, labels = np.tile(images, (times, 1, 1)), np.tile(labels, times)
    numbers = generator(seed, word)
    which = numbers.permutation(np.arange(len(images)) % len(CHANGES))
    for kind, change in enumerate(CHANGES):
        chosen = np.flatnonzero(which == kind)
        images[chosen] = change(numbers, images[chosen])
    return images, labels


def shift(numbers: np.random.Generator, images: np.ndarray) -> np.ndarray:
    n, height, width = images.shape
    low, high = SHIFT
    size = numbers.integers(low, high, (2, n), endpoint=True)
    down, right = size * numbers.choice([-1, 1], (2, n))
    padded = np.pad(images, ((0, 0), (high, high), (high, high)))
    rows = np.arange(height) + high - down[:, None]
    columns = np.arange(width) + high - right[:, None]
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def add_noise(numbers: np.random.Generator, images: np.ndarray) -> np.ndarray:
    deviation = numbers.uniform(*NOISE, (len(images), 1, 1))
    return _grey(images + deviation * numbers.standard_normal(images.shape))


def brighten(numbers: np.random.Generator, images: np.ndarray) -> np.ndarray:
    shape = (len(images), 1, 1)
    darker = numbers.random(shape) < 0.5
    factor = np.where(darker, numbers.uniform(*DARKER, shape), numbers.uniform(*BRIGHTER, shape))
    return _grey(images * factor)


def occlude(numbers: np.random.Generator, images: np.ndarray) -> np.ndarray:
    n, height, width = images.shape
    low, high = OCCLUSION
    tall, wide = numbers.integers(low, high, (2, n, 1), endpoint=True)
    # Around a lit pixel: a black rectangle in a black corner would change nothing.
    lottery = numbers.random((n, height * width)) * (images.reshape(n, -1) > 0)
    y, x = np.divmod(lottery.argmax(axis=1)[:, None], width)
    top = np.clip(y - tall // 2, 0, height - tall)
    left = np.clip(x - wide // 2, 0, width - wide)
    rows, columns = np.arange(height), np.arange(width)
    hidden_rows = (rows >= top) & (rows < top + tall)
    hidden_columns = (columns >= left) & (columns < left + wide)
    return np.where(hidden_rows[:, :, None] & hidden_columns[:, None, :], 0, images)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


CHANGES: tuple[Callable, ...] = (shift, add_noise, brighten, occlude)


def reference_scores(data: str, seed: bytes) -> list[dict]:
    """Return what the board draws as reference lines: {"name", "score", "test"}.

    First a logistic regression on standardised pixels, fitted here on 5,000 training images in
    some seconds; then what others published of the test set, whose hidden score nobody knows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from workshop.data import load_dataset

    dataset = load_dataset(data)
    # Strong regularisation: without it, pixels that are nearly always black decide.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    chosen = generator(seed, "references").permutation(len(dataset.train))[:5000]
    model.fit(dataset.train.images[chosen].reshape(-1, 784), dataset.train.labels[chosen])

    def accuracy(images: np.ndarray, labels: np.ndarray) -> float:
        return float((model.predict(images.reshape(-1, 784)) == labels).mean())

    test = dataset.test.images, dataset.test.labels
    found = {"score": accuracy(*hidden_images(seed, *test)), "test": accuracy(*test)}
    return [{"name": "logistic regression", **found}, *PUBLISHED[data]]
