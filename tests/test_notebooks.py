"""The notebooks run from top to bottom, and are committed without outputs.

Without outputs by decision: figures differ by a byte from one machine to the next, and a diff of a
notebook should show what somebody wrote.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import call

from workshop import course
from workshop.data import DataError, fetch_fashion_mnist

SOLUTIONS = course.load().solutions
NOTEBOOKS = sorted(SOLUTIONS.glob("*/*.ipynb"))
LOADING = [path for path in NOTEBOOKS if "load_dataset" in path.read_text(encoding="utf-8")]


def id_of(path):
    return f"{path.parent.name}/{path.name}"


@pytest.fixture
def fashion_mnist(monkeypatch):
    """The folder of Fashion-MNIST; the test is skipped where there is none and no network."""
    try:
        monkeypatch.setenv("FASHION_MNIST_DIR", str(fetch_fashion_mnist()))
    except DataError as error:
        pytest.skip(f"no Fashion-MNIST: {error}")


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A store with an MLP and a CNN, trained on the digits, for the notebooks that look at runs."""
    folder = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        for model in ("mlp", "cnn"):
            script = SOLUTIONS / "part2_mlp_cnn" / "train.py"
            small = ["data=digits", f"model={model}", "training.epochs=2"]
            call(script, *small, cwd=folder)
        yield


def run(notebook: Path) -> subprocess.CompletedProcess:
    """Run a notebook under nbval, as the README of the part says."""
    command = [sys.executable, "-m", "pytest", "-p", "nbval", "--nbval-lax", "--nbval-current-env"]
    command += ["--nbval-cell-timeout=120", "-o", "addopts=", "-q", notebook.name]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=notebook.parent, env=environment, capture_output=True, encoding="utf-8"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=id_of)
def test_a_notebook_is_committed_without_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code), (
        f"clear them: uv run jupyter nbconvert --clear-output --inplace {path}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=id_of)
def test_a_notebook_runs_on_the_digits(path, tmp_path, record):
    """The same notebook with the other data set, which needs no files."""
    copy = tmp_path / path.parent.name
    shutil.copytree(path.parent, copy)
    notebook = copy / path.name
    text = notebook.read_text(encoding="utf-8")
    notebook.write_text(text.replace('\\"fashion_mnist\\"', '\\"digits\\"'), encoding="utf-8")
    done = run(notebook)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", LOADING, ids=id_of)
def test_a_notebook_that_loads_data_runs_on_the_real_one(path, fashion_mnist):
    done = run(path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_notebook_with_an_error_fails(tmp_path):
    """The other direction: nbval would notice."""
    document = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    document["cells"] = [cell for cell in document["cells"] if cell["cell_type"] == "code"][:1]
    document["cells"][0]["source"] = ["1 / 0"]
    notebook = tmp_path / "broken.ipynb"
    notebook.write_text(json.dumps(document), encoding="utf-8")
    assert run(notebook).returncode == 1
