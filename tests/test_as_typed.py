"""What is written in a search space, a name or a file is what is taken."""

import math

import pytest
from commands import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna import create_study
from optuna.trial import FixedTrial

from workshop.drive import Driver
from workshop.errors import WorkshopError
from workshop.study import as_override, begin, draws

SOLVED = ROOT / "solutions" / "part3_competition"

VALUES = [
    None, "null", "None", "true", "1e4", "0012", "3", "nan", "", "mlp", "é", "a b", "  a", "a,b",
    "a=b", "a:b", "it's", 'say "x"', "[1,2]", "{a: 1}", "range(3)", "choice(1,2)", "back\\slash\\",
    "two\nlines", "#x", "%", "~x", "$x", True, False, 0, 7, -1e-05, 0.1, 1e22, math.inf,
    [512, 512], [None, "1e3", [True]], {"a": None, "b": "2"},
]  # fmt: skip


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """What Hydra makes of one override of a value that is named x."""
    folder = tmp_path_factory.mktemp("conf")
    (folder / "config.yaml").write_text("x: 0\n", encoding="utf-8")

    def compose_one(override: str) -> object:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return OmegaConf.to_container(compose("config", [override]))["x"]

    return compose_one


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_behind_the_name_is_the_value(value, composed):
    found = composed(f"x={as_override(value)}")
    assert (found, type(found)) == (value, type(value))


def test_a_choice_of_nothing_is_nothing_in_the_training():
    space = OmegaConf.create(
        {"training.patience": {"suggest": "categorical", "choices": [None, 5]}}
    )
    tune = Driver(SOLVED).load("tune.py")
    for choice, expected in (("null", None), (5, 5)):
        overrides = tune.draw(FixedTrial({"training.patience": choice}), draws(space))
        cfg = Driver(SOLVED).compose("data=digits", "training.patience=3", *overrides)
        assert cfg.training.patience == expected
        assert type(cfg.training.patience) is type(expected)


def test_only_choices_are_rewritten():
    space = OmegaConf.create(
        {
            "optimizer.lr": {"suggest": "float", "low": 1e-4, "high": 0.1, "log": True},
            "model": {"suggest": "categorical", "choices": ["baseline", "own", 3, 0.5, True]},
        }
    )
    assert draws(space) == OmegaConf.to_container(space)
    trial = create_study().ask()
    assert trial.suggest_categorical("model", draws(space)["model"]["choices"]) is not None


@pytest.mark.parametrize("name", [120000.0, 12, None, True])
def test_a_study_whose_name_became_a_number_is_refused(name):
    with pytest.raises(WorkshopError, match=r"which is no text.*In conf/, put the name in quotes"):
        begin(OmegaConf.create({"study": name}))
