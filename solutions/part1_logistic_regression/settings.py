"""What the configuration may hold: type and range of its values, looked at before anything runs.

A value that is not named here is left to whatever takes it, as those of scikit-learn's classes are.
"""

from typing import Annotated

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes


class Model(BaseModel, strict=True):
    C: PositiveFloat = 1  # of the logistic regression
    max_iter: PositiveInt = 1
    alpha: NonNegativeFloat = 0  # of the ridge classifier


class Settings(BaseModel, strict=True):
    seed: Seed
    portable: bool
    threads: PositiveInt
    model: Model


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that names what cannot be; plain_errors makes a message of it."""
    Settings.model_validate(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
