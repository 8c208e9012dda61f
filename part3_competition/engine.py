"""What an epoch is made of: a training step with all that the recipe asks for, predictions."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from workshop.errors import WorkshopError

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def average_of(model: nn.Module, decay: float | None) -> AveragedModel | None:
    """Return a moving average of the model's weights, None without a decay.

    After every step the average keeps this share of itself and takes the rest from the model.
    """
    if decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def train_step(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: nn.Module,
    optimizer: Optimizer,
    precision: torch.dtype,
) -> Tensor:
    """Improve the model on one batch and return the batch's loss, without its graph."""
    optimizer.zero_grad()
    with computing_in(precision, images.device):
        value = loss(model(images), labels)
    value.backward()
    optimizer.step()
    return value.detach()


def train_epoch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    batches: Iterable[Tensor],
    loss: nn.Module,
    optimizer: Optimizer,
    precision: torch.dtype,
    augmentation: Callable[[Tensor], Tensor],
    schedule: LRScheduler,
    average: AveragedModel | None,
) -> Tensor:
    """Train on every batch, a tensor of image indices; return the loss of each step."""
    model.train()  # dropout on
    losses = []
    for batch in batches:
        chosen = augmentation(images.index_select(0, batch)), labels.index_select(0, batch)
        losses.append(train_step(model, *chosen, loss, optimizer, precision))
        schedule.step()
        if average is not None:
            average.update_parameters(model)
    return torch.stack(losses)  # .item() in each step would make a GPU wait for Python


def predict(model: nn.Module, images: Tensor, mirror: bool, precision: torch.dtype) -> Tensor:
    """Return the logits of all images, of shape (n, 10), as float32.

    With `mirror`, those of an image and of its mirror image are averaged: two opinions for one.
    """
    model.eval()
    with torch.inference_mode(), computing_in(precision, images.device):
        logits = torch.cat([model(batch) for batch in images.split(250)]).float()
    if mirror:
        logits = (logits + predict(model, images.flip(3), False, precision)) / 2
    return logits


def computing_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """Let the layers that cost most compute in this precision; weights and losses keep theirs."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is that of their label."""
    return (logits.argmax(dim=1) == labels).double().mean().item()


def check_fit(model: nn.Module, images: Tensor, classes: Sequence[str]) -> None:
    """Refuse a model made for other images, or for another number of classes, than the data has.

    Raises
    ------
    WorkshopError
        It cannot take the images, or returns fewer or more logits than there are classes.
    """
    model.eval()
    try:
        with torch.inference_mode():
            shape = tuple(model(images[:2]).shape)
    except RuntimeError as error:
        size = " x ".join(map(str, images.shape[2:]))
        raise WorkshopError(
            f"The model cannot take the images of this data set, {size} pixels: {error}. Expected "
            "a model made for them: see the arguments of its class in models.py, and conf/model/."
        ) from None
    if shape != (len(images[:2]), len(classes)):
        raise WorkshopError(
            f"For {len(images[:2])} images the model returns values of shape {shape}, expected "
            f"{(len(images[:2]), len(classes))}: the data set has {len(classes)} classes. See the "
            "arguments of its class in models.py, and conf/model/."
        )
