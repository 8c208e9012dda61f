"""MLflow's commands in a message work where the message is read, and leave nothing behind."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from record_fixtures import FakeDataset

from samerun.command.of_mlflow import mlflow_command, see_all
from samerun.errors import RecordError
from samerun.find import find_run
from samerun.run import start_run
from samerun.store import tracking

VARIABLE = "MLFLOW_TRACKING_URI"


@pytest.fixture
def project(
    checkout: Path, store_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project with a store of its own, no other named, in a process that is like a new one."""
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(tracking, "_named", [])
    (checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    (checkout / "part").mkdir()
    shutil.copy(store_template, checkout / "mlflow.db")
    return checkout


def deleted_run() -> str:
    with start_run({"experiment": "wine", "seed": 0}, FakeDataset()) as active:
        pass
    mlflow.delete_run(active.info.run_id)
    run_id: str = active.info.run_id
    return run_id


def advice(run_id: str) -> str:
    with pytest.raises(RecordError, match="To bring it back: ") as caught:
        find_run(run_id)
    return str(caught.value).partition("To bring it back: ")[2]


def obey(command: str, here: Path, **shell: str) -> subprocess.CompletedProcess[str]:
    """Run a command as uv would in a folder, with the variables of the shell alone."""
    words = shlex.split(command)
    assert words[:2] == ["uv", "run"]
    words = words[2:]
    project = None
    while words[0] in ("--project", "--directory"):
        if words[0] == "--project":
            project = Path(words[1])
        else:
            here = Path(words[1])
        words = words[2:]
    around = [project or here, *(project or here).parents]
    assert any((folder / "pyproject.toml").exists() for folder in around), "uv finds no project"
    environment = {k: v for k, v in os.environ.items() if k != VARIABLE} | shell
    start = [sys.executable] if words[0] == "python" else [sys.executable, "-m", words[0]]
    return subprocess.run(
        [*start, *words[1:]], cwd=here, env=environment, capture_output=True, text=True
    )


def is_back(run_id: str) -> bool:
    return MlflowClient().get_run(run_id).info.lifecycle_stage == "active"


@pytest.mark.parametrize("folder", [".", "part"])
def test_in_the_project_the_command_goes_to_the_folder_of_its_store(
    project: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / folder)
    where = "" if folder == "." else f"--directory {shlex.quote(str(project))} "
    assert mlflow_command("doctor").replace('"', "'") == f"uv run {where}mlflow doctor"


@pytest.mark.slow
def test_a_deleted_run_comes_back_by_what_is_printed_in_the_folder_of_a_part(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = deleted_run()
    monkeypatch.chdir(project / "part")
    done = obey(advice(run_id), Path.cwd())
    assert is_back(run_id), done.stderr
    assert list((project / "part").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow.db", "l'autre.db"])
def test_a_deleted_run_of_a_named_store_comes_back(
    project: Path, name: str, store_template: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    shutil.copy(store_template, elsewhere / name)
    monkeypatch.chdir(project)
    monkeypatch.setenv(VARIABLE, "to be restored after the test")
    tracking.name_store(str(elsewhere / name))
    run_id = deleted_run()
    before = {path.name for path in project.iterdir()}
    done = obey(advice(run_id), project)
    assert is_back(run_id), done.stderr
    assert {path.name for path in project.iterdir()} == before


@pytest.mark.parametrize("uri", ["sqlite:////disk/mlflow.db", "https://mlflow.example.org"])
def test_a_store_that_the_shell_names_is_found_by_mlflow_itself(
    project: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, uri)
    assert mlflow_command("doctor") == "uv run mlflow doctor"


def test_beside_the_store_all_runs_are_shown_by_the_command_that_the_readme_has(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    monkeypatch.chdir(project)
    assert see_all() == "uv run mlflow ui --port 5050"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:///other.db")
    assert shlex.split(see_all())[-1] == tracking.own_uri()


def test_the_command_that_shows_all_runs_names_their_store(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "part")
    words = shlex.split(see_all())
    assert words[-2:] == ["--backend-store-uri", tracking.own_uri()]
    assert (project / "mlflow.db").as_posix() in tracking.own_uri()
