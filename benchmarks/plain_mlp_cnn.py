"""The plain way to write part 2: images transformed one by one, a DataLoader, torch's defaults.

uv run --group maintain benchmarks/plain_mlp_cnn.py FOLDER mlp
uv run --group maintain benchmarks/plain_mlp_cnn.py FOLDER cnn --epochs 2

FOLDER holds, or is to hold, torchvision's Fashion-MNIST. The last 10,000 of the training images
are the validation set.
"""

import argparse
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import Compose, Normalize, ToTensor

MODELS = {
    "mlp": lambda: nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(28 * 28, 32), nn.ReLU()),
        *(nn.Linear(32, 32), nn.ReLU()),
        *(nn.Linear(32, 32), nn.ReLU()),
        *(nn.Linear(32, 32), nn.ReLU()),
        nn.Linear(32, 10),
    ),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 64, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 14 * 14, 10),
    ),
}

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("model", choices=MODELS)
parser.add_argument("--epochs", type=int, default=10)
arguments = parser.parse_args()

torch.manual_seed(0)
transform = Compose([ToTensor(), Normalize(mean=0.286, std=0.353)])
images = FashionMNIST(arguments.folder, train=True, download=True, transform=transform)
train = DataLoader(Subset(images, range(50_000)), batch_size=64, shuffle=True)
val = DataLoader(Subset(images, range(50_000, 60_000)), batch_size=64)

model = MODELS[arguments.model]()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
for epoch in range(1, arguments.epochs + 1):
    start = time.perf_counter()
    model.train()
    total = 0.0
    for batch, labels in train:
        optimizer.zero_grad()
        loss = criterion(model(batch), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    model.eval()
    correct = 0
    with torch.no_grad():
        for batch, labels in val:
            correct += (model(batch).argmax(dim=1) == labels).sum().item()
    print(
        f"epoch {epoch}: loss {total / len(train):.4f}, val accuracy {correct / 10_000:.4f}, "
        f"{time.perf_counter() - start:.1f} s",
        flush=True,
    )
