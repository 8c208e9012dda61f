"""What the configuration may hold: type and range of its values, looked at before anything runs.

A value that is not named here is left to whatever takes it.
"""

from typing import Annotated

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
Share = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel, strict=True):
    hidden: list[PositiveInt] = []  # of the MLP
    channels: list[PositiveInt] = []  # of the CNN
    kernel_size: PositiveInt = 1
    dropout: Share = 0


class Optimizer(BaseModel, strict=True, allow_inf_nan=False):
    lr: NonNegativeFloat = 0
    momentum: NonNegativeFloat = 0  # of SGD
    fused: bool = False


class Training(BaseModel, strict=True):
    epochs: PositiveInt
    batch_size: PositiveInt
    patience: PositiveInt | None
    checkpoint_every: PositiveInt
    state_every: PositiveInt
    threads: PositiveInt


class Settings(BaseModel, strict=True):
    seed: Seed
    portable: bool
    model: Model
    optimizer: Optimizer
    training: Training


def check(cfg: DictConfig) -> None:
    """Refuse a configuration that names what cannot be; plain_errors makes a message of it."""
    Settings.model_validate(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
