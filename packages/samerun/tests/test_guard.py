"""What reaches the run store, whoever logs it and how."""

import json
import logging
import sqlite3
from pathlib import Path

import pytest
from fake_secrets import FAKE
from omegaconf import OmegaConf
from record_fixtures import FakeDataset

from samerun import flatten, start_run, to_yaml

SECRETS = {"password": "hunter2", "pin": {"api_key": "test"}}


@pytest.fixture(autouse=True)
def elsewhere(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs belong to a project in which nobody works on these tests."""
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))


@pytest.fixture
def cfg() -> object:
    return OmegaConf.create({"experiment": "e", "seed": 0, **SECRETS, "copied": "${password}"})


def everything(store: Path) -> bytes:
    """Return all bytes that the store and its artifacts hold."""
    with sqlite3.connect(store) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [path for path in store.parent.rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in files)


def artifact(run, name: str) -> str:
    import mlflow

    return mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{name}")


def tags(run) -> dict[str, str]:
    from mlflow import MlflowClient

    return MlflowClient().get_run(run.info.run_id).data.tags


def params(run) -> dict[str, str]:
    from mlflow import MlflowClient

    return MlflowClient().get_run(run.info.run_id).data.params


def test_what_the_library_masks_is_no_cause_for_a_remark(cfg, mlflow_store, caplog) -> None:
    import mlflow

    with caplog.at_level(logging.WARNING), start_run(cfg, FakeDataset()) as run:
        mlflow.log_params(flatten(cfg))
        mlflow.log_text(to_yaml(cfg), "config.yaml")
    assert params(run)["password"] == params(run)["copied"] == params(run)["pin.api_key"] == "***"
    assert b"hunter2" not in everything(mlflow_store)
    assert "trace.masked" not in tags(run) and "in clear" not in caplog.text


def test_parameters_logged_by_hand_hold_no_secret(cfg, mlflow_store, caplog) -> None:
    import mlflow

    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_params(OmegaConf.to_container(cfg, resolve=True))
        mlflow.log_param("whole", dict(cfg))
        mlflow.log_param("login", f"with {cfg.password}")
        mlflow.log_param("kept", (1, 2))
    assert b"hunter2" not in everything(mlflow_store)
    assert params(run)["pin"] == "{'api_key': '***'}" and params(run)["kept"] == "(1, 2)"
    assert "parameter password" in tags(run)["trace.masked"]
    assert "parameter login held a secret in clear" in caplog.text


@pytest.mark.parametrize("name", ["config.yaml", "config.json", "config.txt", "a/b.md"])
def test_a_file_logged_by_hand_holds_no_secret(cfg, mlflow_store, name: str) -> None:
    import mlflow

    text = OmegaConf.to_yaml(cfg, resolve=True)
    if name.endswith("json"):
        text = json.dumps(OmegaConf.to_container(cfg, resolve=True))
    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_text(text, name)
    assert b"hunter2" not in everything(mlflow_store)
    assert f"artifact {Path(name).name}" in tags(run)["trace.masked"]
    if name.startswith("config."):
        assert "seed" in artifact(run, name)


def test_a_yaml_file_logged_by_hand_is_still_yaml_and_lacks_weak_secrets_too(
    cfg, mlflow_store
) -> None:
    import mlflow

    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_text(OmegaConf.to_yaml(cfg, resolve=True), "config.yaml")
    found = OmegaConf.create(artifact(run, "config.yaml"))
    assert found.pin.api_key == found.password == "***" and found.seed == 0


def test_a_secret_over_several_lines_is_masked_in_yaml(mlflow_store) -> None:
    import mlflow

    cfg = OmegaConf.create({"experiment": "e", "private_key": "first\nhunter2\nlast"})
    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_text(OmegaConf.to_yaml(cfg), "config.yaml")
        mlflow.log_dict(OmegaConf.to_container(cfg), "config.json")
    assert b"hunter2" not in everything(mlflow_store)
    assert json.loads(artifact(run, "config.json"))["private_key"] == "***"


def test_a_folder_of_files_is_looked_through_and_stays_as_it_is_on_disk(
    cfg, mlflow_store, tmp_path
) -> None:
    import mlflow

    folder = tmp_path / "out put"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "login.json").write_text('{"user": "me", "with": "hunter2"}')
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_artifacts(str(folder), "kept")
        mlflow.log_artifact(str(folder / "deep"))
        mlflow.log_artifact(str(folder / "weights.bin"))
    assert json.loads(artifact(run, "kept/deep/login.json")) == {"user": "me", "with": "***"}
    assert json.loads(artifact(run, "deep/login.json")) == {"user": "me", "with": "***"}
    assert b"hunter2" not in everything(mlflow_store)
    assert "hunter2" in (folder / "deep" / "login.json").read_text()


def test_words_of_a_text_that_only_sound_like_secrets_are_recorded_as_they_are(
    cfg, mlflow_store
) -> None:
    import mlflow

    said = {"token": "the", "next_token": "cat", "auth": "noun"}
    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_dict(said, "tokens.json")
        mlflow.log_text("token: the\n", "tokens.yaml")
    assert json.loads(artifact(run, "tokens.json")) == said
    assert artifact(run, "tokens.yaml") == "token: the\n"


def test_names_tags_and_errors_hold_no_secret(cfg, mlflow_store) -> None:
    import mlflow

    with start_run(cfg, FakeDataset(), run_name="try with api_key=hunter2") as run:
        mlflow.set_tag("note", "the password is hunter2")
        mlflow.set_tags({"auth": "abc", "mlflow.note.content": f"see {FAKE['GitHub']}"})
        mlflow.set_experiment_tag("login", "me:hunter2")
        mlflow.set_tag("error", str(ValueError("no access: https://me:word@there.lab/x")))
    assert b"hunter2" not in everything(mlflow_store)
    seen = tags(run)
    assert seen["auth"] == "***" and seen["mlflow.note.content"] == "see ***"
    assert seen["error"] == "no access: https://***@there.lab/x"
    assert seen["mlflow.runName"] == "try with api_key=***"


def test_the_source_of_a_dataset_holds_no_password(cfg, mlflow_store) -> None:
    import mlflow
    import numpy as np

    with start_run(cfg, FakeDataset(source="https://me:hunter2@there.lab/x.npz")):
        mlflow.log_input(
            mlflow.data.from_numpy(np.zeros(2), source="https://me:hunter2@there.lab/x.npz")
        )
    assert b"hunter2" not in everything(mlflow_store)


def test_a_trace_that_cannot_be_recorded_does_not_tell_the_secret(
    cfg, mlflow_store, monkeypatch
) -> None:
    from samerun import run as run_module

    def fail(*_: object) -> None:
        raise OSError("refused: password=hunter2")

    monkeypatch.setattr(run_module, "record", fail)
    with start_run(cfg, FakeDataset()) as run:
        pass
    assert tags(run)["trace.problems"] == "not recorded: refused: password=***"


def test_metrics_pass_through_the_gate(cfg, mlflow_store) -> None:
    import mlflow
    from mlflow import MlflowClient

    with start_run(cfg, FakeDataset()) as run:
        mlflow.log_metrics({"token": 1.5}, step=3)
    [point] = MlflowClient().get_metric_history(run.info.run_id, "token")
    assert (point.value, point.step) == (1.5, 3)
