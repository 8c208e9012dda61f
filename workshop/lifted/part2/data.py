"""Preprocessing for PyTorch: the examples of a split become one tensor, normalised once."""

import torch
from data_source import Dataset, Split, load_dataset
from omegaconf import OmegaConf
from torch import Tensor

from samerun import RecordError


def to_tensors(dataset: Dataset, split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return float32 of shape (n, 1, height, width) and labels of shape (n,) on the device.

    They are normalised by mean and standard deviation of the training split.
    """
    images = torch.tensor((split.images - dataset.mean) / dataset.std, dtype=torch.float32)
    return images.unsqueeze(1).to(device), torch.tensor(split.labels, device=device)


def shuffled(labels: Tensor, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
    """Return the indices of all examples, batch by batch, in an order drawn from `order`."""
    indices = torch.randperm(len(labels), generator=order)  # on the CPU: the same on every device
    return indices.to(labels.device).split(batch_size)


def fact(what: str, name: str) -> int:
    """Return what a model has to know of a data set: how many `pixels`, the `side`, the `classes`.

    conf/model asks for it, as ${of_data:side,NAME}, so that it is right for any data set and
    stands in the configuration that a run records.

    Raises
    ------
    RecordError
        The side is asked of something that is not square.
    """
    dataset = load_dataset(name)
    height, width = dataset.shape
    if what == "side" and height != width:
        raise RecordError(
            f"This model expects square images, and the examples of {name!r} have the shape "
            f"{height} x {width}. Choose a model that takes any shape, or pad them in "
            "data_source.py."
        )
    return {"pixels": height * width, "side": width, "classes": len(dataset.classes)}[what]


OmegaConf.register_new_resolver("of_data", fact, replace=True)
