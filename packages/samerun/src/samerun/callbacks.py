"""Callbacks that a project with Hydra may name in its configuration, under hydra.callbacks."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from samerun.portable import use_portable


class Portable(Callback):
    """Heed `portable: true` before a sweep has any workers.

    A worker of a launcher such as joblib cannot start itself again, but has the variables of the
    process that started it.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.get("portable"):
            use_portable(True)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if config.get("portable"):
            use_portable(True)
