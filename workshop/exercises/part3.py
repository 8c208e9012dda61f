"""The checks of part 3. Functions are called by themselves; an architecture is judged by what it
does, whatever it is made of."""

import contextlib
import inspect
import itertools
import math
import os
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import mlflow
import numpy as np
import optuna
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.parameter import is_lazy

from samerun.errors import innermost
from workshop.checks import check
from workshop.data import Split
from workshop.drive import Driver
from workshop.errors import WorkshopError
from workshop.participant import membership
from workshop.participant.rehearsal import Rehearsal, rehearsal

SPACE = {
    "optimizer.lr": {"suggest": "float", "low": 0.001, "high": 0.1, "log": True},
    "training.batch_size": {"suggest": "int", "low": 32, "high": 128, "step": 32},
    "model": {"suggest": "categorical", "choices": ["baseline", "own"]},
}


def some_images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def own_class(part: Driver) -> tuple[type[nn.Module], dict]:
    """Return the class that conf/model/own.yaml names, and the arguments it gives."""
    arguments = OmegaConf.to_container(part.compose("model=own").model)
    target = arguments.pop("_target_", None)
    arguments.pop("_convert_", None)
    file, _, name = str(target).rpartition(".")
    models = part.load("models.py")
    # What it inherits and imports is there by name, too; nn.Linear is nobody's architecture.
    written = [
        name
        for name, member in inspect.getmembers(models, inspect.isclass)
        if issubclass(member, nn.Module) and member.__module__ == models.__name__
    ]
    assert file == "models" and name in written, (
        f"conf/model/own.yaml names {target}; expected a class of models.py, such as models.Own"
    )
    return getattr(models, name), arguments


@check("3.1")
def the_architecture_is_sound(part: Driver) -> None:
    kind, arguments = own_class(part)
    torch.manual_seed(0)
    expect_sound(kind(**arguments), kind.__name__)


def expect_sound(model: nn.Module, name: str = "the model") -> None:
    """Assert that a model can be trained and compared, whatever its architecture.

    model : newly made; it is trained here
    """
    images, labels = some_images(20), torch.arange(20) % 10
    assert not any(map(is_lazy, model.parameters())), (
        "a lazy layer has no weights before its first image, and the optimizer needs them earlier; "
        "expected nn.Linear, nn.Conv2d ... with their sizes"
    )
    model.eval()
    with torch.inference_mode():
        logits = model(images)
        assert isinstance(logits, torch.Tensor) and logits.shape == (20, 10), (
            f"twenty images give {tuple(getattr(logits, 'shape', ()))} of {name}; expected logits "
            "of shape (20, 10)"
        )
        assert logits.dtype == torch.float32, f"the logits are {logits.dtype}; expected float32"
        for value, what in ((0.0, "a blank image"), (-0.8, "a black one"), (2.0, "a white one")):
            found = model(torch.full((2, 1, 28, 28), value))
            assert found.isfinite().all(), f"{what} gives NaN or infinity; expected numbers"
        alone = torch.cat([model(image[None]) for image in images[:5]])
        assert torch.allclose(alone, logits[:5], atol=1e-4), (
            "in evaluation mode an image alone gives other logits than in a batch; expected that "
            "no image depends on those beside it"
        )
        sums = logits.exp().sum(dim=1), logits.sum(dim=1)
        assert not any(torch.allclose(s, torch.ones(20), atol=1e-4) for s in sums), (
            "the logits are probabilities already; expected the output of the last layer: the loss "
            "applies the softmax"
        )

    model.train()
    weights = dict(model.named_parameters())
    assert weights, f"{name} has no weights; expected some"
    frozen = [name for name, weight in weights.items() if not weight.requires_grad]
    assert not frozen, f"{', '.join(frozen)} cannot be trained; expected requires_grad"
    optimizer, losses, reached = torch.optim.Adam(model.parameters(), lr=0.002), [], set()
    for _ in range(15):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        for key, weight in model.named_parameters():
            if weight.grad is not None and (weight.grad != 0).any():
                reached.add(key)
        optimizer.step()
        losses.append(loss.item())
    untrained = [key for key in weights if key not in reached]
    assert not untrained, (
        f"no gradient reaches {', '.join(untrained)}; expected that every weight is used, and so "
        "trained"
    )
    hidden = _layers_out_of_sight(model)
    assert not hidden, (
        f"self.{hidden[0]} is a plain list of layers, whose weights PyTorch neither trains nor "
        "saves; expected nn.Sequential or nn.ModuleList"
    )
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0] - 0.05, (
        f"after 15 steps on twenty images the loss went from {losses[0]:.3f} to {losses[-1]:.3f}; "
        "expected that it falls"
    )


