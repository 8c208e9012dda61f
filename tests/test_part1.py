"""Part 1, run by its commands: the stub and the solution, good input and bad."""

import mlflow
import pytest
from commands import ROOT, call, check_pairs, run, run_from_cold

from samerun.run import start_run
from samerun.store.tracking import use_store
from workshop.data import DataError, fetch_fashion_mnist, load_training_data
from workshop.drive import Crash, Driver

FOLDER = "part1_logistic_regression"
STUB = ROOT / FOLDER / "train.py"
SOLVED = ROOT / "solutions" / FOLDER / "train.py"


def runs():
    use_store()  # the one that the environment names
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


@pytest.mark.slow
def test_the_stub_runs_from_the_first_minute(mlflow_store, tmp_path):
    done = run_from_cold(STUB, "data=digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "val   accuracy 0.9" in done.stdout
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
        "preprocessing.name": "whitened",
        "preprocessing.steps.roots._target_": "sklearn.preprocessing.FunctionTransformer",
        "preprocessing.steps.roots._convert_": "all",
        "preprocessing.steps.roots.func._target_": "hydra.utils.get_method",
        "preprocessing.steps.roots.func.path": "numpy.sqrt",
        "preprocessing.steps.roots.kw_args.dtype": "float32",
        "preprocessing.steps.components._target_": "sklearn.decomposition.PCA",
        "preprocessing.steps.components.n_components": "0.95",
        "preprocessing.steps.components.whiten": "True",
        "model._target_": "sklearn.linear_model.LogisticRegression",
        "model.C": "0.01",
        "model.max_iter": "100",
        "model.random_state": "3",
    }
    assert set(recorded.data.metrics) == {
        f"{split}_{score}" for split in ("train", "val") for score in ("accuracy", "f1_macro")
    }
    assert recorded.data.tags["converged"] == "True"
    files = {file.path for file in mlflow.artifacts.list_artifacts(run_id=recorded.info.run_id)}
    assert files >= {"config.yaml", "confusion_matrix.png", "weight_templates.png", "trace"}
    model = mlflow.models.get_model_info(f"runs:/{recorded.info.run_id}/model")
    assert model.signature.inputs.inputs[0].shape == (-1, 28, 28)
    (data,) = recorded.inputs.dataset_inputs
    assert data.dataset.digest == recorded.data.tags["trace.dataset_digest"]


def test_a_solver_that_does_not_converge_is_reported_as_such(caplog):
    recorded = Driver(SOLVED.parent).run("train.py", "data=digits", "model.max_iter=5").run
    assert recorded.data.tags["converged"] == "False"
    assert "The solver stopped at max_iter, before it converged." in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.C=-1", "error: model.C=-1: it should be greater than 0."),
        ("model.C=much", "error: model.C=much: it should be a valid number."),
        ("model.max_iter=0", "error: model.max_iter=0: it should be greater than 0."),
        ("seed=abc", "error: seed=abc: it should be a valid integer."),
        ("threads=0", "error: threads=0: it should be greater than 0."),
        (
            "+model.tol=-1",
            "error: The 'tol' parameter of LogisticRegression must be a float in the range",
        ),
        ("data.name=[1,2]", "error: There is no data set [1, 2]. Expected one of: digits"),
        ("model.gamma=1", "Could not override 'model.gamma'"),
        ("+model.gamma=1", "got an unexpected keyword argument 'gamma'"),
        ("modle=ridge", "Could not override 'modle'"),
        ("model=rigde", "Could not find 'model/rigde'"),
        ("model.C=???", "Missing mandatory value"),
        ("preprocessing=whitend", "Could not find 'preprocessing/whitend'"),
        ("preprocessing.steps.components.n_components=900", "error: n_components=900 must be"),
        ("preprocessing.steps.roots.kw_args.dtype=flaot", "error: data type 'flaot' not"),
        (
            "preprocessing.steps.roots.func.path=numpy.sqr",
            "error: Error in call to target 'hydra.utils.get_method'",
        ),
        (
            "preprocessing.steps.components.n_components=1.5",
            "error: The 'n_components' parameter of PCA must be",
        ),
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


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The runs of a sweep over every preprocessing, one of them evaluated; and what that said."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        every = "preprocessing=pixels,standardised,whitened"
        call(SOLVED, "-m", "data=digits", every, cwd=folder)
        swept = runs()
        evaluate = SOLVED.with_name("evaluate.py")
        said = call(evaluate, "run_id=best", cwd=folder)
        again = call(evaluate, "run_id=best", cwd=folder)
        second = call(evaluate, "run_id=latest", cwd=folder)
        yield swept, runs(), (said, again, second)


@pytest.mark.slow
def test_a_sweep_makes_one_run_for_each_choice(sweep):
    swept, _, _ = sweep
    names = {recorded.data.params["preprocessing.name"] for recorded in swept}
    assert names == {"pixels", "standardised", "whitened"}
    assert len({recorded.data.metrics["val_accuracy"] for recorded in swept}) == 3


@pytest.mark.slow
def test_no_run_of_a_sweep_holds_a_score_of_the_test_set(sweep):
    swept, _, _ = sweep
    assert not [name for recorded in swept for name in recorded.data.metrics if "test" in name]


@pytest.mark.slow
def test_the_test_set_is_opened_for_the_best_run_by_validation_and_counted(sweep):
    swept, after, (said, again, second) = sweep
    best = max(swept, key=lambda recorded: recorded.data.metrics["val_accuracy"]).info.run_id
    latest = max(swept, key=lambda recorded: recorded.info.start_time).info.run_id
    assert best != latest
    metrics = {recorded.info.run_id: recorded.data.metrics for recorded in after}
    assert {run_id for run_id, names in metrics.items() if "test_accuracy" in names} == {
        best,
        latest,
    }
    found = metrics[best]
    assert found["test_accuracy_low"] < found["test_accuracy"] < found["test_accuracy_high"]
    assert f"test accuracy {found['test_accuracy']:.4f}" in said
    assert "have seen the test set" not in said + again
    assert "2 models of this experiment have seen the test set" in second
    assert len(mlflow.MlflowClient().get_metric_history(best, "test_accuracy")) == 1


@pytest.mark.slow
def test_two_evaluated_runs_are_compared_image_by_image(sweep):
    evaluated = [run.info.run_id for run in sweep[1] if "test_accuracy" in run.data.metrics]
    check_pairs(*evaluated)


def test_a_run_without_a_model_is_one_message(mlflow_store):
    """As one of the unsolved part."""
    driver = Driver(SOLVED.parent)
    with start_run({"experiment": "part1-logistic-regression"}, load_training_data("digits")):
        pass
    with pytest.raises(Crash, match=r"kept no model\. Let train\.py log one") as ended:
        driver.command("evaluate.py", own_store=False)
    assert "Traceback" not in str(ended.value)


def test_what_is_done_to_an_image_is_inside_of_the_model_that_is_kept():
    """The model of another process, which has no file of this project, takes images as they are."""
    recorded = Driver(SOLVED.parent).run("train.py", "data=digits")
    val = load_training_data("digits").val
    model = mlflow.sklearn.load_model(f"runs:/{recorded.run.info.run_id}/model")
    assert list(model.named_steps) == ["rows", "roots", "components", "classifier"]
    accuracy = (model.predict(val.images) == val.labels).mean()
    assert accuracy == recorded.run.data.metrics["val_accuracy"]


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
    assert recorded.data.metrics["val_accuracy"] >= 0.855
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
