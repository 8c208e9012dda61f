"""The checks of part 3. Functions are called by themselves; an architecture is judged by what it
does, whatever it is made of."""

import contextlib
import inspect
import itertools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType, SimpleNamespace
from typing import ClassVar
from unittest import mock

import mlflow
import numpy as np
import optuna
import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from samerun.errors import innermost
from workshop import made_up
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
    "training.average": {"suggest": "float", "low": 0.5, "high": 0.75, "step": 0.125},
    "model.width": {"suggest": "int", "low": 4, "high": 64, "log": True},
}


def some_images(n: int, seed: int = 0, side: int = 28) -> torch.Tensor:
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def own_class(part: Driver) -> tuple[type[nn.Module], dict]:
    """Return the class that conf/model/own.yaml names, and the arguments it gives."""
    arguments = OmegaConf.to_container(part.compose("model=own").model)
    target = arguments.pop("_target_", None)
    for word in ("_convert_", "_recursive_"):  # Hydra's own
        arguments.pop(word, None)
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
    given = images.clone()
    with torch.inference_mode():
        logits = model(images)
        assert torch.equal(images, given), (
            f"{name} changes the images that it gets; expected not: no first layer that works in "
            "place"
        )
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
        assert (logits < 0).any() or (model(-9 * images) < 0).any(), (
            "no logit is negative; expected the output of the last layer, without a ReLU or a "
            "sigmoid after it"
        )

    model.train()
    weights = dict(model.named_parameters())
    assert weights, f"{name} has no weights; expected some"
    frozen = [name for name, weight in weights.items() if not weight.requires_grad]
    assert not frozen, f"{', '.join(frozen)} cannot be trained; expected requires_grad"
    optimizer, losses, reached = torch.optim.Adam(model.parameters(), lr=0.002), [], set()
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        for key, weight in model.named_parameters():
            if weight.grad is not None and (weight.grad != 0).any():
                reached.add(key)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) >= 15 and losses[-1] < losses[0] - 0.05:
            break
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
        f"after {len(losses)} steps on twenty images the loss went from {losses[0]:.3f} to "
        f"{losses[-1]:.3f}; expected that it falls"
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
    takes = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    given = ", ".join(f"{name}: {value}" for name, value in arguments.items()) or "nothing"
    missing = [name for name, value in arguments.items() if value == "???"]
    assert not missing, (
        f"conf/model/own.yaml gives {missing[0]} no value: ??? is Hydra's word for one that is "
        "missing; expected a value"
    )
    try:
        inspect.signature(kind.__init__).bind(None, **arguments)
        kind(**arguments)
    except NotImplementedError:  # TODO 3.1 is open
        return
    except Exception as error:
        raise AssertionError(
            f"{kind.__name__} cannot be made with {given} ({type(error).__name__}: {error}); "
            f"expected values for {', '.join(takes) or 'nothing'}"
        ) from None


@check("3.3")
def every_image_is_moved_by_itself(part: Driver) -> None:
    shift = part.load("augmentation.py").shift
    for most, height, width in ((2, 28, 28), (1, 20, 24)):
        torch.manual_seed(0)
        _expect_moves(shift, torch.rand(400, 1, height, width), most)
    images = some_images(60)
    torch.manual_seed(1)
    first, second = shift(images, 2), shift(images, 2)
    torch.manual_seed(1)
    again = shift(images, 2)
    assert not torch.equal(first, second), "every batch is moved alike; expected new moves"
    assert torch.equal(first, again), (
        "the same seed of PyTorch gives other moves; expected torch.randint, so that a run can be "
        "repeated and continued"
    )
    few, many = (_work(part, shift, some_images(n)) for n in (20, 200))
    assert many.steps <= few.steps + 20, (
        f"20 images take {few.steps} steps, 200 images {many.steps}; expected as many: no loop "
        "over the images"
    )
    assert len(few.without_device) <= few.moved, (
        f"torch.{few.without_device[0]} makes a tensor on the CPU, wherever the images are; "
        "expected device=images.device"
    )


class _Work(TorchFunctionMode):
    """Counts what PyTorch is told to do, and notes which tensors are made on no device."""

    MAKE = ("arange", "empty", "full", "normal", "ones", "rand", "randint", "randn", "randperm",
            "tensor", "zeros")  # fmt: skip

    def __init__(self):
        super().__init__()
        self.steps, self.moved, self.without_device = 0, 0, []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.steps += 1
        name = getattr(function, "__name__", "")
        self.moved += name == "to"
        if name in self.MAKE and (kwargs or {}).get("device") is None:
            self.without_device.append(name)
        return function(*args, **(kwargs or {}))


