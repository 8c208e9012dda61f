"""No value of a configuration may be nonsense: settings.py refuses it, or who takes it does."""

import math

import mlflow
import pytest
from commands import ROOT, call
from omegaconf import OmegaConf
from pydantic import ValidationError

from samerun.config import leaves
from workshop.drive import Crash, Driver

SOLUTIONS = ROOT / "solutions"
PARTS = ("part1_logistic_regression", "part2_mlp_cnn", "part3_competition")
LABELS = {"experiment", "preprocessing.name"}  # any text will do
OTHER_GROUPS = {"sweep", "recipe", "ablation", "space", "sampler", "pruner", "storage", "tracking"}


def choices(part):
    """Yield every choice of a group of the configuration, and what it makes of the whole."""
    for path in sorted((part.folder / "conf").glob("*/*.yaml")):
        if path.parent.name not in OTHER_GROUPS:
            choice = f"{path.parent.name}={path.stem}"
            yield choice, part.compose(choice)


def is_refused(part, cfg):
    try:
        part.load("settings.py").check(cfg)
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize("folder", PARTS)
def test_no_value_of_the_configuration_takes_nonsense(folder, monkeypatch):
    # With this folder, loading the data would end in another message.
    monkeypatch.setenv("FASHION_MNIST_DIR", "nowhere")
    part, left, refused = Driver(SOLUTIONS / folder), {}, set()
    for choice, cfg in choices(part):
        assert not is_refused(part, cfg)
        for name, value in leaves(OmegaConf.to_container(cfg, resolve=True)):
            if name in LABELS or name.endswith(("_target_", "_convert_")):  # which Hydra refuses
                continue
            changed = cfg.copy()
            OmegaConf.update(changed, name, [1, 2] if isinstance(value, str) else "nonsense")
            if is_refused(part, changed):
                refused.add(name)
            else:
                left[name] = [choice, f"{name}={'[1,2]' if isinstance(value, str) else 'nonsense'}"]
    assert {"seed", "portable"} <= refused
    for name, overrides in left.items():
        with pytest.raises(Crash) as ended:
            part.command("train.py", *overrides)
        assert str(ended.value).startswith("error: "), name
        assert "nowhere" not in str(ended.value), f"{name} is looked at after the data is loaded"


@pytest.mark.parametrize(
    ("folder", "name", "values"),
    [
        *((folder, "seed", (-1, 2**32, True, 1.0, None)) for folder in PARTS),
        *((folder, "portable", (0, "yes", None)) for folder in PARTS),
        (PARTS[0], "threads", (0, 1.5)),
        (PARTS[0], "model.C", (0, -1, math.nan, "0.1")),
        (PARTS[0], "model.max_iter", (0, 2.5, True)),
        (PARTS[0], "model.alpha", (-1,)),
        *((folder, "training.threads", (0,)) for folder in PARTS[1:]),
        *((folder, "optimizer.lr", (math.inf, math.nan, True)) for folder in PARTS[1:]),
        *((folder, "optimizer.momentum", (-0.1, math.inf, "much")) for folder in PARTS[1:]),
        (PARTS[1], "optimizer.fused", ("yes", 1)),
        (PARTS[2], "optimizer.nesterov", ("yes", 1)),
        (PARTS[2], "optimizer.weight_decay", (-0.1, math.nan)),
    ],
)
def test_settings_end_where_they_end(folder, name, values):
    part = Driver(SOLUTIONS / folder)
    for value in values:
        cfg = part.compose()
        OmegaConf.update(cfg, name, value, force_add=True)
        assert is_refused(part, cfg), f"{name}={value}"


@pytest.mark.parametrize(
    ("folder", "values"),
    [
        (PARTS[0], {"seed": 2**32 - 1, "threads": 1, "model.C": math.inf, "model.max_iter": 1}),
        (PARTS[0], {"seed": 0, "model.alpha": 0, "model.C": 1}),
        (PARTS[1], {"seed": 2**32 - 1, "optimizer.lr": 0, "model.dropout": 1, "model.hidden": []}),
        (PARTS[2], {"seed": 0, "optimizer.momentum": 0, "schedule.warmup": 0}),
    ],
)
def test_settings_take_what_is_at_their_ends(folder, values):
    cfg = Driver(SOLUTIONS / folder).compose()
    for name, value in values.items():
        OmegaConf.update(cfg, name, value, force_add=True)
    assert not is_refused(Driver(SOLUTIONS / folder), cfg)


@pytest.mark.slow
def test_a_sweep_names_its_job_with_a_value_that_cannot_be(mlflow_store, tmp_path):
    train = SOLUTIONS / PARTS[0] / "train.py"
    with pytest.raises(Crash, match=r"1 of 2 jobs failed:\s+seed=abc\s+seed=abc: it should be a"):
        call(train, "-m", "data=digits", "seed=1,abc", "experiment=12e4", cwd=tmp_path)
    (recorded,) = mlflow.search_runs(experiment_names=["12e4"], output_format="list")
    assert recorded.data.params["seed"] == "1"
