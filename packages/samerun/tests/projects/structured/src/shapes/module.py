"""What is trained: a network with its loss and its optimizer, in one class."""

import torch
from torch import Tensor, nn

from shapes.data import SIDE


class ShapeModule(nn.Module):
    def __init__(self, width: int, lr: float):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(width * SIDE * SIDE, 2),
        )  # fmt: skip
        self.loss = nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return self.loss(self.net(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        images, labels = batch
        logits = self.net(images)
        right = (logits.argmax(dim=1) == labels).float().mean()
        return {"val_loss": self.loss(logits, labels).item(), "val_accuracy": right.item()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)
