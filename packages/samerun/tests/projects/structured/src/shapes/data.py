"""Images of squares and discs, drawn at random."""

from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 12


@dataclass(frozen=True)
class Shapes:
    """Batches of drawn images for training and validation."""

    images: Tensor
    labels: Tensor
    batch_size: int

    @classmethod
    def draw(cls, n: int, batch_size: int, seed: int) -> "Shapes":
        order = torch.Generator().manual_seed(seed)
        labels = torch.randint(2, (n,), generator=order)
        radius = torch.randint(2, 5, (n, 1, 1), generator=order)
        rows = (torch.arange(SIDE) - SIDE // 2).abs()
        square = torch.maximum(rows[:, None], rows[None, :])[None] <= radius
        disc = (rows[:, None] ** 2 + rows[None, :] ** 2)[None] <= radius**2
        images = torch.where(labels[:, None, None] == 0, square, disc).float()
        images += 0.3 * torch.randn(images.shape, generator=order)
        return cls(images[:, None], labels, batch_size)

    def batches(self, order: torch.Generator):
        half = len(self.labels) // 2
        for chosen in torch.randperm(half, generator=order).split(self.batch_size):
            yield self.images[chosen], self.labels[chosen]

    def validation(self) -> tuple[Tensor, Tensor]:
        half = len(self.labels) // 2
        return self.images[half:], self.labels[half:]
