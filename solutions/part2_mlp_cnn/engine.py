"""What an epoch is made of: a training step, a pass over the training set, predictions."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from workshop.errors import WorkshopError


def train_step(
    model: nn.Module, images: Tensor, labels: Tensor, loss: nn.Module, optimizer: Optimizer
) -> Tensor:
    """Improve the model on one batch and return the batch's loss, without its graph."""
    ##TODO 2.5## Forget the old gradients, compute the loss of the model's logits, compute its
    ## gradients, let the optimizer take a step, and return the loss, detached from its graph.
    optimizer.zero_grad()
    value = loss(model(images), labels)
    value.backward()
    optimizer.step()
    return value.detach()
    ##END##


def train_epoch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    batches: Iterable[Tensor],
    loss: nn.Module,
    optimizer: Optimizer,
) -> Tensor:
    """Train on every batch, a tensor of image indices; return the loss of each step."""
    model.train()  # dropout on
    losses = []
    for batch in batches:
        chosen = images.index_select(0, batch), labels.index_select(0, batch)
        losses.append(train_step(model, *chosen, loss, optimizer))
    return torch.stack(losses)  # .item() in each step would make a GPU wait for Python


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of all images, of shape (n, 10)."""
    ##TODO 2.6## Switch the model to evaluation mode (dropout off) and return its logits for all
    ## images, 1,000 at a time so that they need little memory, without recording gradients.
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(batch) for batch in images.split(1000)])
    ##END##


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
