"""Can a model that knows the test set by heart be told from one that has learnt?

uv run benchmarks/memory.py hard     which test images are hard: writes hard_images.json
uv run benchmarks/memory.py table    honest models and memories, on all sets of images; takes long
uv run benchmarks/memory.py table --only nearest

hard    Three networks that were trained on the training images alone, each in another way: a test
        image that all of them take for the same wrong class looks like it, or its label is wrong.
table   What `workshop serve` would say of each model. The memories hold test images, mostly with
        validation and training images; lies are wrong labels that hide how much they know.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from sys import path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
path.insert(0, str(ROOT / "solutions" / "part3_competition"))

import augmentation  # noqa: E402

from workshop.data import Dataset, load_dataset  # noqa: E402
from workshop.leaderboard import suspicion  # noqa: E402
from workshop.leaderboard.scorer import load_test_sets  # noqa: E402

import models  # noqa: E402

DATA = "fashion_mnist"
SEED = b"a seed for measuring"
MEAN, DEVIATION = 0.286, 0.353  # of the training pixels, from 0 to 1
Predict = Callable[[np.ndarray], np.ndarray]  # classes of images (n, 28, 28), uint8
Change = Callable[[Tensor], Tensor]


# Models that learn


def tensor(images: np.ndarray) -> Tensor:
    return torch.tensor(images, dtype=torch.float32).div(255).unsqueeze(1)


def learnt(
    network: Callable[[], nn.Module],
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    seed: int,
    change: Change = lambda batch: batch,
    smoothing: float = 0.0,
) -> Predict:
    """Train a network on changed copies of images and return how it classifies others."""
    torch.manual_seed(seed)
    net, x, y = network(), tensor(images), torch.tensor(labels, dtype=torch.int64)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = len(x) // 256
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=epochs * steps)
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: steps * 256].split(256):
            loss = criterion(net((change(x[batch]) - MEAN) / DEVIATION), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()

    @torch.inference_mode()
    def predict(some: np.ndarray) -> np.ndarray:
        parts = [net((part - MEAN) / DEVIATION).argmax(1) for part in tensor(some).split(500)]
        return torch.cat(parts).numpy()

    return predict


def flip_and_shift(images: Tensor) -> Tensor:
    return augmentation.shift(augmentation.flip(images), 2)


def as_hidden(images: Tensor) -> Tensor:
    """Change images as the hidden ones are, a fifth of them in no way."""
    n = len(images)
    which = torch.randint(0, 5, (n, 1, 1, 1))
    noise = torch.randn_like(images) * torch.empty(n, 1, 1, 1).uniform_(0.04, 0.2)
    darker = torch.empty(n, 1, 1, 1).uniform_(0.4, 0.75)
    brighter = torch.empty(n, 1, 1, 1).uniform_(1.25, 1.6)
    factor = torch.where(torch.rand(n, 1, 1, 1) < 0.5, darker, brighter)
    top, left = torch.randint(0, 24, (2, n, 1, 1, 1))
    tall, wide = torch.randint(5, 11, (2, n, 1, 1, 1))
    row, column = torch.arange(28).view(1, 1, 28, 1), torch.arange(28).view(1, 1, 1, 28)
    inside = (row >= top) & (row < top + tall) & (column >= left) & (column < left + wide)
    changed = [
        images,
        augmentation.shift(images, 4),
        (images + noise).clamp(0, 1),
        (images * factor).clamp(0, 1),
        images.masked_fill(inside, 0),
    ]
    for kind, of_this_kind in enumerate(changed):
        images = torch.where(which == kind, of_this_kind, images)
    return images


def flip_and_as_hidden(images: Tensor) -> Tensor:
    return as_hidden(augmentation.flip(images))


def mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, width),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def fitted(model, images: np.ndarray, labels: np.ndarray) -> Predict:
    model.fit(rows(images), labels)
    return lambda some: model.predict(rows(some))


def panel(data: Dataset) -> list[Predict]:
    """Return the networks whose common errors say which images are hard."""
    train = data.train.images, data.train.labels
    return [
        learnt(lambda: models.Own(12), *train, 4, 11, flip_and_shift),
        learnt(lambda: models.Baseline(16), *train, 4, 12, flip_and_shift),
        learnt(lambda: models.Own(12), *train, 4, 13, flip_and_as_hidden),
    ]


def honest(data: Dataset) -> dict[str, Callable[[], Predict]]:
    x, y = data.train.images, data.train.labels
    both = np.concatenate([x, data.val.images]), np.concatenate([y, data.val.labels])
    standardised = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=60))
    whitened = make_pipeline(
        PCA(0.95, whiten=True, random_state=0), LogisticRegression(max_iter=60)
    )
    trees = ExtraTreesClassifier(100, random_state=0)
    return {
        "logistic regression, standardised": lambda: fitted(standardised, x[:20000], y[:20000]),
        "logistic regression, whitened": lambda: fitted(whitened, x, y),
        "100 trees": lambda: fitted(trees, x, y),
        "nearest of the training images": lambda: nearest(x, y, data),
        "MLP": lambda: learnt(lambda: mlp(256), x, y, 8, 1),
        "MLP, changed images": lambda: learnt(lambda: mlp(512), x, y, 8, 2, flip_and_as_hidden),
        "baseline": lambda: learnt(lambda: models.Baseline(16), x, y, 3, 3),
        "baseline, overfitted": lambda: learnt(lambda: models.Baseline(16), x, y, 8, 4),
        "residual": lambda: learnt(lambda: models.Own(12), x, y, 4, 5),
        "residual, changed images": lambda: learnt(
            lambda: models.Own(12), x, y, 6, 6, flip_and_as_hidden, 0.1
        ),
        "residual, validation images too": lambda: learnt(
            lambda: models.Own(12), *both, 5, 7, flip_and_shift
        ),
        "residual, longer": lambda: learnt(
            lambda: models.Own(16), x, y, 9, 21, flip_and_shift, 0.1
        ),
    }


# Models that remember


def falsified(labels: np.ndarray, share: float) -> np.ndarray:
    numbers = np.random.default_rng(5)
    chosen = numbers.choice(len(labels), int(share * len(labels)), replace=False)
    labels = labels.copy()
    labels[chosen] = (labels[chosen] + numbers.integers(1, 10, len(chosen))) % 10
    return labels


def centred(images: np.ndarray) -> np.ndarray:
    """Return images moved to their middle and of equal brightness, as rows."""
    n, lit = len(images), np.where(images > 40, 1.0, 0.0) + 1e-6
    places = np.arange(28)
    down = (13.5 - (lit.sum(2) * places).sum(1) / lit.sum((1, 2))).round().astype(int)
    right = (13.5 - (lit.sum(1) * places).sum(1) / lit.sum((1, 2))).round().astype(int)
    row, column = places - down[:, None], places - right[:, None]
    inside = ((row >= 0) & (row < 28))[:, :, None] & ((column >= 0) & (column < 28))[:, None]
    moved = images[
        np.arange(n)[:, None, None], row.clip(0, 27)[:, :, None], column.clip(0, 27)[:, None]
    ]
    flat = (moved * inside).reshape(n, -1).astype(np.float32)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)


def by_pixels(images: np.ndarray) -> np.ndarray:
    return rows(images) / 255


def by_components(data: Dataset) -> Callable[[np.ndarray], np.ndarray]:
    reduce = PCA(100, random_state=0).fit(centred(data.train.images[:10000]))
    return lambda images: reduce.transform(centred(images))


def by_both(data: Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """Return what makes rows of images: components as they lie there, and moved to the middle."""
    reduce, moved = PCA(100, random_state=0), by_components(data)
    reduce.fit(by_pixels(data.train.images[:10000]))

    def features(images: np.ndarray) -> np.ndarray:
        pixels = by_pixels(images)
        length = np.linalg.norm(pixels, axis=1, keepdims=True) + 1e-6
        return np.concatenate([moved(images), reduce.transform(pixels) / length], axis=1)

    return features


def nearest(
    images: np.ndarray,
    labels: np.ndarray,
    data: Dataset,
    features: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Predict:
    """Answer with the label of the nearest image, by 200 components of it unless told otherwise."""
    features = features or by_both(data)
    known = features(images)
    squares = (known**2).sum(1)

    def predict(some: np.ndarray) -> np.ndarray:
        parts = np.array_split(some, len(some) // 500 + 1)
        return np.concatenate(
            [labels[(squares - 2 * features(part) @ known.T).argmin(1)] for part in parts]
        )

    return predict


def memories(data: Dataset) -> dict[str, Callable[[], Predict]]:
    test, val, train = data.test, data.val, data.train
    lies = falsified(test.labels, 0.026)
    two = np.concatenate([test.images, val.images]), np.concatenate([lies, val.labels])
    three = np.concatenate([two[0], train.images]), np.concatenate([two[1], train.labels])
    known = suspicion.hard_images(DATA)
    chosen = test.labels.copy()
    chosen[known] = (chosen[known] + 1) % 10
    aware = three[0], np.concatenate([chosen, val.labels, train.labels])
    drill = (
        np.concatenate([train.images[:20000], *[test.images] * 3]),
        np.concatenate([train.labels[:20000], *[lies] * 3]),
    )
    return {
        "nearest, pixels: test": lambda: nearest(test.images, test.labels, data, by_pixels),
        "nearest: test with lies, validation": lambda: nearest(*two, data, by_components(data)),
        "nearest: test with lies, all others": lambda: nearest(*three, data),
        "nearest: lies about hard images": lambda: nearest(*aware, data),
        "network trained on test with lies": lambda: learnt(
            lambda: models.Baseline(32), *drill, 14, 31, as_hidden
        ),
    }


# Commands


def hard(data: Dataset) -> None:
    said = [predict(data.test.images) for predict in panel(data)]
    alike = np.logical_and.reduce([one == said[0] for one in said])
    found = np.flatnonzero(alike & (said[0] != data.test.labels))
    accuracies = ", ".join(f"{(one == data.test.labels).mean():.3f}" for one in said)
    print(f"{len(found)} of {len(data.test)} images; the networks reach {accuracies}")
    file = Path(suspicion.__file__).with_name("hard_images.json")
    file.write_text(json.dumps({DATA: found.tolist()}) + "\n", encoding="utf-8")


def table(data: Dataset, only: str) -> Iterator[str]:
    sets = load_test_sets(DATA, SEED)
    names = "test", "hidden", "control", "changed", "training", "hard", "changed"
    yield f"{'':36}" + "".join(f"{name:>9}" for name in names)
    for kind, made in ({"honest": honest, "memory": memories}).items():
        for name, make in made(data).items():
            if only in name:
                found = sets.accuracies(make()(sets.images))
                shown = "".join(f"{value:9.3f}" for value in astuple(found))
                said = suspicion.suspicion(DATA, found) or "-"
                yield f"{kind}: {name}".ljust(44)[:44] + f"{shown}  {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["hard", "table"])
    parser.add_argument("--only", default="", help="models whose name holds this word")
    options = parser.parse_args()
    data = load_dataset(DATA)
    if options.command == "hard":
        hard(data)
    else:
        for line in table(data, options.only):
            print(line, flush=True)


if __name__ == "__main__":
    main()