def _layers_out_of_sight(model: nn.Module) -> list[str]:
    return [
        name
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, (list, tuple, dict))
        and not name.startswith("_")
        and any(
            isinstance(item, nn.Module)
            for item in (value.values() if isinstance(value, dict) else value)
        )
    ]


@check("3.2")
def the_architecture_can_be_chosen(part: Driver) -> None:
    kind, arguments = own_class(part)
    assert kind.__name__ != "Baseline", (
        "conf/model/own.yaml names models.Baseline; expected your own class"
    )
    parameters = inspect.signature(kind.__init__).parameters
    takes = [name for name in parameters if name != "self"]
    try:
        inspect.signature(kind.__init__).bind(None, **arguments)
    except TypeError as error:
        raise AssertionError(
            f"conf/model/own.yaml gives {', '.join(arguments) or 'nothing'} to {kind.__name__} "
            f"({error}); expected values for {', '.join(takes) or 'nothing'}"
        ) from None


@check("3.3")
def every_image_is_moved_by_itself(part: Driver) -> None:
    shift = part.load("augmentation.py").shift
    torch.manual_seed(0)
    images, most = some_images(400), 2
    before = images.clone()
    moved = shift(images, most)
    assert torch.equal(images, before), "the images themselves were changed; expected new ones"
    shape = tuple(getattr(moved, "shape", ()))
    assert shape == (400, 1, 28, 28), f"the result has the shape {shape}; expected (400, 1, 28, 28)"
    found = {}
    for down in range(-most, most + 1):
        for right in range(-most, most + 1):
            rows = (torch.arange(28) - down).clamp(0, 27)
            columns = (torch.arange(28) - right).clamp(0, 27)
            candidate = images[:, :, rows][:, :, :, columns]
            for number in torch.nonzero((moved == candidate).flatten(1).all(dim=1)).flatten():
                found[int(number)] = (down, right)
    assert len(found) == len(images), (
        f"{len(images) - len(found)} of 400 images are not the original, moved by at most {most} "
        "pixels each way, with the edge repeated; expected all of them"
    )
    for axis, name in enumerate(("down", "right")):
        by = sorted({move[axis] for move in found.values()})
        expected = list(range(-most, most + 1))
        assert by == expected, f"images move {name} by {by} pixels; expected {expected}"
    kinds = len(set(found.values()))
    assert kinds == (2 * most + 1) ** 2, (
        f"in 400 images there are {kinds} moves; expected all {(2 * most + 1) ** 2}: down and "
        "right are drawn apart, for every image"
    )


@check("3.4")
def the_learning_rate_goes_up_and_down_once(part: Driver) -> None:
    kind = part.load("schedules.py").OneCycle
    for warmup in (0.2, 0.5, 0.0):
        schedule = kind(warmup)
        for tenth in range(11):
            done = tenth / 10
            fall = (done - warmup) / (1 - warmup)
            expected = done / warmup if done < warmup else (1 + math.cos(math.pi * fall)) / 2
            found = schedule(done)
            assert isinstance(found, (int, float)) and abs(found - expected) < 1e-6, (
                f"with warmup={warmup}, when {done:.0%} is done, the factor is {found}; "
                f"expected {expected:.4f}"
            )


