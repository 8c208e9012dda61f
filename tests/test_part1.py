"""Part 1, run by its commands: the stub and the solution, good input and bad."""

import mlflow
import pytest
from commands import ROOT, call, run

from samerun.store.tracking import use_store
from workshop.data import DataError, fetch_fashion_mnist
from workshop.drive import Crash, Driver

FOLDER = "part1_logistic_regression"
STUB = ROOT / FOLDER / "train.py"
SOLVED = ROOT / "solutions" / FOLDER / "train.py"


def runs():
    use_store()  # the one that the environment names
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


@pytest.mark.slow
def test_the_stub_runs_from_the_first_minute(mlflow_store, tmp_path):
    done = run(STUB, "data=digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test  accuracy 0.9" in done.stdout
    (recorded,) = runs()
    assert recorded.info.status == "FINISHED"
    assert recorded.data.tags["trace.dataset"] == "digits"


@pytest.mark.slow
def test_the_solution_records_everything_the_part_is_about(mlflow_store, tmp_path):
    call(SOLVED, "data=digits", "seed=3", cwd=tmp_path)
    (recorded,) = runs()
    assert recorded.data.params == {
        "experiment": "part1-logistic-regression",
        "seed": "3",
        "portable": "False",
        "threads": "1",
        "data.name": "digits",
        "model._target_": "sklearn.linear_model.LogisticRegression",
        "model.C": "0.01",
        "model.max_iter": "100",
        "model.random_state": "3",
    }
    assert set(recorded.data.metrics) == {
        f"{split}_{score}"
        for split in ("train", "val", "test")
        for score in ("accuracy", "f1_macro")
    }
    assert recorded.data.tags["converged"] == "True"
    files = {file.path for file in mlflow.artifacts.list_artifacts(run_id=recorded.info.run_id)}
    assert files >= {"config.yaml", "confusion_matrix.png", "weight_templates.png", "trace"}
    model = mlflow.models.get_model_info(f"runs:/{recorded.info.run_id}/model")
    assert model.signature.inputs.inputs[0].shape == (-1, 784)
    (data,) = recorded.inputs.dataset_inputs
    assert data.dataset.digest == recorded.data.tags["trace.dataset_digest"]


def test_a_solver_that_does_not_converge_is_reported_as_such(caplog):
    recorded = Driver(SOLVED.parent).run("train.py", "data=digits", "model.max_iter=5").run
    assert recorded.data.tags["converged"] == "False"
    assert "The solver stopped at max_iter, before it converged." in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.C=-1",
            "error: The 'C' parameter of LogisticRegression must be a float in the range",
        ),
        ("model.C=much", "error: The 'C' parameter of LogisticRegression must be a float"),
        ("model.gamma=1", "Could not override 'model.gamma'"),
        ("+model.gamma=1", "got an unexpected keyword argument 'gamma'"),
        ("modle=ridge", "Could not override 'modle'"),
        ("model=rigde", "Could not find 'model/rigde'"),
        ("model.C=???", "Missing mandatory value"),
    ],
)
def test_bad_configuration_ends_in_one_message_before_any_data_is_loaded(
    override, message, monkeypatch
):
    # With this folder, loading the data would end in another message.
    monkeypatch.setenv("FASHION_MNIST_DIR", "nowhere")
    with pytest.raises(Crash) as ended:
        Driver(SOLVED.parent).command("train.py", override)
    assert message in str(ended.value)
    assert "Traceback" not in str(ended.value)


@pytest.mark.slow
def test_without_data_the_message_offers_the_digits(mlflow_store, tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(Crash, match="data=digits") as ended:
        call(SOLVED, cwd=tmp_path)
    assert "Traceback" not in str(ended.value)


@pytest.mark.slow
def test_a_sweep_makes_one_run_for_each_value(mlflow_store, tmp_path):
    call(SOLVED, "-m", "data=digits", "+sweep=regularisation", cwd=tmp_path)
    values = {recorded.data.params["model.C"] for recorded in runs()}
    assert values == {"0.0001", "0.001", "0.01", "0.1", "1"}


def test_the_same_run_twice_gives_the_same_scores():
    first, second = (Driver(SOLVED.parent).run("train.py", "data=digits").run for _ in range(2))
    assert first.info.run_id != second.info.run_id
    assert first.data.metrics == second.data.metrics


@pytest.mark.slow
def test_fashion_mnist_reaches_its_accuracy(mlflow_store, tmp_path):
    try:
        folder = fetch_fashion_mnist()
    except DataError as error:
        pytest.skip(f"no Fashion-MNIST: {error}")
    done = run(SOLVED, cwd=tmp_path, FASHION_MNIST_DIR=str(folder))
    assert done.returncode == 0, done.stderr
    (recorded,) = runs()
    assert recorded.data.metrics["test_accuracy"] >= 0.843
    assert recorded.data.tags["converged"] == "True"


@pytest.mark.slow
def test_a_key_on_the_command_line_is_nowhere_in_the_record(mlflow_store, tmp_path):
    call(
        SOLVED,
        "data=digits",
        "+api_key=made-up-key-9",
        "+db={user: me, password: q1w2-e3}",
        cwd=tmp_path,
    )
    (recorded,) = runs()
    assert recorded.data.params["api_key"] == "***"
    assert recorded.data.params["db.password"] == "***"
    assert "trace.masked" not in recorded.data.tags
    for path in mlflow_store.parent.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert b"made-up-key-9" not in held and b"q1w2-e3" not in held, path
