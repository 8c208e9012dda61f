"""Part 3: training, the sealed test set, and studies: one worker, many workers, dead workers."""

import ast
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import optuna
import pytest
import servers
import torch
from commands import ROOT, call, check_pairs, run
from mlflow import MlflowClient
from omegaconf import OmegaConf
from torch import nn

from samerun.store.tracking import use_store
from workshop import checks, course, regions
from workshop.data import load_dataset, load_training_data
from workshop.drive import Crash, Driver
from workshop.errors import WorkshopError
from workshop.study import search

FOLDER = "part3_competition"
SOLVED = ROOT / "solutions" / FOLDER
TRAIN, TUNE, EVALUATE = (SOLVED / f"{name}.py" for name in ("train", "tune", "evaluate"))
SMALL = ["data=digits", "model.width=2", "training.epochs=2"]


def runs(experiment="part3-tuning"):
    use_store()  # the one that the environment names
    return mlflow.search_runs(
        experiment_names=[experiment],
        output_format="list",
        order_by=["attributes.start_time ASC"],
    )


def trial_runs():
    return [found for found in runs() if "mlflow.parentRunId" in found.data.tags]


def artifacts(recorded, folder=None):
    return {file.path for file in MlflowClient().list_artifacts(recorded.info.run_id, folder)}


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------------------------- training


def test_a_run_keeps_its_curves_its_config_and_its_best_weights():
    recorded = Driver(SOLVED).run("train.py", *SMALL, "training.epochs=3").run
    history = MlflowClient().get_metric_history(recorded.info.run_id, "val_accuracy")
    assert [point.step for point in history] == [1, 2, 3]
    assert recorded.data.metrics["best_val_accuracy"] == max(point.value for point in history)
    assert recorded.data.params["model.width"] == "2"
    assert {"config.yaml", "checkpoints", "trace"} <= artifacts(recorded)


RECIPE = ["data=digits", "model.width=4", "training.epochs=1", "training.batch_size=100"]


def test_the_whole_recipe_repeats_itself_bit_for_bit():
    overrides = (*RECIPE, "+recipe=strong", "optimizer.lr=0.1")
    first, second = (Driver(SOLVED).run("train.py", *overrides).run for _ in range(2))
    assert first.data.metrics == second.data.metrics
    for part, value in {
        "model._target_": "models.Own",
        "augmentation.shift": "2",
        "schedule._target_": "schedules.OneCycle",
        "training.average": "0.998",
        "training.precision": "bfloat16",
    }.items():
        assert first.data.params[part] == value


def history(recorded):
    return {
        metric: [
            (point.step, point.value)
            for point in MlflowClient().get_metric_history(recorded.info.run_id, metric)
        ]
        for metric in recorded.data.metrics
    }


def weights(recorded):
    path = f"runs:/{recorded.info.run_id}/checkpoints/best.pt"
    return torch.load(mlflow.artifacts.download_artifacts(path), weights_only=True)


