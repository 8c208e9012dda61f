"""The place for one's own data in a lifted project: what it takes, and what it refuses."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from samerun import RecordError
from samerun.trace import collect
from workshop import lift

TEMPLATES = lift.TEMPLATES


def load(path: Path, name: str, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(monkeypatch):
    return load(TEMPLATES / "common" / "data_source.py", "data_source", monkeypatch)


@pytest.fixture
def put(source):
    """Put examples in under a name: `put(values, labels, classes)` returns the data set."""

    def add(values, labels, classes=("a", "b"), name="mine"):
        source.READERS[name] = lambda: source.Examples(values, labels, classes, "made up")
        source.load_dataset.cache_clear()
        return source.load_dataset(name)

    return add


def images(side=6, n=40, width=None):
    return np.random.default_rng(0).integers(0, 256, (n, side, width or side)).astype(np.uint8)


LABELS = np.arange(40) % 2


def test_the_stand_in_is_split_with_its_share_of_each_class(source):
    data = source.load_dataset("digits")
    assert [len(split) for split in (data.train, data.val, data.test)] == [1078, 359, 360]
    assert data.shape == (8, 8) and len(data.classes) == 10
    for split in (data.train, data.val, data.test):
        shares = np.bincount(split.labels) / len(split)
        assert np.ptp(shares - np.bincount(data.train.labels) / len(data.train)) < 0.01
    assert not data.train.images.flags.writeable


def test_a_run_records_how_many_rows_each_open_split_has(source, tmp_path):
    seen = collect({}, source.load_dataset("digits"), tmp_path)
    assert seen.data.rows == {"train": 1078, "val": 359, "test": 360}
    sealed = collect({}, source.load_training_data("digits"), tmp_path)
    assert sealed.data.rows == {"train": 1078, "val": 359} and "data" not in sealed.problems


def test_no_example_is_in_two_splits(put):
    values = np.arange(40 * 4, dtype=float).reshape(40, 2, 2)
    data = put(values, LABELS)
    firsts = [set(split.images[:, 0, 0]) for split in (data.train, data.val, data.test)]
    assert sum(map(len, firsts)) == len(set().union(*firsts)) == 40


@pytest.mark.parametrize("change", ["value", "label", "class"])
def test_the_digest_changes_with_anything_in_the_data(put, change):
    values, labels, classes = images(), LABELS.copy(), ["a", "b"]
    before = put(values, labels, classes).digest
    assert put(values.copy(), labels.copy(), list(classes)).digest == before
    if change == "value":
        values[3, 2, 1] ^= 1
    elif change == "label":
        labels[3] ^= 1
    else:
        classes[1] = "c"
    assert put(values, labels, classes).digest != before


def test_a_table_is_normalised_by_column_and_images_as_a_whole(put):
    table = put(np.random.default_rng(0).normal([5, 500], [1, 100], (40, 2)), LABELS)
    assert table.shape == (1, 2) and table.mean.shape == (1, 2)
    normalised = (table.train.images - table.mean) / table.std
    assert np.allclose(normalised.mean(axis=0), 0) and np.allclose(normalised.std(axis=0), 1)
    assert put(images(), LABELS).mean.shape == ()


def test_a_column_that_never_changes_divides_nothing_by_zero(put):
    data = put(np.column_stack([np.arange(40), np.ones(40)]), LABELS)
    assert np.isfinite((data.test.images - data.mean) / data.std).all()


GOOD = images()
NAN = GOOD.astype(float)
NAN[0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("values", "labels", "classes", "message"),
    [
        (NAN, LABELS, ("a", "b"), "NaN or infinite"),
        (GOOD[..., None], LABELS, ("a", "b"), r"shape \(40, 6, 6, 1\)\. Expected numbers of shape"),
        (GOOD.astype(str), LABELS, ("a", "b"), "Expected numbers"),
        (GOOD, LABELS[1:], ("a", "b"), r"labels of shape \(39,\), expected \(40,\)"),
        (GOOD, LABELS + 1, ("a", "b"), "from 0 to 1"),
        (GOOD, np.array(["a", "b"] * 20), ("a", "b"), "return_inverse=True"),
        (GOOD, LABELS, ("a", "b", "c"), r"too few examples \(c: 0\)"),
        (GOOD, LABELS * 0, ("a",), "two classes or more"),
        (GOOD, LABELS, ("a", "a"), "names of its classes"),
        (GOOD, LABELS, ("a", "b?"), "names of its classes"),
    ],
)
def test_data_that_cannot_be_learned_from_is_one_message(put, values, labels, classes, message):
    with pytest.raises(RecordError, match=rf"data set 'mine' \(data_source\.py\).*{message}"):
        put(values, labels, classes)


def test_a_name_that_has_no_reader_says_where_to_write_one(source):
    with pytest.raises(RecordError, match=r"no data set 'mine'\. There are: digits"):
        source.load_dataset("mine")


def test_the_test_set_is_sealed_where_models_are_compared(source):
    with pytest.raises(RecordError, match="The test set is sealed"):
        len(source.load_training_data("digits").test.images)


@pytest.mark.parametrize("part", ["part2", "part3"])
def test_a_model_takes_sizes_and_classes_from_the_data(source, put, part, monkeypatch):
    load(TEMPLATES / part / "data.py", "data", monkeypatch)
    put(images(side=6), np.arange(40) % 3, ("a", "b", "c"))
    asked = {what: f"${{of_data:{what},${{name}}}}" for what in ("pixels", "side", "classes")}
    found = OmegaConf.create({"name": "mine", **asked})
    assert (found.pixels, found.side, found.classes) == (36, 6, 3)


@pytest.mark.parametrize("part", ["part2", "part3"])
def test_what_is_not_square_has_no_side(source, put, part, monkeypatch):
    data = load(TEMPLATES / part / "data.py", "data", monkeypatch)
    put(images(side=6, width=8), LABELS)
    assert data.fact("pixels", "mine") == 48
    with pytest.raises(RecordError, match=r"square images.*6 x 8"):
        data.fact("side", "mine")


def test_tensors_are_what_was_read_but_normalised(source, put, monkeypatch):
    made = put(images(), LABELS)
    expected = (made.val.images - made.mean) / made.std
    cpu = torch.device("cpu")
    part2 = load(TEMPLATES / "part2/data.py", "data", monkeypatch)
    tensor, _ = part2.to_tensors(made, made.val, cpu)
    assert tensor.shape == (8, 1, 6, 6) and np.allclose(tensor[:, 0], expected, atol=1e-6)
    part3 = load(TEMPLATES / "part3/data.py", "data", monkeypatch)
    assert torch.equal(part3.to_tensors(made, made.val, cpu, True)[0], tensor)
    raw, _ = part3.to_tensors(made, made.val, cpu, False)
    assert np.array_equal(raw[:, 0].numpy(), made.val.images)
