"""Preprocessing for PyTorch: the images of a split become one tensor, normalised once."""

import torch
from torch import Tensor

from workshop.data import Dataset, Split


def to_tensors(dataset: Dataset, split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images as float32 of shape (n, 1, 28, 28) and labels of shape (n,) on the device.

    The mean and standard deviation are those of the training images, for every split.
    """
    images = torch.tensor(split.images, dtype=torch.float32, device=device).unsqueeze(1)
    images.div_(255).sub_(dataset.mean).div_(dataset.std)
    return images, torch.tensor(split.labels, device=device)


def shuffled(labels: Tensor, batch_size: int, order: torch.Generator) -> tuple[Tensor, ...]:
    """Return the indices of all images, batch by batch, in an order drawn from `order`."""
    indices = torch.randperm(len(labels), generator=order)  # on the CPU: the same on every device
    return indices.to(labels.device).split(batch_size)