@pytest.mark.parametrize("by", ["Ctrl+C", "kill -9"])
def test_an_interrupted_recipe_goes_on_to_the_numbers_of_an_uninterrupted_one(
    by, mlflow_store, tmp_path, monkeypatch
):
    overrides = [*RECIPE, "+recipe=strong", "optimizer.lr=0.1", "training.epochs=4"]
    call(TRAIN, *overrides, cwd=tmp_path)

    save, saved = torch.save, []

    def interrupting(state, path):
        saved.append(path.name)
        if saved.count("resume-1.unfinished") == 2:  # in the middle of writing the third epoch
            path.write_bytes(b"half a file")
            raise KeyboardInterrupt
        save(state, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", interrupting)
        call(TRAIN, *overrides, cwd=tmp_path)
    whole, part = runs("part3-competition")
    assert part.info.status == "KILLED"
    if by == "kill -9":  # which may also leave half of what was being copied
        stored = Path(mlflow.artifacts.download_artifacts(f"runs:/{part.info.run_id}/checkpoints"))
        for file in (stored / "resume-0.pt", stored / "best.pt"):
            file.write_bytes(file.read_bytes()[:100])
        MlflowClient().update_run(part.info.run_id, "RUNNING")

    call(TRAIN, f"training.resume={part.info.run_id}", cwd=tmp_path)
    whole, continued = runs("part3-competition")
    assert continued.info.status == "FINISHED"
    assert history(continued) == history(whole)
    assert all(torch.equal(weights(whole)[name], tensor) for name, tensor in weights(part).items())
    said = call(EVALUATE, f"run_id={part.info.run_id}", cwd=tmp_path)
    assert "test accuracy" in said


def test_a_run_goes_on_with_its_own_configuration_alone(mlflow_store, tmp_path, monkeypatch):
    call(TRAIN, *SMALL, cwd=tmp_path)
    (done,) = runs("part3-competition")
    MlflowClient().set_terminated(done.info.run_id, "KILLED")
    resume = f"training.resume={done.info.run_id}"
    with pytest.raises(Crash, match=r"model\.width: 2 in the run, 3 on the command line"):
        call(TRAIN, *SMALL, "model.width=3", resume, cwd=tmp_path)
    call(TRAIN, *SMALL, resume, cwd=tmp_path)


def definitions(part, file):
    """Return the text of every function and class at the top of a file, by name."""
    text = regions.without_markers((SOLVED.with_name(part) / file).read_text(encoding="utf-8"))
    return {
        node.name: ast.get_source_segment(text, node)
        for node in ast.parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }


def test_part_3_continues_what_part_2_began():
    part2 = SOLVED.with_name("part2_mlp_cnn")
    assert (part2 / "resuming.py").read_bytes() == (SOLVED / "resuming.py").read_bytes()
    checkpoints = (part2 / "checkpoints.py").read_text(encoding="utf-8")
    own = (SOLVED / "checkpoints.py").read_text(encoding="utf-8")
    assert regions.without_markers(checkpoints) == own
    then, now = definitions(part2.name, "engine.py"), definitions(FOLDER, "engine.py")
    assert set(then) <= set(now)
    for name in ("accuracy", "check_fit"):
        assert then[name] == now[name]
    # What both take has the same type and range in both.
    then, now = (Driver(part).load("settings.py") for part in (part2, SOLVED))
    for kind in ("Optimizer", "Training", "Settings"):
        first, second = (getattr(module, kind).model_fields for module in (then, now))
        for name in set(first) & set(second) - {"model", "optimizer", "training"}:
            assert repr(first[name]) == repr(second[name]), f"{kind}.{name}"


def test_no_part_imports_by_a_path_of_its_own():
    for file in SOLVED.parent.glob("part*/*.py"):
        assert "sys.path" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize(
    ("script", "overrides", "message"),
    [
        ("train.py", ["model=own"], "??? in conf/ marks what has to be filled in"),
        ("train.py", ["augmentation=flip_and_shift"], "uv run workshop hint 3.3"),
        ("train.py", ["schedule=one_cycle"], "uv run workshop hint 3.4"),
        ("tune.py", [], "uv run workshop hint 3.5"),
    ],
)
def test_the_stub_stops_where_a_hole_is_needed(script, overrides, message, tmp_path):
    storage = [f"storage.path={tmp_path / 'study.journal'}"] if script == "tune.py" else []
    with pytest.raises(Crash) as stopped:
        Driver(ROOT / FOLDER).command(script, "data=digits", *overrides, *storage)
    assert message in str(stopped.value)


def test_the_stub_runs_with_its_baseline():
    assert Driver(ROOT / FOLDER).run("train.py", *SMALL).run.info.status == "FINISHED"


@pytest.mark.parametrize("warmup", [0, 0.2, 0.999])
def test_one_cycle_begins_peaks_and_ends_at_every_warmup_that_is_allowed(warmup):
    factor = Driver(SOLVED).load("schedules.py").OneCycle(warmup)
    assert factor(0.0) == (0 if warmup else 1)
    assert factor(warmup) == 1
    assert factor(1.0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("warmup", [0, 0.999])
def test_one_cycle_takes_a_training_of_one_epoch(warmup):
    asked = [*SMALL, "training.epochs=1", "schedule=one_cycle", f"schedule.warmup={warmup}"]
    recorded = Driver(SOLVED).run("train.py", *asked).run
    assert recorded.data.metrics["learning_rate"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("left_out", sorted(p.stem for p in SOLVED.glob("conf/ablation/*.yaml")))
def test_every_ablation_changes_what_its_name_says(left_out):
    part = Driver(SOLVED)
    whole = part.compose("+recipe=strong")
    without = part.compose("+recipe=strong", f"+ablation={left_out}")
    differs = {key for key in whole if whole[key] != without[key]}
    differs |= {key for key in whole.training if whole.training[key] != without.training[key]}
    expected = {"nothing": set(), "schedule": {"schedule", "optimizer"}}  # a lower, constant rate
    expected["label_smoothing"] = {"loss"}
    assert differs - {"training"} == expected.get(left_out, {left_out})


def test_early_stopping_ends_a_training_that_no_longer_improves():
    overrides = (*SMALL, "training.epochs=9", "training.patience=1", "optimizer.lr=0")
    recorded = Driver(SOLVED).run("train.py", *overrides).run
    assert len(MlflowClient().get_metric_history(recorded.info.run_id, "val_accuracy")) < 9


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epochs=-1"], "training.epochs=-1: it should be greater than 0"),
        (["training.patience=abc"], "training.patience=abc: it should be a valid integer"),
        (["seed=abc"], "seed=abc: it should be a valid integer"),
        (["model.width=0"], "A layer of 0 channels. Expected 1 or more: see model.width"),
        (["training.precision=half"], "precision=half: it should be 'float32' or 'bfloat16'"),
        (["training.average=1"], "training.average=1: it should be less than 1"),
        (["training.loss.label_smoothing=2"], "label_smoothing=2: it should be less than or"),
        (["schedule=one_cycle", "schedule.warmup=1"], "schedule.warmup=1: it should be less than"),
        (["augmentation.shift=-1"], "augmentation.shift=-1: it should be greater than or equal"),
        (["training.device=tpu"], "device=tpu does not exist"),
        (["model=resnet"], "Could not find 'model/resnet'"),
        (["model.widht=3"], "Key 'widht' is not in struct"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: it should be greater than or equal to 0"),
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


def test_a_batch_of_more_images_than_there_are_is_refused():
    with pytest.raises(Crash, match="more than the 1197 images"):
        Driver(SOLVED).run("train.py", *SMALL, "training.batch_size=2000")


def test_the_average_of_the_weights_is_what_is_judged_and_kept():
    engine = Driver(SOLVED).load("engine.py")
    model = nn.Linear(1, 1, bias=False)
    average = engine.average_of(model, 0.5)
    for weight in (1.0, 2.0, 4.0):
        nn.init.constant_(model.weight, weight)
        average.update_parameters(model)
    assert average.module.weight.item() == (1 * 0.5 + 2 * 0.5) * 0.5 + 4 * 0.5


def test_mirrored_predictions_are_the_mean_of_both_sides():
    engine, images = Driver(SOLVED).load("engine.py"), torch.randn(7, 1, 28, 28)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    logits = engine.predict(model, images, True, torch.float32)
    both = [engine.predict(model, side, False, torch.float32) for side in (images, images.flip(3))]
    assert torch.allclose(logits, sum(both) / 2, atol=1e-6)
    assert torch.allclose(
        logits, engine.predict(model, images.flip(3), True, torch.float32), atol=1e-6
    )


def test_about_half_of_the_images_are_mirrored():
    flip, images = Driver(SOLVED).load("augmentation.py").flip, torch.randn(400, 1, 28, 28)
    torch.manual_seed(0)
    flipped = flip(images)
    same, mirrored = ((flipped == side).flatten(1).all(dim=1) for side in (images, images.flip(3)))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


# ----------------------------------------------------------------------------- architectures


class Attention(nn.Module):
    """Patches of 7x7 pixels that attend to each other."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 7, stride=7)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, images):
        rows = self.patches(images).flatten(2).transpose(1, 2)
        return self.head((rows + self.attention(rows, rows, rows)[0]).mean(dim=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.GELU(), nn.Linear(32, 10)),
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 5, stride=2), nn.GroupNorm(2, 4), nn.SiLU(), nn.Dropout(0.2),
            nn.Flatten(), nn.Linear(576, 10),
        ),
        Attention,
    ],
    ids=["linear", "mlp", "cnn", "attention"],
)  # fmt: skip
def test_any_sound_architecture_is_accepted(make):
    torch.manual_seed(0)
    expect_sound()(make())


def test_an_architecture_without_sizes_is_rejected():
    with pytest.raises(AssertionError, match=r"expected nn\.Linear, nn\.Conv2d"):
        expect_sound()(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)))


def expect_sound():
    part = next(part for part in course.load().parts if part.folder == FOLDER)
    return checks.checks_of(part.checks)["3.1"].__globals__["expect_sound"]


# ------------------------------------------------------------------------------- the test set


def test_training_data_comes_without_its_test_set():
    data, whole = load_training_data("digits"), load_dataset("digits")
    assert np.array_equal(data.val.images, whole.val.images)
    assert data.digest == whole.digest
    with pytest.raises(WorkshopError, match="The test set is sealed"):
        len(data.test.labels)


@pytest.mark.parametrize("name", ["fashion_mnist", "digits"])
def test_neither_training_nor_search_is_configured_to_see_the_test_set(name):
    for config in ("config", "tune"):
        cfg = Driver(SOLVED).compose(f"data={name}", config=config)
        assert cfg.data._target_ == "workshop.data.load_training_data"


@pytest.mark.slow
def test_a_final_model_sees_the_test_set_once_and_a_trial_never(mlflow_store, tmp_path):
    call(TRAIN, *SMALL, cwd=tmp_path)
    said = call(EVALUATE, "run_id=latest", cwd=tmp_path)
    (trained,) = runs("part3-competition")
    accuracy = trained.data.metrics["test_accuracy"]
    assert f"test accuracy {accuracy:.4f}" in said
    assert trained.data.metrics["test_accuracy_low"] < accuracy
    again = call(EVALUATE, f"run_id={trained.info.run_id}", cwd=tmp_path)
    assert "has seen the test set already" in again
    call(TRAIN, *SMALL, "seed=9", cwd=tmp_path)
    call(EVALUATE, "run_id=latest", cwd=tmp_path)
    check_pairs(*(found.info.run_id for found in runs("part3-competition")))

    storage = f"storage.path={tmp_path / 'study.journal'}"
    call(TUNE, *SMALL, "trials=1", storage, cwd=tmp_path)
    (trial,) = trial_runs()
    with pytest.raises(Crash, match="is a trial of a search"):
        call(EVALUATE, f"run_id={trial.info.run_id}", "experiment=part3-tuning", cwd=tmp_path)


# ------------------------------------------------------------------------------------ studies


@pytest.mark.slow
def test_a_study_from_its_first_trial_to_the_best_model(mlflow_store, tmp_path):
    storage = f"storage.path={tmp_path / 'study.journal'}"
    # A Hyperband of three epochs prunes some trial of five after its first one.
    asked = [*SMALL, storage, "space=recipe", "pruner=hyperband", "training.epochs=3"]
    call(TUNE, *asked, "trials=2", cwd=tmp_path)
    said = call(TUNE, *asked, "trials=6", cwd=tmp_path)  # continues

    parent = next(found for found in runs() if "mlflow.parentRunId" not in found.data.tags)
    trials = trial_runs()
    assert len(trials) == 6
    assert {found.info.status for found in [parent, *trials]} == {"FINISHED"}
    assert {found.data.tags["mlflow.parentRunId"] for found in trials} == {parent.info.run_id}
    for found in trials:
        assert "trace" in artifacts(found)
        epochs = MlflowClient().get_metric_history(found.info.run_id, "val_accuracy")
        assert found.data.tags.get("pruned", "3") == str(len(epochs))
    assert any("pruned" in found.data.tags for found in trials)
    assert len({found.data.params["optimizer.lr"] for found in trials}) == 6
    assert {found.data.params["model._target_"] for found in trials} == {
        "models.Baseline",
        "models.Own",
    }
    expected = {"history", "importances", "parallel_coordinates", "slice"}
    assert artifacts(parent, "study") == {f"study/{name}.png" for name in expected} | {
        "study/trials.csv"
    }

    command = re.search(r"To train it: uv run (.*)", said)[1]
    words = shlex.split(command)  # from another folder: --project and where it is, first
    (at,) = [place for place, word in enumerate(words) if word.endswith("train.py")]
    call(ROOT / words[at], *words[at + 1 :], cwd=tmp_path)
    (best,) = runs("part3-competition")
    assert best.data.metrics["best_val_accuracy"] == parent.data.metrics["best_val_accuracy"]

    with pytest.raises(Crash) as refused:
        call(TUNE, *asked, "optimizer=sgd", cwd=tmp_path)
    assert "optimizer.nesterov: None in the study, True now" in str(refused.value)
    assert "study=NAME" in str(refused.value)


@pytest.mark.slow
def test_a_search_that_fails_on_every_trial_stops_with_the_first_error(mlflow_store, tmp_path):
    storage = ["storage=sqlite", f"storage.url=sqlite:///{(tmp_path / 'study.db').as_posix()}"]
    failing = [*SMALL, *storage, "+optimizer.unknown=1"]
    done = run(TUNE, *failing, cwd=tmp_path)
    assert done.returncode == 1
    assert "The last 3 trials all failed" in done.stderr
    assert "unexpected keyword argument 'unknown'" in done.stderr
    assert "Traceback" not in done.stderr
    (parent,) = (found for found in runs() if "mlflow.parentRunId" not in found.data.tags)
    assert parent.info.status == "FAILED"


@pytest.mark.parametrize("asked", [["training.epochs=-1"], ["trials=many"]])
def test_a_search_of_what_cannot_be_is_refused_before_there_is_a_study(
    asked, mlflow_store, tmp_path
):
    storage = tmp_path / "study.journal"
    with pytest.raises(Crash, match=f"{asked[0]}: it should be"):
        call(TUNE, *SMALL, *asked, f"storage.path={storage}", cwd=tmp_path)
    assert not storage.exists()


def test_failed_trials_between_good_ones_do_not_end_a_search():
    study = optuna.create_study(direction="maximize")

    def objective(trial):
        if trial.number % 2:
            raise ValueError("odd")
        return 1.0

    search(study, objective, trials=4, failures=2)
    assert sum(trial.state.name == "COMPLETE" for trial in study.trials) == 4


def test_failures_from_before_the_mend_do_not_end_a_search():
    study = optuna.create_study(direction="maximize")
    mended = False

    def objective(trial):
        if not mended or trial.number == 2:
            raise ValueError("no")
        return 1.0

    with pytest.raises(WorkshopError, match="The last 2 trials all failed"):
        search(study, objective, trials=3, failures=2)
    mended = True
    search(study, objective, trials=3, failures=2)
    assert [t.state.name for t in study.trials] == ["FAIL"] * 3 + ["COMPLETE"] * 3


def test_an_interrupted_trial_comes_first_when_the_search_goes_on():
    study, drawn = optuna.create_study(direction="maximize"), []

    def objective(trial):
        drawn.append(trial.suggest_float("x", 0, 1))
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return drawn[-1]

    with pytest.raises(KeyboardInterrupt):
        search(study, objective, trials=3, failures=3)
    search(study, objective, trials=3, failures=3)
    assert drawn[2] == drawn[1]
    assert [trial.state.name for trial in study.trials] == [
        "COMPLETE", "FAIL", "COMPLETE", "COMPLETE",
    ]  # fmt: skip


def test_a_trial_that_diverges_is_pruned_and_its_run_has_failed(own_part, mlflow_store, tmp_path):
    space = own_part / "conf/space/huge.yaml"
    space.write_text("optimizer.lr: {suggest: float, low: 1e20, high: 1e21}\n", encoding="utf-8")
    asked = ["space=huge", f"storage.path={tmp_path / 'study.journal'}", "trials=1"]
    said = call(own_part / "tune.py", *SMALL, *asked, cwd=tmp_path)
    (trial,) = trial_runs()
    assert trial.info.status == "FAILED"
    assert trial.data.tags["diverged"].startswith("epoch ")
    assert "0 trials finished, 1 pruned, 0 failed" in said


def test_an_interrupted_trial_goes_on_in_its_own_run_to_the_same_numbers(
    mlflow_store, tmp_path, monkeypatch
):
    asked = [*SMALL, "training.epochs=4", "sampler=random", "pruner=none", "trials=1"]
    call(TUNE, *asked, f"storage.path={tmp_path / 'whole.journal'}", "study=whole", cwd=tmp_path)
    study = [*asked, f"storage.path={tmp_path / 'part.journal'}", "study=part"]
    save = torch.save

    def interrupting(state, path):
        save(state, path)
        if path.name == "resume-1.unfinished" and state["progress"]["epoch"] == 3:
            raise KeyboardInterrupt  # as the signal does that puts a job back into the queue

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", interrupting)
        call(TUNE, *study, cwd=tmp_path)
    whole, part = trial_runs()
    assert (whole.info.status, part.info.status) == ("FINISHED", "KILLED")
    call(TUNE, *study, cwd=tmp_path)
    whole, part = trial_runs()
    assert part.info.status == "FINISHED"
    assert "trace/continued-1" in artifacts(part, "trace")
    assert history(part) == history(whole)
    found = optuna.load_study(study_name="part", storage=journal(tmp_path / "part.journal"))
    values = [value for _, value in history(part)["val_accuracy"]]
    assert found.trials[1].intermediate_values == dict(enumerate(values, 1))


def journal(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def test_a_model_of_part_2_is_built_by_the_models_of_part_2(monkeypatch):
    trained = Driver(SOLVED).load("trained.py")
    script = "solutions/part2_mlp_cnn/train.py"
    monkeypatch.setattr(trained, "fetch", lambda _: SimpleNamespace(script=script))
    build = trained.models_of(None)
    model = build(OmegaConf.create({"_target_": "models.MLP", "hidden": [3]}))
    assert [tuple(weights.shape) for weights in model.parameters()][:1] == [(3, 784)]
    assert build(OmegaConf.create({"_target_": "torch.nn.Flatten"}))(torch.ones(2, 3, 1)).ndim == 2
    with pytest.raises(AttributeError, match="Own"):  # which part 3 alone has
        build(OmegaConf.create({"_target_": "models.Own"}))


@pytest.fixture
def own_part(tmp_path):
    """A copy of part 3 that a test may edit."""
    return Path(shutil.copytree(SOLVED, tmp_path / FOLDER))


def replace(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        # Of a model that only some trial's draw would choose.
        ("conf/model/own.yaml", "width: 16", "width: 2", "width: 16 in the study, 2 now"),
        ("models.py", "nn.ReLU(inplace=True)", "nn.SiLU()", f"{FOLDER}/models.py: another file"),
    ],
)
def test_a_study_goes_on_only_with_the_code_and_the_configuration_of_its_beginning(
    file, old, new, message, own_part, mlflow_store, tmp_path
):
    asked = [*SMALL, f"storage.path={tmp_path / 'study.journal'}"]
    call(own_part / "tune.py", *asked, "trials=1", cwd=tmp_path)
    replace(own_part / file, old, new)
    with pytest.raises(Crash) as refused:
        call(own_part / "tune.py", *asked, "trials=2", cwd=tmp_path)
    assert message in str(refused.value)
    assert "study=NAME" in str(refused.value)
    assert len(trial_runs()) == 1

    replace(own_part / file, new, old)
    with (own_part / "conf/model/own.yaml").open("a", encoding="utf-8") as comments:
        comments.write("# a comment changes nothing\n")
    replace(own_part / "evaluate.py", "import logging", "import  logging")  # no trial imports it
    call(own_part / "tune.py", *asked, "trials=2", cwd=tmp_path)
    assert len(trial_runs()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [["worker=0"], ["-m", "worker=0,1", "hydra/launcher=laptop"]])
def test_no_trial_starts_with_a_configuration_edited_under_its_study(
    workers, own_part, mlflow_store, tmp_path
):
    asked = ["data=digits", "training.epochs=2", "trials=40", "pruner=none"]
    asked += [f"storage.path={tmp_path / 'study.journal'}"]
    study = subprocess.Popen(
        [sys.executable, own_part / "tune.py", *workers, *asked],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    servers.wait_until(lambda: trial_runs() or study.poll() is not None, 240, "a first trial")
    replace(own_part / "conf/model/baseline.yaml", "width: 16", "width: 2")
    said = study.communicate(timeout=120)[1]
    assert study.returncode == 1
    assert "conf/model/baseline.yaml: width: 16 in the study, 2 now" in said
    assert "Traceback" not in said
    found = trial_runs()
    assert len(found) < 40
    # A worker that ends takes along the trial of the other, which may have come to no weights yet.
    weights = {run.data.params.get("weights") for run in found}
    assert weights - {None} == {"20538"}


def test_a_database_that_cannot_be_reached_is_named_without_its_password(monkeypatch):
    from workshop.study import database

    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    with pytest.raises(WorkshopError, match=r"OPTUNA_STORAGE does not name it"):
        database(None, heartbeat=10)
    address = f"postgresql+psycopg://me:hidden-word@127.0.0.1:{servers.free_port()}/nothing"
    monkeypatch.setenv("OPTUNA_STORAGE", address)
    with pytest.raises(WorkshopError) as failed:
        database(None, heartbeat=10)
    assert "cannot be opened: postgresql+psycopg://me:***@127.0.0.1" in str(failed.value)
    assert "hidden-word" not in str(failed.value)


# ------------------------------------------------------------------------------- many workers


def ended(numbers, state):
    return [trial for trial in numbers if trial.state.name == state]


@pytest.mark.slow
def test_four_local_workers_share_a_journal(mlflow_store, tmp_path):
    workers = ["-m", "worker=range(4)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]
    asked = [*SMALL, f"storage.path={tmp_path / 'study.journal'}", "sampler=random", "pruner=none"]
    said = succeeded(run(TUNE, *workers, *asked, "trials=8", cwd=tmp_path))
    trials = trial_runs()
    assert 8 <= len(trials) <= 8 + 3  # workers that begin a last trial at the same time
    assert {found.info.status for found in trials} == {"FINISHED"}
    drawn = {found.data.params["optimizer.lr"] for found in trials}
    assert len(drawn) == len(trials)
    parents = [found for found in runs() if "mlflow.parentRunId" not in found.data.tags]
    assert [found.info.status for found in parents] == ["FINISHED"]
    assert said.count("To train it") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to another process")
def test_a_cancelled_study_is_summed_up_and_killed(mlflow_store, tmp_path):
    asked = [*SMALL, f"storage.path={tmp_path / 'study.journal'}", "trials=500", "pruner=none"]
    command = [sys.executable, TUNE, *asked]
    study = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, encoding="utf-8")
    servers.wait_until(lambda: len(trial_runs()) > 1 or study.poll() is not None, 240, "two trials")
    study.send_signal(signal.SIGTERM)
    said, _ = study.communicate(timeout=120)
    assert study.returncode == 130
    assert "To train it" in said
    assert re.search(r"\d+ of 500 trials are missing: the same command goes on", said)
    statuses = [found.info.status for found in runs()]
    assert statuses[0] == "KILLED"  # the study itself
    assert "RUNNING" not in statuses


@pytest.fixture(params=["journal", "postgresql"])
def storage(request, tmp_path, monkeypatch):
    """Overrides that choose a storage of the test's own."""
    if request.param == "journal":
        yield [f"storage.path={tmp_path / 'study.journal'}"]
    else:
        folder = tmp_path / "postgresql"
        folder.mkdir()
        with servers.postgresql(folder) as address:
            monkeypatch.setenv("OPTUNA_STORAGE", address)
            yield ["storage=postgresql"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_the_trial_of_a_killed_worker_is_run_again(storage, mlflow_store, tmp_path):
    asked = [*SMALL, *storage, "storage.heartbeat=1", "pruner=none", "sampler=random"]
    # Trials long enough for one to be killed in its middle.
    asked += ["training.epochs=20", "trials=3"]

    def in_second_trial():
        return [found.info.status for found in trial_runs() if "val_accuracy" in found.data.metrics]

    first = subprocess.Popen([sys.executable, TUNE, *asked], cwd=tmp_path)
    servers.wait_until(
        lambda: in_second_trial() == ["FINISHED", "RUNNING"] or first.poll() is not None,
        seconds=240,
        what="a second trial",
    )
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = trial_runs()
    said = call(TUNE, *asked, "worker=1", cwd=tmp_path)
    assert "The worker of trial 1 is gone: the trial will be repeated" in said

    kept, killed, *later = trial_runs()
    assert [found.info.run_id for found in (kept, killed)] == [f.info.run_id for f in before]
    assert [found.info.status for found in (kept, killed)] == ["FINISHED", "KILLED"]
    assert [found.info.status for found in later] == ["FINISHED", "FINISHED"]
    params = ("optimizer.lr", "training.batch_size", "training.loss.label_smoothing")
    assert [killed.data.params[p] for p in params] in [
        [found.data.params[p] for p in params] for found in later
    ]
