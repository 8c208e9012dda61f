"""A finished run's model: built again from what the run recorded, and made ready to leave."""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import mlflow
import torch
from checkpoints import BEST, CONFIG, FOLDER, load
from hydra.utils import instantiate
from mlflow.entities import Run
from omegaconf import DictConfig
from resuming import own_config
from torch import Tensor, nn

from samerun import RecordError, set_up, with_secrets
from samerun.display.screen import fetch
from samerun.store.tracking import no_progress_bars
from workshop.course import ROOT
from workshop.data import Dataset, load_training_data
from workshop.errors import WorkshopError
from workshop.sealed import check_digest

NEEDS = (CONFIG, f"{FOLDER}/{BEST}")
PART = Path(__file__).parent


def load_trained(
    run: Run,
    device_name: str,
    cfg: DictConfig,
    build: Callable[[DictConfig], nn.Module] = instantiate,
) -> tuple[DictConfig, nn.Module, Dataset, torch.device]:
    """Return a run's configuration, the model with its best weights, the data and the device.

    `cfg` is that of the present command, which has to give again what secrets the model takes;
    `build` makes a model of its configuration.

    Raises
    ------
    RecordError
        Data or code are no longer those of the run, or a secret is lacking.
    """
    run_id = run.info.run_id
    with no_progress_bars():
        weights = load(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/{FOLDER}/{BEST}"))
    needed = ("seed", "training.threads", "data.name", "model")
    trained = with_secrets(own_config(run), cfg, needed)
    dataset = load_training_data(trained.data.name)
    check_digest(run, dataset)
    device = set_up(
        trained.seed, trained.training.threads, device_name, portable=trained.get("portable", False)
    )
    model = build(trained.model).to(device)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise WorkshopError(
            f"The weights of the run {run_id} do not fit the model that models.py makes today: "
            f"{error}\nCheck out the code of the run: uv run workshop trace {run_id[:8]}"
        ) from None
    return trained, model, dataset, device


def models_of(run: Run) -> Callable[[DictConfig], nn.Module]:
    """Return what builds the model of a run, with the models.py of the part that trained it."""
    folder = PART
    with contextlib.suppress(RecordError):  # it has no trace
        folder = (ROOT / (fetch(run).script or __file__)).parent
    if folder.name == PART.name:
        return instantiate
    spec = importlib.util.spec_from_file_location("models", folder / "models.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)

    def build(config: DictConfig) -> nn.Module:
        file, _, name = config._target_.rpartition(".")
        if file != "models":
            return instantiate(config)
        return getattr(models, name)(**{k: v for k, v in config.items() if k != "_target_"})

    return build


class FromPixels(nn.Module):
    """A trained model that carries its preprocessing: pixels in, logits out.

    The server has the pixels and this module. What `to_tensors` and `predict` do to an image on its
    way through the model, it has to do itself.

    model : takes float32 of shape (n, 1, 28, 28)
    mean, std : of pixels between 0 and 1, by which the model's images were normalised
    mirror : whether the logits are those of an image averaged with those of its mirror image
    """

    ##TODO 3.9## Write `__init__`, which takes model, mean, std and mirror and puts the module into
    ## evaluation mode, and `forward`, which takes pixels, uint8 of shape (n, 28, 28) from 0 to 255,
    ## and returns logits of shape (n, 10): the same that data.to_tensors and engine.predict make.
    def __init__(self, model: nn.Module, mean: float, std: float, mirror: bool):
        raise NotImplementedError("TODO 3.9: write a module that takes pixels")
    ##END##
