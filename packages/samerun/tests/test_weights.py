"""Digests of weights: equal for equal weights, and only for them."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from samerun.compare.weights import is_weights, weights_digest

skops = pytest.importorskip("skops.io")


def saved(folder: Path, name: str, **settings: object) -> Path:
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).random((40, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration is few
        model = LogisticRegression(**settings).fit(x, np.arange(40) % 2)
    path = folder / f"{name}.skops"
    skops.dump(model, path)
    return path


def test_a_model_of_skops_that_was_saved_twice_has_one_digest(tmp_path: Path) -> None:
    first = saved(tmp_path, "first")
    keep_memory_busy = [object() for _ in range(1000)]
    second = saved(tmp_path, "second")
    assert keep_memory_busy and first.read_bytes() != second.read_bytes()
    assert weights_digest(first) == weights_digest(second)


@pytest.mark.parametrize(
    "settings",
    [{"C": 0.5}, {"random_state": 123456789}, {"random_state": 123456788}, {"max_iter": 1}],
)
def test_another_model_has_another_digest(tmp_path: Path, settings: dict[str, float]) -> None:
    plain = weights_digest(saved(tmp_path, "plain", random_state=1234567))
    assert weights_digest(saved(tmp_path, "other", **settings)) != plain


def test_long_settings_are_told_apart(tmp_path: Path) -> None:
    one, other = (
        weights_digest(saved(tmp_path, str(seed), random_state=seed))
        for seed in (123456788, 123456789)
    )
    assert one != other


def test_weights_are_known_by_the_end_of_their_name(tmp_path: Path) -> None:
    for name in ("best.pt", "model.skops", "table.csv", "Weights.NPZ"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "folder.pt").mkdir()
    found = {path.name for path in tmp_path.iterdir() if is_weights(path)}
    assert found == {"best.pt", "model.skops", "Weights.NPZ"}