@check("3.5")
def all_workers_share_one_study(part: Driver) -> None:
    tune = part.load("tune.py")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:

        def opened(file: str, worker: int, sampler: str = "random") -> optuna.Study:
            cfg = part.compose(
                "data=digits", f"sampler={sampler}", "pruner=hyperband", config="tune"
            )
            cfg.update(worker=worker, seed=5, study="checked")
            cfg.storage.path = str(Path(scratch, file))
            return tune.make_study(cfg)

        first = opened("first.journal", worker=0)
        assert isinstance(first, optuna.Study), f"it returned {first!r}; expected the study"
        assert first.study_name == "checked", (
            f"the study is called {first.study_name!r}; expected 'checked', which is cfg.study"
        )
        assert Path(scratch, "first.journal").exists(), (
            "nothing was stored; expected storage=instantiate(cfg.storage)"
        )
        assert first.direction == optuna.study.StudyDirection.MAXIMIZE, (
            "the study looks for the lowest accuracy; expected direction='maximize'"
        )
        for name, expected in (
            ("sampler", optuna.samplers.RandomSampler),
            ("pruner", optuna.pruners.HyperbandPruner),
        ):
            found = getattr(first, name)
            assert isinstance(found, expected), (
                f"with another {name} in the config, the study has {type(found).__name__}; "
                f"expected {expected.__name__}"
            )

        def drawn(study: optuna.Study) -> float:
            return study.ask().suggest_float("x", 0, 1)

        value = drawn(first)
        try:
            second = opened("first.journal", worker=1)
        except optuna.exceptions.DuplicatedStudyError:
            raise AssertionError(
                "a second worker cannot open the study; expected load_if_exists=True"
            ) from None
        assert len(second.trials) == 1, "a second worker does not see the trials of the first"
        assert drawn(second) != value, (
            "two workers draw the same; expected the seed cfg.seed + cfg.worker"
        )
        assert drawn(opened("again.journal", worker=0)) == value, (
            "the same worker of the same seed draws something else; expected cfg.seed + cfg.worker"
        )


@check("3.6")
def the_space_is_drawn_from(part: Driver) -> None:
    draw = part.load("tune.py").draw
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {name: dict(how) for name, how in SPACE.items()}
    expected = {
        "optimizer.lr": optuna.distributions.FloatDistribution(0.001, 0.1, log=True),
        "training.batch_size": optuna.distributions.IntDistribution(32, 128, step=32),
        "model": optuna.distributions.CategoricalDistribution(["baseline", "own"]),
    }
    for turn in ("", "a second time "):
        trial = study.ask()
        overrides = draw(trial, space)
        assert space == SPACE, (
            f"afterwards the space is {space}; expected it as it was, for the trials to come"
        )
        for name, distribution in expected.items():
            found = trial.distributions.get(name)
            assert found == distribution, (
                f"{turn}{name} was drawn from {found}; expected {distribution}"
            )
        wanted = [f"{name}={value}" for name, value in trial.params.items()]
        assert isinstance(overrides, list) and overrides == wanted, (
            f"it returned {overrides!r}; expected {wanted}"
        )


class _Second(optuna.pruners.BasePruner):
    """Ends every trial that reports less than a half, at its second report."""

    def prune(self, study, trial):
        return trial.last_step is not None and trial.last_step >= 2 and (
            trial.intermediate_values[trial.last_step] < 0.5
        )  # fmt: skip


