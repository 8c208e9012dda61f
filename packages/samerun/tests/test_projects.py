"""Projects of other people become traceable by three added lines, and their runs repeat.

Each project lies in projects/ as its owner has it; `# added` marks the lines that samerun needs.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import warm
from record_fixtures import git

PROJECTS = Path(__file__).parent / "projects"
KEPT_OUT = b"outputs/\nmlflow.db*\nmlartifacts/\n__pycache__/\n.ipynb_checkpoints/\n"
START = {
    "plain": ["python", "train.py", "--strength", "0.3", "--seed", "4"],
    "structured": ["python", "-m", "shapes", "--width", "3", "--epochs", "3"],
    "notebook": ["jupyter", "execute", "irises.ipynb"],
}


def run(words: Sequence[str], folder: Path, **variables: str) -> str:
    """Run a command of a project, with the packages of this environment in place of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SAMERUN_"))}
    clean |= {"PYTHONPATH": str(folder / "src"), **variables}
    if words[0] in ("samerun", "jupyter"):
        module = {"samerun": "samerun.cli", "jupyter": "jupyter"}[words[0]]
        words = ["-m", module, *words[1:]]
    elif words[0] == "python":
        words = words[1:]
    done = warm.run(words, cwd=folder, env=clean)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def results(folder: Path) -> tuple[object, dict[str, np.ndarray]]:
    """Return the scores and the weights that a project leaves in outputs/."""
    scores = json.loads((folder / "outputs" / "scores.json").read_text(encoding="utf-8"))
    if (folder / "outputs" / "weights.npz").exists():
        return scores, dict(np.load(folder / "outputs" / "weights.npz"))
    import torch

    weights = torch.load(folder / "outputs" / "weights.pt", weights_only=True)
    return scores, {name: tensor.numpy() for name, tensor in weights.items()}


@pytest.mark.parametrize("project", START)
def test_three_lines_are_enough(project: str) -> None:
    files = [path for path in (PROJECTS / project).rglob("*") if path.suffix in (".py", ".ipynb")]
    added = sum(path.read_text(encoding="utf-8").count("# added") for path in files)
    assert added == 3


@pytest.mark.slow
@pytest.mark.parametrize("project", START)
def test_a_run_repeats_in_a_second_clone_by_the_commands_of_its_trace(
    project: str, tmp_path: Path
) -> None:
    first = tmp_path / "mön première" / project
    shutil.copytree(PROJECTS / project, first, ignore=shutil.ignore_patterns("__pycache__"))
    (first / ".gitignore").write_bytes(KEPT_OUT)
    (first / "uv.lock").write_bytes(b"version = 1\n")
    git(first, "init", "-q", "-b", "main")
    git(first, "add", ".")
    git(first, "commit", "-q", "-m", "first")
    run(START[project], first)
    (trace,) = (first / "mlartifacts").rglob("trace.json")
    assert git(first, "status", "--porcelain") == ""
    recorded = json.loads(trace.read_text(encoding="utf-8"))
    assert recorded["code"]["dirty"] is False
    assert recorded["data"]["digest"]

    second = tmp_path / "elsewhere" / "clone"
    second.parent.mkdir()
    git(tmp_path, "clone", "-q", str(first), str(second))
    run_id = trace.parents[2].name
    store = f"sqlite:///{(first / 'mlflow.db').as_posix()}"
    said = run(["samerun", "trace", run_id], second, MLFLOW_TRACKING_URI=store, COLUMNS="500")
    by_hand, _, at_once = said.partition("To repeat it:")[2].partition("Or all of that")
    assert at_once.splitlines()[1:] == [f"  uv run samerun reproduce {run_id[:8]}"]
    commands = re.findall(r"^  (.*)$", by_hand, re.M)
    here = second
    for line in commands:
        words = shlex.split(line)
        if words[0] == "cd":
            here = (here / words[1]).resolve()
        elif words[0] == "git":
            git(here, *words[1:])
        elif words[:2] == ["uv", "run"]:
            run(words[2:], here)
    assert here != second

    scores, weights = results(first)
    scores_again, weights_again = results(here)
    assert scores_again == scores
    assert weights and weights.keys() == weights_again.keys()
    for name, values in weights.items():
        assert np.array_equal(values, weights_again[name]), name
    (again,) = (here / "mlartifacts").rglob("trace.json")
    repeated = json.loads(again.read_text(encoding="utf-8"))
    assert repeated["data"]["digest"] == recorded["data"]["digest"]
    assert repeated["code"]["commit"] == recorded["code"]["commit"]
    assert repeated["config"] == recorded["config"]
