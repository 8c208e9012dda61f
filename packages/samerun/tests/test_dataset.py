"""Naming the data of a run in one line: `samerun.dataset`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from samerun import RecordError, dataset


@pytest.fixture(autouse=True)
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMERUN_ROOT", str(tmp_path))


X = np.arange(12.0).reshape(3, 4)
Y = np.array([0, 1, 1])


def digest(*parts: object) -> str:
    return dataset("d", *parts).digest


def test_arrays_get_a_name_a_digest_and_a_source() -> None:
    data = dataset("wine", X, Y)
    assert (data.name, data.source) == ("wine", "memory")
    assert len(data.digest) == 32 and set(data.digest) <= set("0123456789abcdef")


def test_the_digest_is_the_same_in_every_process_and_on_every_machine() -> None:
    assert digest(X, Y.astype("<i8")) == "6e7680d66ae5f0913513fe107c16b5e1"


@pytest.mark.parametrize(
    "others",
    [
        (X + np.eye(3, 4) * 1e-12, Y),
        (X.reshape(4, 3), Y),
        (X.astype("float32"), Y),
        (Y, X),
        (X,),
        (X, Y, Y),
        (X[:2], Y),
        (np.arange(12).reshape(3, 4), Y),
    ],
    ids=["value", "shape", "type", "order", "fewer", "more", "rows", "whole"],
)
def test_another_digest_for_any_change(others: tuple) -> None:
    assert digest(*others) != digest(X, Y)


@pytest.mark.parametrize(
    "same",
    [np.asfortranarray(X), X.astype(">f8"), np.pad(X, 1)[1:-1, 1:-1], X.tolist()],
    ids=["columns first", "bytes swapped", "a window", "a list"],
)
def test_how_an_array_lies_in_memory_changes_nothing(same: object) -> None:
    assert digest(same) == digest(X)


def test_a_tensor_is_the_array_it_holds() -> None:
    torch = pytest.importorskip("torch")
    assert digest(torch.tensor(X, requires_grad=True)) == digest(X)


def test_texts_and_gaps_are_told_apart() -> None:
    kinds = [["a", None], ["a", "None"], ["aNone", ""], ["", "aNone"], ["a", float("nan")]]
    assert len({digest(np.array(kind, dtype=object)) for kind in kinds}) == len(kinds)


def test_a_table_counts_with_its_column_names() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(["2026-01-01"] * 2)})
    assert digest(table) == digest(table.copy())
    assert digest(table) != digest(table.rename(columns={"a": "A"}))
    assert digest(table) != digest(table[["b", "a", "c"]])
    gaps = pd.DataFrame({"s": pd.array(["x", pd.NA], dtype="string")})
    assert digest(gaps) != digest(gaps.fillna("y"))


def test_a_file_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.csv").write_bytes(b"1,2\n")
    assert digest(tmp_path / "a.csv") == digest(str(tmp_path / "folder" / "b.csv"))
    (tmp_path / "a.csv").write_bytes(b"1,3\n")
    assert digest(tmp_path / "a.csv") != digest(tmp_path / "folder" / "b.csv")


def test_a_folder_counts_with_the_names_of_its_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a.txt").write_bytes(b"a")
        (tmp_path / name / "b.txt").write_bytes(b"b")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    (tmp_path / "two" / "b.txt").rename(tmp_path / "two" / "c.txt")
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_the_source_of_files_is_their_path_from_the_root_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "däta").mkdir()
    (tmp_path / "däta" / "a.csv").write_bytes(b"1")
    assert dataset("d", tmp_path / "däta" / "a.csv").source == "däta/a.csv"
    assert dataset("d", X, source="doi:10.1000/1").source == "doi:10.1000/1"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "nothing to compute a digest from"),
        (("no/such.csv",), "does not exist.*counts from"),
        ((np.array([object()]),), "a value of type object"),
        (([[1], [1, 2]],), "cannot be made into an array"),
    ],
    ids=["nothing", "no file", "objects", "ragged"],
)
def test_what_has_no_digest_is_one_message(parts: tuple, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        dataset("d", *parts)


def test_an_empty_folder_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no files"):
        dataset("d", tmp_path)
