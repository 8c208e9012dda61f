"""The checks of part 2. Functions are called by themselves; where `main` has to run, what stands
in the way of the hole in question is replaced by a stand-in."""

import contextlib
import inspect
import pickle
import tempfile
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import mlflow
import numpy as np
import torch
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import confusion_matrix
from torch import nn

from samerun.store.tracking import experiment_id
from workshop import made_up
from workshop.checks import SECRET, check, expect_parameters
from workshop.drive import Crash, Driver, Record

# A model that no hole is part of, made for the data set that the checks make up.
PIXELS, KINDS = made_up.SIDE**2, len(made_up.CLASSES)
LINEAR = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "torch.nn.Dropout", "p": 0.5},
        {"_target_": "torch.nn.Linear", "in_features": PIXELS, "out_features": KINDS},
    ],
}
DATA = (f"data._target_={made_up.__name__}.load_gratings", "data.name=not ours")
ANY_MODEL = (
    *DATA,
    "~model.hidden",
    "~model.dropout",
    "model._target_=torch.nn.Sequential",
    "+model._args_=[{_target_: torch.nn.Flatten}, "
    f"{{_target_: torch.nn.Linear, in_features: {PIXELS}, out_features: {KINDS}}}]",
    "seed=7",
)


def some_images(n: int, seed: int = 0, side: int = made_up.SIDE) -> torch.Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def linear(seed: int = 0, dropout: float = 0.5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(PIXELS, KINDS))


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
        part.command("train.py", "training.resume=nothing")
    except Crash as stopped:
        assert str(stopped).startswith("error:"), (
            "training.resume=nothing ends in a traceback; expected one message: hydra.main goes "
            "above plain_errors"
        )
        assert "nothing" in str(stopped), (
            f"training.resume=nothing ends with {stopped}; expected that there is no such run: cfg "
            "as Hydra makes it"
        )
    else:
        raise AssertionError(
            "train.py training.resume=nothing ends well; expected an error, from the rest of main"
        )


@check("2.2")
def what_the_config_describes_is_built(part: Driver) -> None:
    another = (
        *ANY_MODEL,
        "optimizer=sgd",
        "optimizer._target_=torch.optim.RMSprop",
        "~optimizer.fused",
        "optimizer.lr=0.5",
        "optimizer.momentum=0.25",
        "+optimizer.alpha=0.75",
        "training.loss._target_=torch.nn.MultiMarginLoss",
        "+training.loss.margin=2",
    )
    built = part.run("train.py", *another, until="to_tensors").locals
    for name, kind in {
        "model": nn.Sequential,
        "loss": nn.MultiMarginLoss,
        "optimizer": torch.optim.RMSprop,
    }.items():
        found = type(built.get(name)).__name__
        assert isinstance(built.get(name), kind), (
            f"with another {name} in the config, `{name}` is a {found}; expected {kind.__name__}"
        )
    group, margin = built["optimizer"].param_groups[0], built["loss"].margin
    for what, found, expected in (
        ("optimizer has lr", group["lr"], 0.5),
        ("optimizer has momentum", group["momentum"], 0.25),
        ("optimizer has alpha", group["alpha"], 0.75),
        ("loss has margin", margin, 2),
    ):
        assert found == expected, f"the {what}={found}; expected {expected}, from the config"
    trained = [id(p) for group in built["optimizer"].param_groups for p in group["params"]]
    assert trained == [id(p) for p in built["model"].parameters()], (
        "the optimizer does not have the model's parameters; expected model.parameters()"
    )
    assert getattr(built.get("dataset"), "digest", None) == made_up.gratings().digest, (
        "with another data set in the config, `dataset` is not what cfg.data describes; expected "
        "instantiate(cfg.data)"
    )

    def elsewhere(*_: object, **__: object) -> torch.device:
        return torch.device("meta")

    moved = part.run("train.py", *another, until="to_tensors", replaced={"set_up": elsewhere})
    places = {p.device.type for p in moved.locals["model"].parameters()}
    assert places == {"meta"}, (
        f"with another device the model is on {', '.join(places)}; expected `device`: "
        "model.to(device)"
    )
    for mistake in ("model", "training.loss", "optimizer"):
        try:
            part.run(
                "train.py",
                *another,
                f"{mistake}._target_=torch.nn.Misspelt",
                f"data._target_={made_up.__name__}.Missing",
                until="to_tensors",
            )
        except Crash as crash:
            assert "Misspelt" in str(crash).partition("\n")[0], (
                f"the data set is loaded before a mistake in {mistake} shows; expected it last"
            )


