"""Fixtures that several test files share."""

import gc
import os
import shutil
from pathlib import Path

import pytest
from cores import pytest_xdist_auto_num_workers  # noqa: F401
from record_fixtures import checkout, mlflow_store, store_template  # noqa: F401

# Several processes share the cores here: a thread of PyTorch that has nothing to do must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# A tenth of what a test process computes were searches for garbage, one for every 700 new objects.
gc.set_threshold(50_000)


@pytest.fixture
def toy_course(tmp_path: Path):
    """A course of one small part, its stub tree freshly derived, in a checkout of its own."""
    from workshop import course

    root = tmp_path / "checkout"
    shutil.copytree(Path(__file__).parent / "toy_course", root)
    read = course.load(root, root / "exercises")
    for part in read.parts:
        course.write(read, part, tmp_path / "kept")
    return read


@pytest.fixture
def solve():
    """Fill in one hole of the participant's tree of a course: `solve(course, "9.1", body)`."""
    from workshop import regions

    def fill(read, id: str, body: str) -> None:
        hole = read.holes[id]
        path = read.root / hole.part / hole.file
        text = path.read_text(encoding="utf-8")
        notebook = path.suffix == ".ipynb"
        path.write_text(regions.fill(text, {id: body}, notebook), encoding="utf-8")

    return fill
