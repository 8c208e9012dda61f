"""Driving the project as a participant does: by its commands."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import warm
from scipy.stats import binomtest

from workshop import cli
from workshop.drive import Driver

ROOT = Path(__file__).resolve().parents[1]


def run(script: Path, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a script with these overrides, its output folder in `cwd`; return what it said.

    The run store is the one that the environment names (see the fixture `mlflow_store`). It is a
    process of its own, which need not wait for its imports; `run_from_cold` waits.
    """
    environment = os.environ | variables
    torch = "part1" not in script.parent.name
    return warm.run([script, *arguments], cwd=cwd, env=environment, torch=torch)


def run_from_cold(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Do the same as a person's first command does it: Python, and then the imports."""
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
    )


def call(script: Path, *arguments: str, cwd: Path) -> str:
    """Do the same in this process, which has imported everything; return what it printed.

    Raises `workshop.drive.Crash` with the message that the script ended with.
    """
    with contextlib.chdir(cwd):
        return Driver(script.parent).command(script.name, *arguments, own_store=False)


def check_pairs(first: str, second: str) -> None:
    """Check that `workshop diff` compares two evaluated runs by their answers, image by image."""
    kept = [
        mlflow.artifacts.load_text(f"runs:/{run_id}/predictions/test.csv").splitlines()
        for run_id in (first, second)
    ]
    assert kept[0][0] == kept[1][0] == "label,predicted"
    rows = [[line.split(",") for line in lines[1:]] for lines in kept]
    right = [[label == predicted for label, predicted in lines] for lines in rows]
    for run_id, of_run in zip((first, second), right, strict=True):
        accuracy = mlflow.get_run(run_id).data.metrics["test_accuracy"]
        assert sum(of_run) / len(of_run) == pytest.approx(accuracy, abs=1e-9)
    pairs = list(zip(*right, strict=True))
    alone = pairs.count((True, False)), pairs.count((False, True))
    assert sum(alone), "the two models answer alike: this test would prove nothing"
    p = binomtest(alone[0], sum(alone)).pvalue
    which = "larger than chance" if p < 0.05 else "no larger than chance"

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["diff", first, second]) == 1
    assert (
        f"{which} (paired, {len(pairs)} rows: {alone[0]} that A alone has right, {alone[1]} that B "
        f"alone has; McNemar's p = {p:.2g})"
    ) in " ".join(said.getvalue().split())


def documented(path: Path) -> list[list[str]]:
    """Return the commands in the code blocks of a Markdown file, each as its list of words."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
    lines = "".join(block for language, block in blocks if not language).splitlines()
    commands = (line.split("   ")[0] for line in lines)  # without the explanation beside it
    return [shlex.split(command) for command in commands if command.startswith("uv ")]


CONFIGS = {
    "train.py": "config",
    "evaluate.py": "evaluate",
    "tune.py": "tune",
    "submit.py": "submit",
}


def composed(command: str):
    """Compose the configuration of `uv run PART/SCRIPT OVERRIDES`; Crash if that cannot be."""
    script, *words = shlex.split(command.removeprefix("uv run "))
    part, name = script.split("/")[-2:]
    # Of a sweep the first value of each key; flags and Hydra's own keys are no configuration.
    overrides = [re.sub(r",.*", "", word) if "[" not in word else word for word in words]
    overrides = [word for word in overrides if "=" in word]
    assert (ROOT / script).is_file()
    return Driver(ROOT / "solutions" / part).compose(*overrides, config=CONFIGS[name])
