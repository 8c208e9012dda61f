"""Preprocessing for PyTorch: the examples of a split become one tensor, once."""

import torch
from data_source import Dataset, Split, load_dataset
from omegaconf import OmegaConf
from torch import Tensor

from samerun import RecordError


def to_tensors(
    dataset: Dataset, split: Split, device: torch.device, normalise: bool
) -> tuple[Tensor, Tensor]:
    """Return float32 of shape (n, 1, height, width) and labels of shape (n,) on the device.

    With `normalise` their mean is 0 and their standard deviation 1 over the training split;
    otherwise they are as they were read.
    """
    images = split.images
    if normalise:
        images = (images - dataset.mean) / dataset.std
    tensor = torch.tensor(images, dtype=torch.float32, device=device)
    return tensor.unsqueeze(1), torch.tensor(split.labels, device=device)


def shuffled(labels: Tensor, batch_size: int, order: torch.Generator) -> list[Tensor]:
    """Return the indices of all examples in an order drawn from `order`, in batches of one size.

    Examples that do not fill a batch are left out until the next epoch: batch normalisation learns
    nothing good from a few.
    """
    indices = torch.randperm(len(labels), generator=order)  # on the CPU: the same on every device
    whole = len(labels) // batch_size * batch_size
    return list(indices[:whole].to(labels.device).split(batch_size))


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