@check("3.7")
def bad_trials_end_early(part: Driver) -> None:
    study = optuna.create_study(pruner=_Second(), direction="maximize")
    for values, ends_at in (((0.3, 0.4, 0.45), 2), ((0.6, 0.7, 0.8), None)):
        tune = part.load("tune.py")
        _replace(tune, cfg := part.compose("data=digits", config="tune"), values, said := [])
        trial = study.ask()
        with part.recording() as run_id:
            try:
                tune.objective(trial, cfg, [], "parent")
                pruned = False
            except optuna.TrialPruned:
                pruned = True
            tag = mlflow.get_run(run_id).data.tags.get("pruned")
        reported = study.trials[trial.number].intermediate_values
        expected = dict(enumerate(values[:ends_at], start=1))
        assert reported == expected, (
            f"the trial knows {reported or 'nothing'} of its epochs; expected {expected}"
        )
        answers = [bool(answer) for answer in said]
        wanted = [epoch == ends_at for epoch in expected]
        assert answers == wanted, (
            f"after the epochs {list(expected)} the run was told to end: "
            f"{answers or 'an exception'}; expected {wanted}, by the value of `pruned`"
        )
        assert pruned == (ends_at is not None), (
            f"`pruned` is {pruned} at the end; expected {not pruned}"
        )
        shown = None if ends_at is None else str(ends_at)
        assert tag == shown, f"the run's tag pruned is {tag}; expected {shown}"


def _replace(tune: ModuleType, cfg: DictConfig, values: tuple[float, ...], said: list) -> None:
    """Let nothing be drawn, composed or trained: an experiment just goes through these values."""

    def experiment(_, stop, **__) -> float:
        for epoch, value in enumerate(values, start=1):
            said.append(stop(epoch, value))
            if said[-1]:
                break
        return max(values)

    tune.draw = lambda trial, space: []
    tune.compose = lambda *_, **__: cfg
    tune.experiment = experiment


@check("3.8")
def a_shared_run_is_published_beside_its_own_record(part: Driver) -> None:
    cfg = part.compose("tracking=shared").tracking
    named = OmegaConf.to_container(cfg)
    target = str(named.pop("_target_", None))
    try:
        kind = get_object(target)
    except Exception:
        kind = None
    assert inspect.isclass(kind) and hasattr(kind, "__enter__"), (
        f"conf/tracking/shared.yaml names {target}; expected the class of "
        "workshop/participant/live.py that is entered beside the run, with its module before it. "
        "(Where the training logs to does not change: it would wait for the network.)"
    )
    assert kind is not contextlib.nullcontext, (
        f"with {target} nothing leaves this computer; expected the class that publishes a run"
    )
    every = named.get("every", 0.5)
    assert isinstance(every, (int, float)) and 0 < every <= 0.5, (
        f"`every` is {every}; expected 0.5: seconds between two looks for news"
    )
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        mock.patch.dict(os.environ, {membership.FOLDER: scratch}),
        rehearsal() as board,
    ):
        membership.join(f"AAAA-AAAA@{board.address}", "check")
        try:
            made = instantiate(cfg)
        except Exception as error:
            raise AssertionError(
                f"{target} cannot be made with {named} ({innermost(error)}); expected its "
                "arguments, as its docstring names them"
            ) from None
        with part.recording() as run_id:
            with made:
                mlflow.log_params({"training.epochs": 3})
                for epoch in (1, 2, 3):
                    mlflow.log_metric("val_accuracy", epoch / 10, step=epoch)
            own = mlflow.get_run(run_id).data.metrics
        _wait_for(board, run_id)
    assert own, "the run's own store has no metrics; expected that it has all of them"
    seen = [(point["step"], point["value"]) for point in board.points.get(run_id, [])]
    assert seen == [(1, 0.1), (2, 0.2), (3, 0.3)] and board.statuses[run_id] == "finished", (
        f"of a run of three epochs the server has {seen or 'nothing'}; expected all three, and "
        "that the run has finished"
    )


def _wait_for(board: Rehearsal, run_id: str, seconds: float = 5.0) -> None:
    """Wait for the end of a run: on a busy machine the last points come after the run's end."""
    deadline = time.monotonic() + seconds
    while board.statuses.get(run_id) != "finished":
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


