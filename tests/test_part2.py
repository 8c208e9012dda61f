"""Part 2: the same numbers from the same seed, interruption, evaluation, and bad input."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import torch
from commands import ROOT, call, check_pairs, run_from_cold
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from samerun.store.tracking import experiment_id, use_store
from workshop.drive import Crash, Driver

FOLDER = "part2_mlp_cnn"
SOLVED = ROOT / "solutions" / FOLDER
TRAIN, EVALUATE = SOLVED / "train.py", SOLVED / "evaluate.py"
SMALL = ["data=digits", "training.epochs=2", "training.batch_size=100"]
SMALL_CNN = [*SMALL, "model=cnn", "model.channels=[8,4]"]


def runs():
    use_store()  # the one that the environment names
    return mlflow.search_runs(
        search_all_experiments=True,
        output_format="list",
        order_by=["attributes.start_time ASC"],
    )


def history(recorded, metric):
    points = MlflowClient().get_metric_history(recorded.info.run_id, metric)
    return [(point.step, point.value) for point in points]


def weights(recorded, file="best.pt"):
    path = mlflow.artifacts.download_artifacts(f"runs:/{recorded.info.run_id}/checkpoints/{file}")
    return torch.load(path, weights_only=True)


def digest(state):
    """Hash the tensors of a state_dict, bit by bit."""
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def driven(*overrides):
    """Train in this process, in a store of its own; return the run."""
    return Driver(SOLVED).run("train.py", *overrides).run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, store_template):
    """A store with a finished MLP and a finished CNN, in this order, for tests that only read."""
    import shutil

    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(store_template, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        call(TRAIN, *SMALL, cwd=folder)
        call(TRAIN, *SMALL_CNN, cwd=folder)
        yield folder
    mlflow.set_tracking_uri(None)


# ---------------------------------------------------------------------------------- training


@pytest.mark.slow
def test_the_stub_stops_at_the_first_hole_and_says_what_to_type(mlflow_store, tmp_path):
    done = run_from_cold(ROOT / FOLDER / "train.py", "data=digits", cwd=tmp_path)
    assert done.returncode == 1
    assert "TODO 2.1" in done.stderr
    assert f"train.py, line {line_of('raise NotImplementedError')}" in done.stderr
    assert "uv run workshop hint 2.1" in done.stderr
    assert "Traceback" not in done.stderr


def line_of(text):
    lines = (ROOT / FOLDER / "train.py").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", [SMALL, SMALL_CNN], ids=["mlp", "cnn"])
def test_same_seed_same_numbers(model, threads):
    overrides = [*model, "model.dropout=0.2", f"training.threads={threads}"]
    found = []
    for _ in range(2):
        recorded = driven(*overrides)
        curves = [history(recorded, metric) for metric in ("train_loss", "val_loss")]
        found.append((curves, digest(weights(recorded))))
    assert found[0] == found[1]


def test_another_seed_gives_other_numbers():
    first, second = (history(driven(*SMALL, f"seed={seed}"), "train_loss") for seed in (1, 2))
    assert first != second


def test_a_run_keeps_curves_and_checkpoints():
    recorded = driven(*SMALL, "training.checkpoint_every=1")
    for metric in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        assert [step for step, _ in history(recorded, metric)] == [1, 2]
    best = max(history(recorded, "val_accuracy"), key=lambda point: point[1])
    assert history(recorded, "best_val_accuracy") == [best]
    assert digest(weights(recorded)) == digest(weights(recorded, f"epoch_{best[0]:03}.pt"))


def test_early_stopping_ends_a_training_that_no_longer_improves():
    recorded = driven(*SMALL, "training.epochs=50", "training.patience=1", "optimizer.lr=0")
    assert [step for step, _ in history(recorded, "val_accuracy")] == [1, 2]
    assert recorded.info.status == "FINISHED"


def test_a_training_that_diverges_stops_as_failed_and_says_where():
    record = Driver(SOLVED)
    with pytest.raises(Crash, match=r"In epoch 1, step 2, the loss is (nan|inf): .* diverged"):
        record.run("train.py", *SMALL, "optimizer.lr=1e20")


@pytest.mark.parametrize(("every", "states"), [(1, {3, 4}), (3, {0, 3})])
def test_as_many_epochs_lie_between_two_states_as_asked_for(every, states):
    """Each state costs some four times what the model does, so who copies this has a choice."""
    recorded = driven(*SMALL, "training.epochs=4", f"training.state_every={every}")
    found = {weights(recorded, f"resume-{n}.pt")["progress"]["epoch"] for n in (0, 1)}
    assert found == states
    best = weights(recorded, f"resume-{max(states) // every % 2}.pt")["best"]
    assert max(states) == 3 or digest(best) == digest(weights(recorded))


def test_an_unchanged_checkpoint_is_copied_once(tmp_path, monkeypatch):
    checkpoints, copied = Driver(SOLVED).load("checkpoints.py"), []
    for name in ("best.pt", "resume-0.pt", "epoch_005.pt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(
        mlflow, "log_artifacts", lambda folder, _: copied.append({f.name for f in folder.iterdir()})
    )
    for _ in range(2):
        checkpoints.log_checkpoints(tmp_path)
        checkpoints.drop_copied(tmp_path)
    assert copied == [{"best.pt", "resume-0.pt", "epoch_005.pt"}, {"best.pt"}]


def interrupted(*overrides, cwd, by, reached):
    """Train in a process of its own and end it by a signal, as soon as `reached` is true.

    Returns the exit status of the process and what it said.
    """
    process = subprocess.Popen(
        [sys.executable, TRAIN, *overrides],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # A shell starts what runs in its background with Ctrl+C ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not reached():
        time.sleep(0.02)
    process.send_signal(by)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals to another process")
def test_a_run_interrupted_in_every_way_comes_to_the_numbers_of_an_uninterrupted_one(
    mlflow_store, tmp_path
):
    overrides = ["data=digits", "model.dropout=0.1", "training.epochs=16"]
    # A checkpoint to wait for in each epoch, and batches so small that an epoch takes a while.
    overrides += ["training.checkpoint_every=1", "training.batch_size=8"]
    call(TRAIN, *overrides, cwd=tmp_path)
    whole_id = runs()[0].info.run_id

    def epoch(number):
        """Look for a checkpoint, not into the database: a reader waits while others write."""
        artifacts = mlflow_store.parent / "mlartifacts"
        file = f"*/*/artifacts/checkpoints/epoch_{number:03}.pt"
        return lambda: any(whole_id not in path.parts for path in artifacts.glob(file))

    status, said = interrupted(*overrides, cwd=tmp_path, by=signal.SIGINT, reached=epoch(3))
    _, part = runs()
    resume = f"training.resume={part.info.run_id}"
    assert (status, part.info.status) == (130, "KILLED"), said
    assert resume in said
    assert "Traceback" not in said

    status, said = interrupted(resume, cwd=tmp_path, by=signal.SIGTERM, reached=epoch(6))
    _, part = runs()
    assert (status, part.info.status) == (130, "KILLED"), said

    _, said = interrupted(resume, cwd=tmp_path, by=signal.SIGKILL, reached=epoch(9))
    _, part = runs()
    assert part.info.status == "KILLED", said  # found to be lost by looking at it
    assert 9 <= len(history(part, "val_accuracy")) < 16

    # A kill in the middle of copying leaves half a file: of the best weights or of a state.
    checkpoints = local_file_uri_to_path(part.info.artifact_uri + "/checkpoints")
    latest = max(Path(checkpoints).glob("resume-*.pt"), key=lambda path: path.stat().st_mtime_ns)
    for file in (latest, Path(checkpoints) / "best.pt"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    call(TRAIN, resume, cwd=tmp_path)
    whole, continued = runs()
    assert continued.info.status == "FINISHED"
    for metric in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        assert history(continued, metric) == history(whole, metric)
    assert digest(weights(continued)) == digest(weights(whole))
    traces = MlflowClient().list_artifacts(continued.info.run_id, "trace")
    assert [file.path for file in traces if "continued" in file.path] == [
        f"trace/continued-{number}" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=cnn", "model.channels=[8,8,8,8,8]"], "asks for 5 blocks. Expected 1 to 4"),
        (["model=cnn", "model.kernel_size=4"], "kernel_size=4. Expected an odd number"),
        (["model.hidden=[32,0]"], "model.hidden[1]=0: it should be greater than 0"),
        (["model.dropout=2"], "model.dropout=2: it should be less than or equal to 1"),
        (["training.epochs=-1"], "training.epochs=-1: it should be greater than 0"),
        (["training.patience=abc"], "training.patience=abc: it should be a valid integer"),
        (["training.state_every=0"], "training.state_every=0: it should be greater than 0"),
        (["seed=abc"], "seed=abc: it should be a valid integer"),
        (["optimizer.lr=fast"], "optimizer.lr=fast: it should be a valid number"),
        (["data.fraction=2"], "Key 'fraction' is not in struct"),
        (["+data.fraction=2"], "unexpected keyword argument 'fraction'"),
        (["training.device=tpu"], "device=tpu does not exist. Expected one of: auto"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: it should be greater than or equal to 0"),
        (["model=resnet"], "Could not find 'model/resnet'"),
        (["training.resume=0123"], "There is no run '0123'"),
    ],
)
def test_bad_configuration_ends_in_one_message_before_any_data_is_loaded(
    overrides, message, monkeypatch
):
    # With this folder, loading the data would end in another message.
    monkeypatch.setenv("FASHION_MNIST_DIR", "nowhere")
    with pytest.raises(Crash) as ended:
        Driver(SOLVED).command("train.py", *overrides)
    assert message in str(ended.value)
    assert "Traceback" not in str(ended.value)


@pytest.mark.slow
def test_a_finished_run_is_not_resumed(trained, tmp_path):
    with pytest.raises(Crash, match="has finished: there is nothing to continue"):
        call(TRAIN, f"training.resume={runs()[0].info.run_id}", cwd=tmp_path)


# -------------------------------------------------------------------------------- evaluation


@pytest.mark.slow
def test_evaluating_adds_the_result_to_the_run_and_evaluating_twice_changes_nothing(
    trained, tmp_path
):
    latest = runs()[-1]

    def record():
        assert latest.info.run_id in call(EVALUATE, "run_id=latest", cwd=tmp_path)
        recorded = MlflowClient().get_run(latest.info.run_id)
        points = {
            name: [
                (point.step, point.timestamp, point.value)
                for point in MlflowClient().get_metric_history(recorded.info.run_id, name)
            ]
            for name in recorded.data.metrics
        }
        files = [file.path for file in MlflowClient().list_artifacts(recorded.info.run_id)]
        return points, files, recorded.info.status, len(runs())

    first = record()
    points, files, status, _ = first
    for metric in ("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_f1_macro"):
        assert len(points[metric]) == 1
    assert {"test_precision/3", "test_recall/3", "test_f1_weighted"} <= set(points)
    low, value, high = (points[f"test_accuracy{end}"][0][2] for end in ("_low", "", "_high"))
    assert low < value < high
    assert {"classification_report.txt", "confusion_matrix.png", "mistakes.png"} <= set(files)
    assert status == "FINISHED"
    assert record() == first


@pytest.mark.slow
def test_best_is_the_run_with_the_best_validation_accuracy_and_compared_image_by_image(
    trained, tmp_path
):
    best = max(runs(), key=lambda recorded: recorded.data.metrics["best_val_accuracy"])
    assert best.info.run_id in call(EVALUATE, "run_id=best", cwd=tmp_path)
    (other,) = (run.info.run_id for run in runs() if run.info.run_id != best.info.run_id)
    call(EVALUATE, f"run_id={other}", cwd=tmp_path)
    check_pairs(best.info.run_id, other)


@pytest.mark.slow
def test_a_run_can_be_named_by_the_beginning_of_its_id(trained, tmp_path):
    first = runs()[0].info.run_id
    assert first in call(EVALUATE, f"run_id={first[:8]}", cwd=tmp_path)


def a_failed_run():
    with mlflow.start_run(experiment_id=experiment_id("part2-mlp-cnn")) as started:
        pass
    MlflowClient().set_terminated(started.info.run_id, "FAILED")
    return started.info.run_id


def a_deleted_run():
    with mlflow.start_run(experiment_id=experiment_id("part2-mlp-cnn")) as started:
        pass
    mlflow.delete_run(started.info.run_id)
    return started.info.run_id


def a_foreign_run():
    with mlflow.start_run(experiment_id=experiment_id("somebody-else")) as started:
        pass
    return started.info.run_id


def a_run_without_weights():
    with mlflow.start_run(experiment_id=experiment_id("part2-mlp-cnn")) as started:
        mlflow.log_text("seed: 0", "config.yaml")
    return started.info.run_id


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "0123456789abcdef", "There is no run '0123456789abcdef'"),
        (lambda: "latest", "There is no experiment 'part2-mlp-cnn'"),
        (a_failed_run, "its status is FAILED, expected FINISHED"),
        (a_deleted_run, "was deleted"),
        (a_foreign_run, "belongs to the experiment 'somebody-else', expected 'part2-mlp-cnn'"),
        (a_run_without_weights, "has no artifact checkpoints/best.pt"),
    ],
    ids=["unknown", "none yet", "failed", "deleted", "foreign", "without weights"],
)
def test_a_run_that_cannot_be_evaluated_is_answered_in_one_message(make, message, mlflow_store):
    use_store()
    part = Driver(SOLVED)
    cfg = part.compose(f"run_id={make()}", config="evaluate")
    with pytest.raises(SystemExit) as ended:
        part.load("evaluate.py").main(cfg)
    assert message in str(ended.value.code)
    assert str(ended.value.code).startswith("\nerror: ")


# Secrets in the configuration


SECRET = "made-up-key-8"


@pytest.fixture
def with_secret(mlflow_store, tmp_path):
    """A run that was trained with a secret in its configuration."""
    call(TRAIN, *SMALL, f"+api_key={SECRET}", cwd=tmp_path)
    [recorded] = runs()
    return recorded


@pytest.mark.slow
def test_an_interrupted_run_goes_on_only_when_its_secret_is_given_again(with_secret, tmp_path):
    assert with_secret.data.params["api_key"] == "***"
    MlflowClient().set_terminated(with_secret.info.run_id, "KILLED")
    resume = f"training.resume={with_secret.info.run_id}"
    with pytest.raises(Crash, match=r"in place of api_key.*\+\+api_key=\.\.\."):
        call(TRAIN, resume, cwd=tmp_path)
    call(TRAIN, resume, f"+api_key={SECRET}", cwd=tmp_path)
    assert MlflowClient().get_run(with_secret.info.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_a_mask_stops_an_evaluation_only_where_a_value_is_needed(with_secret, tmp_path):
    call(EVALUATE, "run_id=latest", cwd=tmp_path)
    name = f"runs:/{with_secret.info.run_id}/config.yaml"
    config = mlflow.artifacts.load_text(name).replace("model:", "model:\n  password: '***'")
    mlflow.log_text(config, "config.yaml", run_id=with_secret.info.run_id)
    with pytest.raises(Crash, match=r"in place of model\.password: secrets are not recorded"):
        call(EVALUATE, "run_id=latest", cwd=tmp_path)