def _work(part: Driver, shift: Callable, images: torch.Tensor) -> _Work:
    """Return the work of moving these images, the lines of the part among its steps."""
    work = _Work()

    def count(frame: FrameType, event: str, _: object) -> Callable | None:
        if not Path(frame.f_code.co_filename).is_relative_to(part.folder):
            return None
        work.steps += event in ("line", "call")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        with work:
            shift(images, 2)
    finally:
        sys.settrace(before)
    return work


def _expect_moves(shift: Callable, images: torch.Tensor, most: int) -> None:
    """Assert that 400 images come back moved, each by itself, in all ways there are."""
    n, _, height, width = images.shape
    before = images.clone()
    moved = shift(images, most)
    assert torch.equal(images, before), "the images themselves were changed; expected new ones"
    shape = tuple(getattr(moved, "shape", ()))
    assert shape == images.shape, (
        f"the result has the shape {shape}; expected {tuple(images.shape)}"
    )
    assert moved.dtype == images.dtype, f"the result is {moved.dtype}; expected {images.dtype}"
    found = {}
    for down in range(-most, most + 1):
        for right in range(-most, most + 1):
            rows = (torch.arange(height) - down).clamp(0, height - 1)
            columns = (torch.arange(width) - right).clamp(0, width - 1)
            off = (moved - images[:, :, rows][:, :, :, columns]).abs().flatten(1).amax(dim=1)
            for number in torch.nonzero(off < 1e-3).flatten():
                found[int(number)] = (down, right)
    assert len(found) == n, (
        f"{n - len(found)} of {n} images are not the original, moved by at most {most} "
        "pixels each way, with the edge repeated; expected all of them"
    )
    for axis, name in enumerate(("down", "right")):
        by = sorted({move[axis] for move in found.values()})
        expected = list(range(-most, most + 1))
        assert by == expected, f"images move {name} by {by} pixels; expected {expected}"
    kinds = len(set(found.values()))
    assert kinds == (2 * most + 1) ** 2, (
        f"in {n} images there are {kinds} moves; expected all {(2 * most + 1) ** 2}: down and "
        "right are drawn apart, for every image"
    )


@check("3.4")
def the_learning_rate_goes_up_and_down_once(part: Driver) -> None:
    kind = part.load("schedules.py").OneCycle
    for warmup in (0.2, 0.5, 0.0):
        schedule = kind(warmup)
        for tenth in (*range(11), 3, 0):  # in whatever order: nothing is remembered
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

        def opened(file: str, worker: int, seed: int = 5) -> optuna.Study:
            cfg = part.compose("data=digits", "sampler=random", "pruner=none", config="tune")
            cfg.pruner = {"_target_": "optuna.pruners.ThresholdPruner", "upper": 0.5}
            cfg.update(worker=worker, seed=seed, study="checked")
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
            ("pruner", optuna.pruners.ThresholdPruner),
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
        other = drawn(second)
        assert other != value, "two workers draw the same; expected the seed cfg.seed + cfg.worker"
        for worker, seed, expected in ((0, 5, value), (0, 6, other), (2, 4, other)):
            assert drawn(opened(f"{worker}-{seed}.journal", worker, seed)) == expected, (
                f"worker {worker} with seed={seed} draws something else than another one whose "
                "worker and seed add up to the same; expected cfg.seed + cfg.worker"
            )
        ended = opened("ended.journal", worker=0).ask()
        ended.report(0.9, 1)
        assert ended.should_prune(), (
            "the pruner's own arguments are lost; expected instantiate(cfg.pruner)"
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
        "training.average": optuna.distributions.FloatDistribution(0.5, 0.75, step=0.125),
        "model.width": optuna.distributions.IntDistribution(4, 64, log=True),
    }
    for turn in ("", "a second time "):
        trial = study.ask()
        overrides = draw(trial, space)
        assert set(trial.params) == set(expected), (
            f"drawn were {', '.join(trial.params) or 'no values'}; expected {', '.join(expected)}"
        )
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


class _Strict(optuna.pruners.BasePruner):
    """Ends some trials at the epoch that stands here, by their number, whatever they report."""

    ENDS: ClassVar = {0: 2, 2: 1, 3: 3}

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.last_step == self.ENDS.get(trial.number)


