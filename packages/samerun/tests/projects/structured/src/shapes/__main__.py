"""Train it: python -m shapes --epochs 3"""

import argparse
from pathlib import Path

import torch

import samerun  # added
from shapes.data import Shapes
from shapes.module import ShapeModule
from shapes.trainer import Log, Trainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    data = Shapes.draw(400, batch_size=32, seed=options.seed)
    named = samerun.dataset("shapes", data.images, data.labels)  # added
    with samerun.start_run(vars(options), named, experiment="shapes"):  # added
        module = ShapeModule(options.width, options.lr)
        Trainer(options.epochs, [Log(Path("outputs"))]).fit(module, data, options.seed)


if __name__ == "__main__":
    main()