@check("3.9")
def pixels_go_in_and_the_same_logits_come_out(part: Driver) -> None:
    from_pixels = part.load("trained.py").FromPixels
    to_tensors, predict = part.load("data.py").to_tensors, part.load("engine.py").predict
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28), dtype=np.uint8)
    data = SimpleNamespace(mean=0.3, std=0.35)
    cpu = torch.device("cpu")
    for normalise, mirror in itertools.product((True, False), (True, False)):
        model = _some_network()
        mean, std = (data.mean, data.std) if normalise else (0.0, 1.0)
        module = from_pixels(model, mean, std, mirror)
        assert isinstance(module, nn.Module) and list(module.parameters()), (
            "the module has no weights; expected the model among its attributes, set after "
            "super().__init__()"
        )
        assert not any(layer.training for layer in module.modules()), (
            "the module is in training mode, so that dropout and batch normalisation work as in "
            "training; expected evaluation mode: self.eval()"
        )
        given = torch.tensor(pixels)
        with torch.inference_mode():
            logits = module(given)
        assert torch.equal(given, torch.tensor(pixels)), "the pixels were changed; expected not"
        shape = tuple(getattr(logits, "shape", ()))
        assert shape == (8, 10), f"eight images give the shape {shape}; expected (8, 10)"
        images, _ = to_tensors(data, Split(pixels.copy(), np.zeros(8, np.int64)), cpu, normalise)
        expected = predict(model, images, mirror, torch.float32)
        off = (logits - expected).abs().max().item()
        assert off < 1e-3, (
            f"with mean={mean}, std={std} and mirror={mirror} the logits are off by up to "
            f"{off:.3g}; expected those of data.to_tensors and engine.predict: pixels between 0 "
            "and 1, normalised, and with `mirror` the mean of both sides"
        )


def _some_network() -> nn.Module:
    """Return a network, in training mode, whose layers differ between training and evaluation."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(4 * 13 * 13, 10),
    )  # fmt: skip
    network(3 * torch.randn(64, 1, 28, 28))  # batch normalisation learns something
    return network


@check("3.10")
def only_the_model_that_was_trained_is_sent(part: Driver) -> None:
    check_scores = part.load("submit.py").check_scores
    n = 2000
    chance = np.random.default_rng(0)
    scores = chance.normal(size=(n, 10)).astype(np.float32)
    classes = scores.argmax(axis=1)

    def refused(scores: np.ndarray, expected: np.ndarray) -> bool:
        try:
            check_scores(scores, expected)
        except WorkshopError as error:
            assert str(error), "the error has no message; expected what was found"
            return True
        except Exception as error:
            raise AssertionError(
                f"{type(error).__name__}: {error}; expected a WorkshopError, which a person reads "
                "without a traceback"
            ) from None
        return False

    almost = classes.copy()
    almost[0] = (almost[0] + 1) % 10
    for given, what in ((classes, "agree on every image"), (almost, "differ on 1 of 2,000 images")):
        assert not refused(scores, given), f"scores that {what} are refused; expected not"
    shuffled = chance.permutation(n)
    other = classes.copy()
    other[:20] = (other[:20] + 1) % 10
    not_a_number, infinite = scores.copy(), scores.copy()
    not_a_number[5, (classes[5] + 1) % 10] = np.nan
    infinite[5, classes[5]] = np.inf
    for found, expected, what in (
        (scores[:, :9], np.minimum(classes, 8), "of nine columns"),
        (scores[:-1], classes, "of one image too few"),
        (scores[:, None], classes, "of shape (n, 1, 10)"),
        (not_a_number, classes, "with one NaN"),
        (infinite, classes, "with infinity"),
        (scores, other, "that differ on 20 of 2,000 images"),
        (scores[shuffled], classes, "of the same images in another order"),
    ):
        assert refused(found, expected), f"scores {what} are taken; expected a WorkshopError"
