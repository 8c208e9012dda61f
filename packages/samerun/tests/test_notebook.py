"""Which notebook runs, and whether its file repeats what was executed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from samerun.code import notebook

CELLS = ["a = 1", "", "b = a + 1\n", "start_run({})"]


def write(path: Path, cells: list[str]) -> Path:
    kinds = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    words = {"cell_type": "markdown", "source": ["a = 1"]}
    path.write_text(json.dumps({"cells": [words, *kinds]}), encoding="utf-8")
    return path


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel has executed, as IPython keeps it; a list to be filled."""
    cells = [""]
    shell = SimpleNamespace(user_ns={}, history_manager=SimpleNamespace(input_hist_raw=cells))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return cells


def test_the_notebook_is_the_one_that_holds_the_running_cell(
    tmp_path: Path, executed: list[str]
) -> None:
    path = write(tmp_path / "wänted.ipynb", CELLS)
    write(tmp_path / "other.ipynb", ["c = 3"])
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    executed += ["a = 1", "b = a + 1", "start_run({})"]
    assert notebook.file(tmp_path) == path.resolve()
    assert notebook.from_the_top(path)


def test_of_two_copies_nobody_knows_which_one_runs(tmp_path: Path, executed: list[str]) -> None:
    for name in ("one.ipynb", "two.ipynb"):
        write(tmp_path / name, CELLS)
    executed += ["a = 1"]
    assert notebook.file(tmp_path) is None


def test_jupyter_tells_which_notebook_it_is(
    tmp_path: Path, executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.ipynb", "two.ipynb"):
        write(tmp_path / name, CELLS)
    monkeypatch.setenv("JPY_SESSION_NAME", "folder/two.ipynb")
    assert notebook.file(tmp_path) == (tmp_path / "two.ipynb").resolve()


@pytest.mark.parametrize(
    "cells",
    [["b = a + 1"], ["b = a + 1", "a = 1"], ["a = 1", "a = 1"], ["a = 2"], []],
    ids=["not the first", "another order", "twice", "changed", "nothing"],
)
def test_cells_in_another_order_are_not_what_the_file_repeats(
    cells: list[str], tmp_path: Path, executed: list[str]
) -> None:
    executed += cells
    assert not notebook.from_the_top(write(tmp_path / "a.ipynb", CELLS))
