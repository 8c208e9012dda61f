"""What the configuration may hold: type and range of its values, looked at before anything runs.

A value that is not named here is left to whatever takes it, as those of a model are.
"""

from typing import Annotated, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
Share = Annotated[float, Field(ge=0, le=1)]
LessThanOne = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(BaseModel, strict=True):
    flip: bool = False
    shift: NonNegativeInt = 0


class Optimizer(BaseModel, strict=True, allow_inf_nan=False):
    lr: NonNegativeFloat = 0
    momentum: NonNegativeFloat = 0  # of SGD
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0


class Schedule(BaseModel, strict=True):
    warmup: LessThanOne = 0


class Loss(BaseModel, strict=True):
    label_smoothing: Share = 0


class Training(BaseModel, strict=True):
    epochs: PositiveInt
    batch_size: PositiveInt
    normalise: bool
    loss: Loss
    average: LessThanOne | None
    mirror: bool
    precision: Literal["float32", "bfloat16"]
    patience: PositiveInt | None
    state_every: PositiveInt
    threads: PositiveInt


class Settings(BaseModel, strict=True):
    seed: Seed
    portable: bool
    augmentation: Augmentation
    optimizer: Optimizer
    schedule: Schedule
    training: Training


class Search(Settings, strict=True):
    """What tune.py takes besides."""

    trials: PositiveInt
    failures: PositiveInt
    worker: NonNegativeInt


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that names what cannot be; plain_errors makes a message of it."""
    kind = Search if "trials" in cfg else Settings
    kind.model_validate(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