@check("3.7")
def bad_trials_end_early(part: Driver) -> None:
    study = optuna.create_study(pruner=_Strict(), direction="maximize")
    tune, cfg = part.load("tune.py"), part.compose("data=digits", config="tune")
    for values in ((0.3, 0.4, 0.45), (0.2, 0.1, 0.0), (0.9, 0.8, 0.7), (0.5, 0.25, 0.75)):
        _replace(tune, cfg, values, said := [])
        trial = study.ask()
        ends_at = _Strict.ENDS.get(trial.number)
        with part.recording() as run_id:
            try:
                tune.objective(trial, cfg, [], "parent")
                pruned = False
            except optuna.TrialPruned:
                pruned = True
            tags = mlflow.get_run(run_id).data.tags
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
        shown, tag = None if ends_at is None else str(ends_at), tags.get("pruned")
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
    by_itself = inspect.signature(kind.__init__).parameters.get("every")
    every = named.get("every", by_itself and by_itself.default)
    assert every == 0.5, f"`every` is {every}; expected 0.5: seconds between two looks for news"
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
    side, classes = made_up.SIDE, len(made_up.CLASSES)
    pixels = np.random.default_rng(0).integers(0, 256, (8, side, side), dtype=np.uint8)
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
        assert shape == (8, classes), (
            f"eight images give the shape {shape}; expected {(8, classes)}"
        )
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
    left = (made_up.SIDE - 1) // 2  # of a side, after a stride of two
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(4 * left * left, len(made_up.CLASSES)),
    )  # fmt: skip
    network(3 * some_images(64, side=made_up.SIDE))  # batch normalisation learns something
    return network


@check("3.10")
def only_the_model_that_was_trained_is_sent(part: Driver) -> None:
    check_scores = part.load("submit.py").check_scores
    n = 2000
    chance = np.random.default_rng(0)
    scores = chance.normal(size=(n, 10)).astype(np.float32)
    classes = scores.argmax(axis=1)

    def refusal(scores: np.ndarray, expected: np.ndarray) -> str | None:
        try:
            check_scores(scores, expected)
        except WorkshopError as error:
            assert len(str(error)) >= 10, f"the error says {error}; expected what was found"
            return str(error)
        except Exception as error:
            raise AssertionError(
                f"{type(error).__name__}: {error}; expected a WorkshopError, which a person reads "
                "without a traceback"
            ) from None
        return None

    def with_others(count: int) -> np.ndarray:
        other = classes.copy()
        other[:count] = (other[:count] + 1) % 10
        return other

    for count, what in ((0, "agree on every image"), (2, "differ on 2 of 2,000 images")):
        why = refusal(scores, with_others(count))
        assert why is None, f"scores that {what} are refused ({why}); expected not"
    shuffled = chance.permutation(n)
    not_a_number, infinite, less = scores.copy(), scores.copy(), scores.copy()
    not_a_number[5, (classes[5] + 1) % 10] = np.nan
    infinite[5, classes[5]] = np.inf
    less[5, (classes[5] + 1) % 10] = -np.inf
    for found, expected, what, number in (
        (scores[:, :9], np.minimum(classes, 8), "of nine columns", "9"),
        (np.c_[scores, np.full(n, -9)], classes, "of eleven columns", "11"),
        (scores[:-1], classes, "of one image too few", "1999"),
        (np.r_[scores, scores[:1]], classes, "of one image too many", "2001"),
        (scores[:, None], classes, "of shape (n, 1, 10)", ""),
        (not_a_number, classes, "with one NaN", ""),
        (infinite, classes, "with infinity", ""),
        (less, classes, "with minus infinity", ""),
        (scores, with_others(3), "that differ on 3 of 2,000 images", ""),
        (scores, with_others(20), "that differ on 20 of 2,000 images", ""),
        (scores[shuffled], classes, "of the same images in another order", ""),
    ):
        why = refusal(found, expected)
        assert why is not None, f"scores {what} are taken; expected a WorkshopError"
        assert number in why.replace(",", "").replace("_", ""), (
            f"of scores {what} the message is {why!r}; expected what was found, {found.shape}"
        )
    few = refusal(scores, with_others(200))
    assert few and any(letter.isdigit() for letter in few), (
        f"of scores that differ on 200 of 2,000 images the message is {few!r}; expected how many"
    )
