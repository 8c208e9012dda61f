"""What the small CNN of these figures makes of the first test image of Fashion-MNIST."""

from functools import cache

import mlflow
import numpy as np
import torch
from runs import ROOT, small_cnn

from workshop.data import load_dataset
from workshop.drive import Driver


@cache
def feature_maps() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the image, the maps after each of the two blocks, the probabilities, the classes."""
    run_id = small_cnn().info.run_id
    path = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/checkpoints/best.pt")
    part = Driver(ROOT / "solutions" / "part2_mlp_cnn")
    model = part.load("models.py").CNN([8, 16])
    model.load_state_dict(torch.load(path, weights_only=True))
    model.eval()
    dataset = load_dataset("fashion_mnist")
    images, _ = part.load("data.py").to_tensors(dataset, dataset.test, torch.device("cpu"))
    with torch.inference_mode():
        first = model.blocks[:3](images[:1])
        second = model.blocks[3:](first)
        said = model.head(second).softmax(dim=1)[0]
    image = dataset.test.images[0]
    return image, first[0].numpy(), second[0].numpy(), said.numpy(), dataset.classes
