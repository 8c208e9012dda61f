"""The checks of part 2. Functions are called by themselves; where `main` has to run, what stands
in the way of the hole in question is replaced by a stand-in."""

import pickle
import tempfile
from itertools import pairwise
from pathlib import Path

import mlflow
import numpy as np
import torch
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import OmegaConf
from sklearn.metrics import confusion_matrix
from torch import nn

from samerun.store.tracking import experiment_id
from workshop.checks import SECRET, check, expect_parameters
from workshop.data import load_dataset
from workshop.drive import Crash, Driver, Record

# A model that no hole is part of: 784 pixels in, 10 logits out.
LINEAR = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "torch.nn.Dropout", "p": 0.5},
        {"_target_": "torch.nn.Linear", "in_features": 784, "out_features": 10},
    ],
}
ANY_MODEL = (
    "data=digits",
    "~model.hidden",
    "~model.dropout",
    "model._target_=torch.nn.Sequential",
    "+model._args_=[{_target_: torch.nn.Flatten}, "
    "{_target_: torch.nn.Linear, in_features: 784, out_features: 10}]",
    "seed=7",
)
METRICS = ("train_loss", "val_loss", "val_accuracy", "learning_rate")


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def linear(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))


def same(first: dict, second: dict) -> bool:
    """Tell whether two state_dicts hold the same tensors."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@check("2.1")
def train_reads_its_config(part: Driver) -> None:
    said = part.command("train.py", "--cfg", "job", "data=digits", "seed=11")
    composed = OmegaConf.create(said)
    assert composed == part.compose("data=digits", "seed=11"), (
        f"train.py --cfg job shows {', '.join(map(str, composed)) or 'nothing'}; "
        "expected conf/config.yaml with the overrides of the command line"
    )
    try:
        part.command("train.py", "data=digits", "training.epochs=0")
    except Crash as stopped:
        assert str(stopped).startswith("error:"), (
            "training.epochs=0 ends in a traceback; expected one message: hydra.main goes above "
            "plain_errors"
        )


@check("2.2")
def what_the_config_describes_is_built(part: Driver) -> None:
    record = part.run(
        "train.py",
        *ANY_MODEL,
        "optimizer=sgd",
        "optimizer.lr=0.5",
        "training.loss._target_=torch.nn.MultiMarginLoss",
        until="start_run",
    )
    built = record.locals
    for name, kind in {
        "model": nn.Sequential,
        "loss": nn.MultiMarginLoss,
        "optimizer": torch.optim.SGD,
    }.items():
        found = type(built.get(name)).__name__
        assert isinstance(built.get(name), kind), (
            f"with another {name} in the config, `{name}` is a {found}; expected {kind.__name__}"
        )
    group = built["optimizer"].param_groups[0]
    assert group["lr"] == 0.5, f"the optimizer has lr={group['lr']}; expected 0.5, from the config"
    trained = [id(p) for group in built["optimizer"].param_groups for p in group["params"]]
    assert trained == [id(p) for p in built["model"].parameters()], (
        "the optimizer does not have the model's parameters; expected model.parameters()"
    )
    digest = load_dataset("digits").digest
    assert getattr(built.get("dataset"), "digest", None) == digest, (
        "`dataset` is not what cfg.data describes; expected instantiate(cfg.data)"
    )


@check("2.3")
def the_mlp_has_the_layers_of_the_config(part: Driver) -> None:
    mlp = part.load("models.py").MLP
    for hidden in ([5], [6, 4], [7, 5, 3], []):
        model = mlp(hidden, dropout=0.25)
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        found = [(layer.in_features, layer.out_features) for layer in layers]
        expected = list(pairwise([784, *hidden, 10]))
        assert found == expected, (
            f"MLP(hidden={hidden}) has the linear layers {found}; expected {expected}"
        )
        kinds = [type(layer) for layer in model.modules()]
        for kind in (nn.ReLU, nn.Dropout):
            assert kinds.count(kind) == len(hidden), (
                f"MLP(hidden={hidden}) has {kinds.count(kind)} {kind.__name__}; "
                f"expected {len(hidden)}, one after each hidden layer"
            )
        rates = [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]
        assert set(rates) <= {0.25}, f"the dropout is {rates}; expected 0.25, as asked for"
        logits = model.eval()(some_images(3))
        assert logits.shape == (3, 10), f"three images give {tuple(logits.shape)}; expected (3, 10)"
        last = layers[-1](torch.zeros(1, layers[-1].in_features))
        assert kinds[-1] is nn.Linear and torch.equal(last, layers[-1].bias[None]), (
            f"the last layer is {kinds[-1].__name__}; expected Linear: the loss applies the softmax"
        )
        assert (logits < 0).any(), "no logit is negative; expected the output of the last Linear"


@check("2.4")
def every_value_of_the_config_is_a_parameter(part: Driver) -> None:
    overrides = (*ANY_MODEL, f"+api_key={SECRET}")
    record = part.run("train.py", *overrides, until="last_step")
    expect_parameters(record.run, part.compose(*overrides))


@check("2.5")
def a_step_follows_the_gradient_of_its_own_batch(part: Driver) -> None:
    train_step = part.load("engine.py").train_step
    model, reference, loss = linear().eval(), linear().eval(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected_step = torch.optim.SGD(reference.parameters(), lr=0.1)
    for number in (1, 2):
        images, labels = some_images(20, number), torch.arange(20) % 10
        expected = loss(reference(images), labels)
        expected_step.zero_grad()
        expected.backward()
        expected_step.step()
        value = train_step(model, images, labels, loss, optimizer)
        assert isinstance(value, torch.Tensor), f"it returned {value!r}; expected the loss"
        assert torch.allclose(value, expected), (
            f"the loss of step {number} is {value.item():.4f}; expected {expected.item():.4f}, "
            "the loss of the logits as they are"
        )
        assert not value.requires_grad, (
            "the loss still holds its graph, which fills the memory; expected value.detach()"
        )
        assert not same(model.state_dict(), linear().state_dict()), (
            "the weights did not change; expected optimizer.step()"
        )
        assert all(
            torch.allclose(p, q)
            for p, q in zip(model.parameters(), reference.parameters(), strict=True)
        ), (
            f"after step {number} the weights are not those of a step along the gradient of this "
            "batch; expected zero_grad, backward, step, in this order"
        )


@check("2.6")
def predictions_are_made_in_evaluation_mode(part: Driver) -> None:
    predict = part.load("engine.py").predict
    model, sizes = linear().train(), []
    model.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    images = some_images(2300)
    logits = predict(model, images)
    assert isinstance(logits, torch.Tensor) and logits.shape == (2300, 10), (
        f"2,300 images give {getattr(logits, 'shape', logits)}; expected logits of shape (2300, 10)"
    )
    assert not model.training, "the model is in training mode; expected model.eval()"
    assert not logits.requires_grad, (
        "gradients were recorded; expected torch.inference_mode() or torch.no_grad()"
    )
    assert max(sizes) <= 1000, f"{max(sizes)} images at a time; expected at most 1,000"
    expected = linear().eval()(images)
    assert torch.allclose(logits, expected, atol=1e-5), (
        "these are not the logits of the images in their order, with dropout off; expected them"
    )


@check("2.7")
def the_metrics_of_every_epoch_are_logged_with_their_step(part: Driver) -> None:
    progress = part.load("checkpoints.py").Progress
    logits = torch.randn(300, 10, generator=torch.Generator().manual_seed(0))
    losses = iter([torch.tensor([float(epoch)]) for epoch in (3, 2, 1)])
    stand_ins = {
        "train_epoch": lambda *_: next(losses),
        "predict": lambda *_: logits,
        "keep_best": lambda model, epoch, accuracy, *_: progress(epoch, accuracy, epoch),
        "log_checkpoints": lambda *_: None,
    }
    record = part.run("train.py", *ANY_MODEL, "training.epochs=3", replaced=stand_ins)
    for name in METRICS:
        history = MlflowClient().get_metric_history(record.run.info.run_id, name)
        steps = [point.step for point in history]
        assert steps == [1, 2, 3], (
            f"the metric {name} has the steps {steps}; expected [1, 2, 3], one for each epoch"
        )
    losses_logged = [
        point.value
        for point in MlflowClient().get_metric_history(record.run.info.run_id, "train_loss")
    ]
    assert losses_logged == [3, 2, 1], f"train_loss is {losses_logged}; expected [3, 2, 1]"


@check("2.8")
def the_best_weights_are_kept(part: Driver) -> None:
    checkpoints = part.load("checkpoints.py")
    progress = checkpoints.Progress()
    with tempfile.TemporaryDirectory() as scratch:
        folder, best = Path(scratch), {}
        for epoch, accuracy, better in [(1, 0.5, 1), (2, 0.7, 1), (3, 0.6, 0), (4, 0.7, 0)]:
            model = linear(seed=epoch)
            progress = checkpoints.keep_best(model, epoch, accuracy, progress, folder)
            if better:
                best = {"epoch": epoch, "accuracy": accuracy, "weights": model.state_dict()}
            expected = checkpoints.Progress(epoch, best["accuracy"], best["epoch"])
            assert progress == expected, (
                f"after epoch {epoch} with accuracy {accuracy} it returned {progress}; "
                f"expected {expected}"
            )
            path = folder / checkpoints.BEST
            assert path.is_file(), f"there is no file {checkpoints.BEST} after epoch {epoch}"
            try:
                saved = torch.load(path, weights_only=True)
            except Exception:
                saved = None
            assert isinstance(saved, dict), (
                f"{checkpoints.BEST} is no state_dict; expected model.state_dict(), not the model"
            )
            assert same(saved, best["weights"]), (
                f"after epoch {epoch} {checkpoints.BEST} does not hold the weights of epoch "
                f"{best['epoch']}, the best so far; expected them"
            )


@check("2.9")
def all_checkpoints_are_artifacts(part: Driver) -> None:
    checkpoints = part.load("checkpoints.py")
    with tempfile.TemporaryDirectory() as scratch, part.recording() as run_id:
        for name in ("best.pt", "epoch_005.pt", "resume-0.pt"):
            Path(scratch, name).write_bytes(b"weights")
        checkpoints.log_checkpoints(Path(scratch))
        logged = {file.path for file in MlflowClient().list_artifacts(run_id, "checkpoints")}
    expected = {f"checkpoints/{name}" for name in ("best.pt", "epoch_005.pt", "resume-0.pt")}
    assert logged == expected, (
        f"below checkpoints/ the run has {', '.join(sorted(logged)) or 'nothing'}; "
        f"expected {', '.join(sorted(expected))}"
    )


@check("2.10")
def the_cnn_can_be_chosen(part: Driver) -> None:
    found = part.compose("data=digits", "model=cnn").model
    expected = {
        "_target_": "models.CNN",
        "channels": [32, 64, 128],
        "kernel_size": 3,
        "dropout": 0.25,
    }
    for key, value in expected.items():
        missing = key not in found or OmegaConf.is_missing(found, key)
        assert not missing, f"conf/model/cnn.yaml has no {key}; expected {key}: {value}"
        assert found[key] == value, f"{key} is {found[key]!r}; expected {value!r}"
    extra = set(found) - set(expected)
    assert not extra, f"conf/model/cnn.yaml has {', '.join(extra)}, which models.CNN does not know"


@check("2.11")
def the_cnn_has_the_blocks_of_the_config(part: Driver) -> None:
    cnn = part.load("models.py").CNN
    for channels, kernel_size in (([4], 3), ([5, 3], 3), ([2, 3, 4], 5), ([2, 2, 3, 4], 1)):
        asked = f"CNN(channels={channels}, kernel_size={kernel_size})"
        model = cnn(channels, kernel_size=kernel_size, dropout=0.25).eval()
        convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        found = [(layer.in_channels, layer.out_channels) for layer in convolutions]
        expected = list(pairwise([1, *channels]))
        assert found == expected, f"{asked} has the convolutions {found}; expected {expected}"
        sizes = {layer.kernel_size for layer in convolutions}
        assert sizes == {(kernel_size, kernel_size)}, (
            f"{asked} has kernels of {sizes}; expected {kernel_size}x{kernel_size}"
        )
        for kind in (nn.MaxPool2d, nn.ReLU):
            count = sum(isinstance(layer, kind) for layer in model.modules())
            assert count == len(channels), (
                f"{asked} has {count} {kind.__name__}; expected {len(channels)}, one for each block"
            )
        side = 28 // 2 ** len(channels)
        left = model.blocks(some_images(2)).shape
        assert left == (2, channels[-1], side, side), (
            f"{asked} leaves {tuple(left[1:])} of an image; expected {(channels[-1], side, side)}"
        )
        head = next(layer for layer in model.head if isinstance(layer, nn.Linear))
        assert head.in_features == channels[-1] * side**2, (
            f"{asked} sets features to {head.in_features}; expected {channels[-1] * side**2}, "
            f"{channels[-1]} channels of {side}x{side}"
        )
        logits = model(some_images(3))
        assert logits.shape == (3, 10), f"three images give {tuple(logits.shape)}; expected (3, 10)"


@check("2.12")
def config_and_weights_come_from_the_run(part: Driver) -> None:
    evaluate, weights = part.load("evaluate.py"), linear(seed=3).state_dict()
    recorded = OmegaConf.create({"seed": 99, "model": LINEAR, "data": {"name": "of the run"}})
    with part.recording() as run_id, tempfile.TemporaryDirectory() as scratch:
        mlflow.log_text(OmegaConf.to_yaml(recorded), "config.yaml")
        torch.save(weights, Path(scratch, "best.pt"))
        torch.save(linear(seed=4).state_dict(), Path(scratch, "epoch_005.pt"))
        torch.save({"model": linear(seed=5).state_dict()}, Path(scratch, "resume-0.pt"))
        mlflow.log_artifacts(scratch, "checkpoints")
        trained, restored = evaluate.restore(run_id)
        assert trained == recorded, (
            f"the config has seed {trained.get('seed')}; expected the run's own, with seed 99: "
            "conf/ may have changed since"
        )
        assert isinstance(restored, dict) and same(restored, weights), (
            "the weights are not those of checkpoints/best.pt of the run; expected them"
        )
        torch.save(linear(seed=3), Path(scratch, "best.pt"))  # a pickled module runs code
        mlflow.log_artifacts(scratch, "checkpoints")
        try:
            evaluate.restore(run_id)
        except pickle.UnpicklingError:
            return
    raise AssertionError(
        "it loaded a pickled module, which can run anybody's code; expected checkpoints.load, "
        "which reads tensors only"
    )


@check("2.13")
def a_trained_model_is_rebuilt(part: Driver) -> None:
    evaluate, images = part.load("evaluate.py"), some_images(6)

    def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(images)

    evaluate.predict = predict
    expected = predict(linear(seed=3), images).softmax(dim=1).numpy()
    weights = linear(seed=3).state_dict()
    torch.manual_seed(0)
    found = evaluate.class_probabilities(OmegaConf.create(LINEAR), weights, images)
    assert found.shape == (6, 10), f"six images give {found.shape}; expected (6, 10)"
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5), (
        f"the probabilities of an image sum to {found.sum(axis=1)[0]:.3f}; expected 1: softmax "
        "over the classes, dim=1"
    )
    assert np.allclose(found, expected, atol=1e-5), (
        "these are not the probabilities of the trained model; expected load_state_dict(weights)"
    )


@check("2.14")
def the_test_metrics_are_added_to_the_run(part: Driver) -> None:
    record, evaluated, _ = evaluation(part, past=("2.15",))
    expected = record.calls["score"][0].result
    run = in_the_run(record, evaluated)
    for name, value in expected.items():
        assert name in run.data.metrics, (
            f"the run has no metric {name}; expected {name} = {value:.4f}, "
            f"found {', '.join(sorted(run.data.metrics)) or 'no metric at all'}"
        )
        assert np.isclose(run.data.metrics[name], value), (
            f"the metric {name} is {run.data.metrics[name]:.4f}; expected {value:.4f}"
        )
    (point,) = MlflowClient().get_metric_history(run.info.run_id, "test_accuracy")
    assert point.timestamp == evaluated.info.end_time, (
        "the metrics have the time of now, so that a second evaluation adds a second point; "
        "expected timestamp=run.info.end_time"
    )
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/classification_report.txt")
    assert text == record.calls["report"][-1].result, (
        "classification_report.txt is not `text`; expected it as it is"
    )


@check("2.15")
def the_confusion_matrix_is_added_to_the_run(part: Driver) -> None:
    record, evaluated, predicted = evaluation(part)
    run = in_the_run(record, evaluated)
    figure = record.figures.get("confusion_matrix.png")
    logged = {file.path for file in MlflowClient().list_artifacts(run.info.run_id)}
    assert figure and "confusion_matrix.png" in logged, (
        f"the run has no confusion_matrix.png; found {', '.join(sorted(logged))}"
    )
    digits = load_dataset("digits")
    counts = confusion_matrix(digits.test.labels, predicted)
    drawn = np.asarray(figure.arrays[0]) if figure.arrays else np.zeros(())
    assert not np.array_equal(drawn, counts.T), (
        "the matrix is transposed; expected the true labels first, then the predicted ones"
    )
    assert np.array_equal(drawn, counts), (
        f"the matrix counts {drawn.sum():g} images; expected the {counts.sum()} of the test set, "
        "true labels against predicted ones"
    )
    for axis, ticks in {"x": figure.x_labels, "y": figure.y_labels}.items():
        assert ticks[:10] == list(digits.classes), (
            f"the {axis} axis says {', '.join(ticks[:10])}; expected the names of the classes"
        )


def evaluation(part: Driver, past: tuple[str, ...] = ()) -> tuple[Record, Run, np.ndarray]:
    """Evaluate a made-up run, of random predictions, on the digits.

    Returns what was recorded, the run as it was before, and the predicted labels.
    """
    trained = {
        "seed": 1,
        "training": {"threads": 1},
        "data": {"_target_": "workshop.data.load_dataset", "name": "digits"},
        "model": LINEAR,
    }
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 300)
    chosen = []

    def choose_run(*_) -> Run:
        with mlflow.start_run(experiment_id=experiment_id("check")) as run:
            pass
        chosen.append(mlflow.get_run(run.info.run_id))
        return chosen[0]

    stand_ins = {
        "choose_run": choose_run,
        "restore": lambda _: (OmegaConf.create(trained), {}),
        "class_probabilities": lambda *_: probabilities,
        "plot_mistakes": lambda *_: Figure(),
    }
    record = part.run("evaluate.py", config="evaluate", replaced=stand_ins, past=past)
    return record, chosen[0], probabilities.argmax(axis=1)


def in_the_run(record: Record, evaluated: Run) -> Run:
    """Return the evaluated run as it is afterwards, after a look whether others were started."""
    ids = [run.info.run_id for run in record.runs]
    assert ids == [evaluated.info.run_id], (
        f"{len(ids)} runs were left by the evaluation; expected the evaluated one alone: "
        "pass its id, run_id"
    )
    return record.runs[0]
