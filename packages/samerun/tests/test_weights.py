"""Digests of weights: equal for equal weights, and only for them."""

import hashlib
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from samerun.compare import weights
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


def plain(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def archive_of(path: Path, **members: int) -> Path:
    """Make an archive of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, size in members.items():
            archive.writestr(name.replace("_", "."), bytes(size))
    return path


def test_an_archive_that_is_damaged_is_taken_as_its_bytes_are(tmp_path: Path) -> None:
    whole = saved(tmp_path, "whole")
    assert weights_digest(whole) != plain(whole)
    content, start = bytearray(whole.read_bytes()), 60
    content[start : start + 20] = bytes(20)
    broken = {"cut": bytes(content[:-60]), "changed": bytes(content), "none": b"", "text": b"x"}
    for name, data in broken.items():
        path = tmp_path / f"{name}.skops"
        path.write_bytes(data)
        assert weights_digest(path) == plain(path), name


def test_an_archive_that_unpacks_to_far_more_than_it_weighs_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SMALL", 2**20)
    monkeypatch.setattr(weights, "LARGEST_SCHEMA", 1000)
    bomb = archive_of(tmp_path / "bomb.skops", a_npy=2**20 + 1)
    assert weights_digest(bomb) == plain(bomb)
    assert plain(fine := archive_of(tmp_path / "fine.skops", a_npy=2**20)) != weights_digest(fine)
    schema = archive_of(tmp_path / "schema.skops", schema_json=1001)
    assert weights_digest(schema) == plain(schema)
    least = archive_of(tmp_path / "least.skops", schema_json=1000)
    assert weights_digest(least) != plain(least)


def test_an_archive_is_read_a_block_at_a_time(tmp_path: Path) -> None:
    large = archive_of(tmp_path / "large.skops", a_npy=9 * 2**20)
    tracemalloc.start()
    try:
        weights_digest(large)
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_archive_of_another_compression_is_taken_as_its_bytes_are(
    method: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("schema.json", b"{}")
        archive.writestr("1.npy", bytes(range(256)) * 400)
    content = bytearray(path.read_bytes())
    begin = content.index(b"1.npy") + len(b"1.npy")
    content[begin + 12 : begin + 40] = b"\xff" * 28
    path.write_bytes(content)
    assert weights_digest(path) == hashlib.sha256(content).hexdigest()
