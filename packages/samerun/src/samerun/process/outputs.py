"""Where Hydra makes the folders of its jobs: it fails with a traceback where it may not write."""

import os
import sys
from pathlib import Path

DEFAULTS = ("outputs", "multirun")  # Hydra's own, in the folder where the command was typed
CHOICES = ("hydra.run.dir=", "hydra.sweep.dir=")


def complaint(conf: Path) -> str | None:
    """Return what to do if Hydra cannot make its outputs, None if it can or puts them elsewhere.

    conf : the folder with the script's configuration, which may name another place
    """
    arguments = sys.argv[1:]
    many = any(argument in ("-m", "--multirun") for argument in arguments)
    folder = Path(DEFAULTS[many])
    place = folder if folder.exists() else Path()
    if os.access(place, os.W_OK) or any(a.lstrip("+").startswith(CHOICES) for a in arguments):
        return None
    if any(_is_question(argument) for argument in arguments) or _is_chosen_in(conf):
        return None
    return (
        f"{place.absolute()} cannot be written to, and Hydra keeps the log of a job below it. "
        f"Start the command in another folder, or name another: {CHOICES[many]}/path/to/outputs"
    )


def _is_question(argument: str) -> bool:
    """Say whether Hydra only shows something for this argument."""
    shown = ("--help", "--hydra-help", "--version", "--cfg", "--info")
    return argument in ("-c", "-i") or argument.startswith(shown)


def _is_chosen_in(conf: Path) -> bool:
    from omegaconf import DictConfig, OmegaConf

    chosen = ("hydra.run.dir", "hydra.sweep.dir", "hydra.defaults")
    for path in conf.rglob("*.yaml"):
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig):
            continue
        if any(OmegaConf.select(config, key, throw_on_missing=False) for key in chosen):
            return True
        if any("hydra" in str(item) for item in config.get("defaults", [])):
            return True  # a group of Hydra's own may set them
    return False
