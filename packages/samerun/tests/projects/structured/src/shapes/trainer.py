"""The loop, which knows nothing of shapes, and what is called at the end of each epoch."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

Callback = Callable[["Trainer", dict[str, float]], None]


class Trainer:
    def __init__(self, epochs: int, callbacks: Sequence[Callback] = ()):
        self.epochs, self.callbacks, self.epoch, self.module = epochs, callbacks, 0, None

    def fit(self, module, data, seed: int) -> None:
        self.module, order = module, torch.Generator().manual_seed(seed)
        optimizer = module.configure_optimizers()
        for epoch in range(1, self.epochs + 1):
            self.epoch = epoch
            module.train()
            for batch in data.batches(order):
                optimizer.zero_grad()
                module.training_step(batch).backward()
                optimizer.step()
            module.eval()
            with torch.inference_mode():
                metrics = module.validation_step(data.validation())
            for callback in self.callbacks:
                callback(self, metrics)


class Log:
    """Write the metrics of all epochs and the last weights to a folder."""

    def __init__(self, folder: Path):
        self.folder, self.rows = folder, []
        folder.mkdir(exist_ok=True)

    def __call__(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        self.rows.append({"epoch": trainer.epoch, **metrics})
        (self.folder / "scores.json").write_text(json.dumps(self.rows), encoding="utf-8")
        torch.save(trainer.module.state_dict(), self.folder / "weights.pt")