@check("2.3")
def the_mlp_has_the_layers_of_the_config(part: Driver) -> None:
    mlp = part.load("models.py").MLP
    for hidden, side, classes in (
        ([5], 28, 10),
        ([6, 4], 20, 7),
        ([7, 5, 3], 28, 10),
        ([], 20, 7),
    ):
        torch.manual_seed(0)
        model = mlp(hidden, dropout=0.25, pixels=side**2, classes=classes)
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        found = [(layer.in_features, layer.out_features) for layer in layers]
        asked = f"MLP(hidden={hidden}, pixels={side**2}, classes={classes})"
        expected = list(pairwise([side**2, *hidden, classes]))
        assert found == expected, f"{asked} has the linear layers {found}; expected {expected}"
        _expect_the_way(asked, model, layers, some_images(400, side=side), dropout=0.25)
        logits = model.eval()(some_images(3, side=side))
        assert logits.shape == (3, classes), (
            f"three images give {tuple(logits.shape)}; expected {(3, classes)}"
        )


def _expect_the_way(
    asked: str, model: nn.Module, layers: list[nn.Linear], images: torch.Tensor, dropout: float
) -> None:
    """Assert what happens to images, in training, before, between and after the linear layers."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in layers:
        layer.register_forward_hook(
            # Copies: a ReLU may work in place.
            lambda _, given, result: seen.append((given[0].clone(), result.clone()))
        )
    with torch.no_grad():
        logits = model.train()(images)
    assert torch.equal(seen[0][0], images.flatten(1)), (
        f"the first layer of {asked} does not get the pixels as they are; expected it directly "
        "after nn.Flatten"
    )
    for (_, before), (inputs, _) in pairwise(seen):
        kept, zero = before.relu() / (1 - dropout), inputs == 0
        assert (zero | torch.isclose(inputs, kept)).all(), (
            f"in {asked} something else than a ReLU and a dropout of {dropout} stands between two "
            "linear layers; expected these two after each hidden layer"
        )
        share = zero[kept > 0].float().mean().item()
        assert abs(share - dropout) < 0.1, (
            f"in training {share:.0%} of the hidden values of {asked} are dropped; expected "
            f"{dropout:.0%}, as asked for"
        )
        active = kept > 0
        of_some = (zero & active).any(dim=1) & (~zero & active).any(dim=1)
        assert of_some.any(), (
            f"in {asked} all hidden values of an image are dropped, or none; expected nn.Dropout, "
            "which drops each by itself"
        )
    assert torch.equal(logits, seen[-1][1]), (
        f"{asked} does something after its last linear layer; expected nothing: the loss applies "
        "the softmax"
    )


@check("2.4")
def every_value_of_the_config_is_a_parameter(part: Driver) -> None:
    overrides = (*ANY_MODEL, f"+api_key={SECRET}", "+extra.depth=3")
    record = part.run("train.py", *overrides, until="last_step")
    expect_parameters(record.run, part.compose(*overrides))


@check("2.5")
def a_step_follows_the_gradient_of_its_own_batch(part: Driver) -> None:
    train_step = part.load("engine.py").train_step
    for loss in (nn.CrossEntropyLoss(label_smoothing=0.3), nn.MultiMarginLoss(margin=3)):
        _expect_steps(train_step, loss)


def _expect_steps(train_step: Callable[..., torch.Tensor], loss: nn.Module) -> None:
    """Assert that steps are those of a loss and of an optimizer with a memory."""
    model, reference = linear(dropout=0).train(), linear(dropout=0).train()
    first = linear(dropout=0).state_dict()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    expected_step = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.5)
    for number in (1, 2, 3):
        images, labels = 3 * some_images(20, number), torch.arange(20) % KINDS
        expected = loss(reference(images), labels)
        expected_step.zero_grad()
        expected.backward()
        expected_step.step()
        value = train_step(model, images, labels, loss, optimizer)
        assert isinstance(value, torch.Tensor), f"it returned {value!r}; expected the loss"
        assert value.shape == () and torch.allclose(value, expected), (
            f"the loss of step {number} is {value.tolist()}; expected {expected.item():.4f}, "
            f"what {type(loss).__name__}, the `loss`, makes of the logits as they are"
        )
        assert not value.requires_grad, (
            "the loss still holds its graph, which fills the memory; expected value.detach()"
        )
        assert model.training, (
            "afterwards the model is in evaluation mode, and trains on without dropout; expected "
            "the mode left as it is"
        )
        assert not same(model.state_dict(), first), (
            "the weights did not change; expected optimizer.step()"
        )
        assert all(
            torch.allclose(p, q, atol=1e-6)
            for p, q in zip(model.parameters(), reference.parameters(), strict=True)
        ), (
            f"after step {number} the weights are not those of a step of the optimizer along the "
            "gradient of this batch; expected zero_grad, backward, step, in this order"
        )


@check("2.6")
def predictions_are_made_in_evaluation_mode(part: Driver) -> None:
    predict = part.load("engine.py").predict
    model, seen = linear().train(), []
    model.register_forward_hook(
        lambda module, given, _: seen.append(
            (len(given[0]), module.training, torch.is_grad_enabled())
        )
    )
    images = some_images(2300)
    try:
        logits = predict(model, images)
        recorded_after = torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)
    assert isinstance(logits, torch.Tensor) and logits.shape == (2300, KINDS), (
        f"2,300 images give {getattr(logits, 'shape', logits)}; "
        f"expected logits of shape {(2300, KINDS)}"
    )
    sizes, training, recorded = zip(*seen, strict=True)
    assert not any(training), "the model is in training mode; expected model.eval()"
    assert not any(recorded) and not logits.requires_grad, (
        "gradients were recorded; expected torch.inference_mode() or torch.no_grad()"
    )
    assert recorded_after and all(p.requires_grad for p in model.parameters()), (
        "afterwards no gradients are recorded any more, and training ends; expected a `with` block"
    )
    assert max(sizes) <= 1000, f"{max(sizes)} images at a time; expected at most 1,000"
    assert len(sizes) <= 10, f"the model is called {len(sizes)} times; expected 1,000 at a time"
    try:  # as on a graphics card
        stays = predict(linear().to("meta"), images.to("meta")).is_meta
    except NotImplementedError:  # the values of this device cannot be copied to another
        stays = False
    assert stays, "for images on another device the logits are not there; expected them there"
    expected = linear().eval()(images)
    assert torch.allclose(logits, expected, atol=1e-5), (
        "these are not the logits of the images in their order, with dropout off; expected them"
    )


@check("2.7")
def the_metrics_of_every_epoch_are_logged_with_their_step(part: Driver) -> None:
    progress = part.load("checkpoints.py").Progress
    random = torch.Generator().manual_seed(0)
    labels = torch.tensor(made_up.gratings().val.labels)
    logits = [torch.randn(len(labels), KINDS, generator=random) for _ in range(3)]
    losses, predicted = iter([torch.tensor([float(loss)]) for loss in (3, 2, 1)]), iter(logits)
    stand_ins = {
        "train_epoch": lambda *_, **__: next(losses),
        "predict": lambda *_, **__: next(predicted),
        "keep_best": lambda model, epoch, accuracy, *_: progress(epoch, accuracy, epoch),
        "log_checkpoints": lambda *_: None,
    }
    record = part.run(
        "train.py", *ANY_MODEL, "training.epochs=3", "optimizer.lr=0.25", replaced=stand_ins
    )
    expected = {
        "train_loss": [3, 2, 1],
        "val_loss": [nn.functional.cross_entropy(one, labels).item() for one in logits],
        "val_accuracy": [(one.argmax(dim=1) == labels).double().mean().item() for one in logits],
        "learning_rate": [0.25] * 3,
    }
    for name, values in expected.items():
        history = MlflowClient().get_metric_history(record.run.info.run_id, name)
        steps = [point.step for point in history]
        assert steps == [1, 2, 3], (
            f"the metric {name} has the steps {steps}; expected [1, 2, 3], one for each epoch"
        )
        found = [point.value for point in history]
        assert np.allclose(found, values), f"{name} is {found}; expected {values}"
    extra = set(record.run.data.metrics) - {*expected, "best_val_accuracy"}
    assert not extra, f"there are metrics {', '.join(sorted(extra))} besides; expected `metrics`"


@check("2.8")
def the_best_weights_are_kept(part: Driver) -> None:
    checkpoints = part.load("checkpoints.py")
    progress = checkpoints.Progress()
    epochs = [(1, 0.0, 1), (2, 0.5, 1), (3, 0.7, 1), (4, 0.6, 0), (5, 0.7, 0), (6, 0.7001, 1)]
    with tempfile.TemporaryDirectory() as scratch:
        folder, best = Path(scratch), {}
        for epoch, accuracy, better in epochs:
            model = linear(seed=epoch)
            progress = checkpoints.keep_best(model, epoch, accuracy, progress, folder)
            if better:
                best = {"epoch": epoch, "accuracy": accuracy, "weights": linear(epoch).state_dict()}
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
            others = sorted({file.name for file in folder.iterdir()} - {checkpoints.BEST})
            assert not others, f"beside {checkpoints.BEST} there is {others[0]}; expected it alone"


@check("2.9")
def all_checkpoints_are_artifacts(part: Driver) -> None:
    checkpoints = part.load("checkpoints.py")
    files = {name: name.encode() for name in ("best.pt", "epoch_005.pt", "resume-0.pt", "more.txt")}
    with tempfile.TemporaryDirectory() as scratch, part.recording() as run_id:
        folder = Path(scratch, "some", "folder")
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        checkpoints.log_checkpoints(folder)
        logged = {file.path for file in MlflowClient().list_artifacts(run_id, "checkpoints")}
        left = {file.name for file in folder.iterdir()}
        runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    expected = {f"checkpoints/{name}" for name in files}
    assert logged == expected, (
        f"below checkpoints/ the run has {', '.join(sorted(logged)) or 'nothing'}; "
        f"expected {', '.join(sorted(expected))}"
    )
    assert left == set(files), "the files are gone from the folder; expected copies of them"
    assert len(runs) == 1, f"there are {len(runs)} runs; expected the active one alone"


@check("2.10")
def the_cnn_can_be_chosen(part: Driver) -> None:
    found = part.compose("data=digits", "model=cnn").model
    expected = {
        "_target_": "models.CNN",
        "channels": [32, 64, 128],
        "kernel_size": 3,
        "dropout": 0.25,
    }
    given = {key: None if OmegaConf.is_missing(found, key) else found[key] for key in found}
    for key, value in expected.items():
        assert given.get(key) is not None, f"conf/model/cnn.yaml has no {key}; expected {value}"
        assert repr(given[key]) == repr(value), f"{key} is {given[key]!r}; expected {value!r}"
    takes = inspect.signature(part.load("models.py").CNN.__init__).parameters
    for key in given.keys() - expected:
        is_default = key in takes and given[key] == takes[key].default
        assert is_default or key in ("_convert_", "_recursive_"), (
            f"conf/model/cnn.yaml says {key}: {given[key]} besides; expected {', '.join(expected)}"
        )


@check("2.11")
def the_cnn_has_the_blocks_of_the_config(part: Driver) -> None:
    cnn = part.load("models.py").CNN
    for channels, kernel_size, side, classes in (
        ([4], 3, 28, 10),
        ([5, 3], 3, 20, 7),
        ([2, 3, 4], 5, 28, 10),
        ([2, 2, 3, 4], 1, 20, 7),
    ):
        asked = f"CNN(channels={channels}, kernel_size={kernel_size}, side={side})"
        model = cnn(channels, kernel_size, dropout=0.25, side=side, classes=classes).eval()
        convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        found = [(layer.in_channels, layer.out_channels) for layer in convolutions]
        expected = list(pairwise([1, *channels]))
        assert found == expected, f"{asked} has the convolutions {found}; expected {expected}"
        sizes = {layer.kernel_size for layer in convolutions}
        assert sizes == {(kernel_size, kernel_size)}, (
            f"{asked} has kernels of {sizes}; expected {kernel_size}x{kernel_size}"
        )
        images = some_images(3, side=side)
        with torch.no_grad():
            left, by_hand = model.blocks(images), images
            for layer in convolutions:
                by_hand = nn.functional.max_pool2d(layer(by_hand), 2).relu()
            in_training = model.train().blocks(images)
            model.eval()
        small = side // 2 ** len(channels)
        assert left.shape == (3, channels[-1], small, small), (
            f"{asked} leaves {tuple(left.shape[1:])} of an image; "
            f"expected {(channels[-1], small, small)}"
        )
        assert torch.equal(left, in_training), (
            f"the blocks of {asked} do something else in training; expected a convolution, a 2x2 "
            "max-pooling and a ReLU each: the dropout stands after them"
        )
        assert torch.allclose(left, by_hand, atol=1e-5), (
            f"the blocks of {asked} are not a convolution, a 2x2 max-pooling and a ReLU each; "
            "expected these three"
        )
        head = next(layer for layer in model.head if isinstance(layer, nn.Linear))
        assert head.in_features == channels[-1] * small**2, (
            f"{asked} sets features to {head.in_features}; expected {channels[-1] * small**2}, "
            f"{channels[-1]} channels of {small}x{small}"
        )
        logits = model(images)
        assert logits.shape == (3, classes), (
            f"three images give {tuple(logits.shape)}; expected {(3, classes)}"
        )


@check("2.12")
def config_and_weights_come_from_the_run(part: Driver) -> None:
    evaluate, weights = part.load("evaluate.py"), linear(seed=3).state_dict()
    recorded = OmegaConf.create({"seed": 99, "model": LINEAR, "data": {"name": "of the run"}})
    with part.recording() as other, tempfile.TemporaryDirectory() as scratch:
        # The active run is another one than the one that is asked for.
        run_id = MlflowClient().create_run(experiment_id("check")).info.run_id
        for id, seed in ((other, 98), (run_id, 99)):
            recorded.seed = seed
            mlflow.log_text(OmegaConf.to_yaml(recorded), "config.yaml", run_id=id)
        torch.save(linear(seed=4).state_dict(), Path(scratch, "epoch_005.pt"))
        torch.save({"model": linear(seed=5).state_dict()}, Path(scratch, "resume-0.pt"))
        torch.save(linear(seed=7).state_dict(), Path(scratch, "average.pt"))
        for id, best in ((other, linear(seed=6).state_dict()), (run_id, weights)):
            torch.save(best, Path(scratch, "best.pt"))
            mlflow.log_artifacts(scratch, "checkpoints", run_id=id)
        trained, restored = evaluate.restore(run_id)
        assert isinstance(trained, DictConfig), (
            f"the config is a {type(trained).__name__}; expected a DictConfig: OmegaConf.create"
        )
        assert trained == recorded, (
            f"the config has seed {trained.get('seed')}; expected the run's own, with seed 99: "
            "conf/ may have changed since"
        )
        assert isinstance(restored, dict) and same(restored, weights), (
            "the weights are not those of checkpoints/best.pt of the run; expected them"
        )
        torch.save(linear(seed=3), Path(scratch, "best.pt"))  # a pickled module runs code
        mlflow.log_artifacts(scratch, "checkpoints", run_id=run_id)
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
    weights, described, places = linear(seed=3).state_dict(), OmegaConf.create(LINEAR), []

    def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        places.append(next(model.parameters()).device.type)
        if images.is_meta:
            raise NotImplementedError("values on this device cannot be looked at")
        with torch.no_grad():
            return model.eval()(images)

    evaluate.predict = predict
    expected = predict(linear(seed=3), images).softmax(dim=1).numpy()
    torch.manual_seed(0)
    found = evaluate.class_probabilities(described, weights, images)
    assert found.shape == (6, KINDS), f"six images give {found.shape}; expected {(6, KINDS)}"
    assert len(places) == 2, "predict is not called; expected the logits that it returns"
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5), (
        f"the probabilities of an image sum to {found.sum(axis=1)[0]:.3f}; expected 1: softmax "
        "over the classes, dim=1"
    )
    assert np.allclose(found, expected, atol=1e-5), (
        "these are not the probabilities of the trained model; expected load_state_dict(weights)"
    )
    # Nor are any loaded there: torch warns of that.
    with contextlib.suppress(NotImplementedError), warnings.catch_warnings(action="ignore"):
        evaluate.class_probabilities(described, weights, images.to("meta"))
    assert places[-1] == "meta", (
        f"for images on another device the model is on {places[-1]}; expected images.device"
    )
    try:
        evaluate.class_probabilities(described, dict(list(weights.items())[:1]), images)
    except RuntimeError:
        return
    raise AssertionError(
        "weights that do not fit the model are left out in silence; expected the RuntimeError of "
        "load_state_dict, which main turns into a message"
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
        points = MlflowClient().get_metric_history(run.info.run_id, name)
        assert [point.timestamp for point in points] == [evaluated.info.end_time], (
            f"the metric {name} does not have the time at which the run ended, so that a second "
            "evaluation adds a second point; expected timestamp=run.info.end_time"
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
        f"the run has no figure confusion_matrix.png; expected it beside "
        f"{', '.join(sorted(logged))}"
    )
    data = made_up.gratings()
    counts = confusion_matrix(data.test.labels, predicted)
    drawn = np.asarray(figure.arrays[0]) if figure.arrays else np.zeros(())
    assert not np.array_equal(drawn, counts.T), (
        "the matrix is transposed; expected the true labels first, then the predicted ones"
    )
    assert np.array_equal(drawn, counts), (
        f"the matrix counts {drawn.sum():g} images; expected the {counts.sum()} of the test set, "
        "true labels against predicted ones"
    )
    for axis, ticks in {"x": figure.x_labels, "y": figure.y_labels}.items():
        assert ticks[:KINDS] == list(data.classes), (
            f"with other classes the {axis} axis says {', '.join(ticks[:KINDS])}; "
            f"expected {', '.join(data.classes)}"
        )


def evaluation(part: Driver, past: tuple[str, ...] = ()) -> tuple[Record, Run, np.ndarray]:
    """Evaluate a made-up run, of random predictions on made-up data; it is not the latest run.

    Returns what was recorded, the run as it was before, and the predicted labels.
    """
    trained = {
        "seed": 1,
        "training": {"threads": 1},
        "data": {"_target_": f"{made_up.__name__}.load_gratings", "name": "not ours"},
        "model": LINEAR,
    }
    probabilities = np.random.default_rng(0).dirichlet(np.ones(KINDS), made_up.SIZES["test"])
    made = []

    def choose_run(*_: object) -> Run:
        for _ in range(2):
            with mlflow.start_run(experiment_id=experiment_id("check")) as run:
                pass
            made.append(mlflow.get_run(run.info.run_id))
        return made[0]

    stand_ins = {
        "choose_run": choose_run,
        "restore": lambda _: (OmegaConf.create(trained), {}),
        "class_probabilities": lambda *_: probabilities,
        "plot_mistakes": lambda *_: Figure(),
    }
    record = part.run("evaluate.py", config="evaluate", replaced=stand_ins, past=past)
    return record, made[0], probabilities.argmax(axis=1)


def in_the_run(record: Record, evaluated: Run) -> Run:
    """Return the evaluated run as it is afterwards, after a look whether another one was used."""
    touched = [run for run in record.runs if run.info.run_id != evaluated.info.run_id]
    assert len(touched) == 1, (
        f"the evaluation started {len(touched) - 1} runs; expected none: pass the id of the "
        "evaluated one, run_id"
    )
    assert not (touched[0].data.metrics or MlflowClient().list_artifacts(touched[0].info.run_id)), (
        "something was logged to the latest run; expected the evaluated one: run_id"
    )
    (run,) = [run for run in record.runs if run.info.run_id == evaluated.info.run_id]
    for what, before, now in (
        ("end", evaluated.info.end_time, run.info.end_time),
        ("status", evaluated.info.status, run.info.status),
    ):
        assert now == before, (
            f"the evaluated run was opened again, which changed its {what}; expected calls with "
            "run_id="
        )
    return run
