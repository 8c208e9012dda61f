"""Preprocessing for PyTorch: the images of a split become one tensor, once."""

import torch
from torch import Tensor

from workshop.data import Dataset, Split


def to_tensors(
    dataset: Dataset, split: Split, device: torch.device, normalise: bool
) -> tuple[Tensor, Tensor]:
    """Return images as float32 of shape (n, 1, 28, 28) and labels of shape (n,) on the device.

    Pixels lie between 0 and 1, or with `normalise` have the mean 0 and standard deviation 1, over
    the training images, for every split.
    """
    images = torch.tensor(split.images, dtype=torch.float32, device=device).unsqueeze(1).div_(255)
    if normalise:
        images.sub_(dataset.mean).div_(dataset.std)
    return images, torch.tensor(split.labels, device=device)


def shuffled(labels: Tensor, batch_size: int, order: torch.Generator) -> list[Tensor]:
    """Return the indices of all images in an order drawn from `order`, in batches of one size.

    Images that do not fill a batch are left out until the next epoch: batch normalisation learns
    nothing good from a few images.
    """
    indices = torch.randperm(len(labels), generator=order)  # on the CPU: the same on every device
    whole = len(labels) // batch_size * batch_size
    return list(indices[:whole].to(labels.device).split(batch_size))
