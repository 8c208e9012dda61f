"""The library by itself: what it needs, what it loads, and where its runs land."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from record_fixtures import git

LIBRARY = Path(__file__).resolve().parents[1]
COURSE = r"workshop|participant|\bTODO|leaderboard|=digits|load_digits|\bpart ?\d|exercise|fashion"


def test_importing_it_loads_nothing_that_takes_time() -> None:
    heavy = ("mlflow", "numpy", "pandas", "sklearn", "torch", "hydra", "omegaconf", "sqlalchemy")
    code = "import samerun, sys; print([name for name in sys.argv[1:] if name in sys.modules])"
    command = [sys.executable, "-c", code, *heavy, "rich", "yaml", "threadpoolctl", "filelock"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "[]"


def test_it_knows_nothing_of_any_course() -> None:
    for path in (LIBRARY / "src").rglob("*.py"):
        found = re.search(COURSE, path.read_text(encoding="utf-8"), re.I)
        assert not found, f"{path.name}: {found[0]}"


def test_every_public_name_says_what_it_does() -> None:
    import samerun

    assert len(samerun.__all__) <= 12
    for name in samerun.__all__:
        assert getattr(samerun, name).__doc__, name


SCRIPT = """\
import argparse, json, sys
import samerun

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.1)
options = parser.parse_args()
with samerun.start_run(vars(options), samerun.dataset("numbers", [1, 2]), experiment="mine") as run:
    loaded = [n for n in ("hydra", "omegaconf", "torch", "sklearn") if sys.modules.get(n)]
    print(json.dumps({"run": run.info.run_id, "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the library, what it needs, and nothing else; its Python."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run(["uv", "venv", "-q", "-p", sys.executable, folder], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = ["uv", "pip", "install", "-q", "-p", python, LIBRARY]
    subprocess.run(command, check=True)
    # MLflow brings scikit-learn and works without it.
    command = ["uv", "pip", "uninstall", "-q", "-p", python, "scikit-learn", "skops"]
    subprocess.run(command, check=True)
    return python


@pytest.mark.slow
def test_a_plain_script_is_recorded_without_hydra_pytorch_and_scikit_learn(
    environment: Path, tmp_path: Path
) -> None:
    project, elsewhere = tmp_path / "pröject one", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (project / "scripts").mkdir(parents=True)
    (project / "scripts" / "train.py").write_text(SCRIPT, encoding="utf-8")
    (project / ".gitignore").write_bytes(b"mlflow.db*\nmlartifacts/\n")
    git(project, "init", "-q", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SAMERUN_"))}

    script = project / "scripts" / "train.py"
    command = [environment, script, "--rate", "0.5"]
    done = subprocess.run(command, cwd=elsewhere, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["loaded"] == []
    assert "could not be recorded" not in done.stderr

    assert (project / "mlflow.db").is_file()
    assert not list(environment.parents[1].rglob("mlflow.db")) and not list(elsewhere.iterdir())
    traces = list((project / "mlartifacts").rglob("trace.json"))
    trace = json.loads(traces[0].read_text(encoding="utf-8"))
    assert trace["code"]["commit"] == git(project, "rev-parse", "HEAD").strip()
    assert trace["code"]["dirty"] is False
    assert trace["script"] == "scripts/train.py"
    assert trace["config"] == {"rate": 0.5}
    assert trace["data"]["name"] == "numbers"
    assert trace["problems"] == {}
