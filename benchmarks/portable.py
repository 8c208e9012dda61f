"""What `portable` costs: the time of a training with and without it, as a ratio.

uv run benchmarks/portable.py

Each is a process of its own, since a process has one arithmetic; they take turns, and the fastest
of each kind counts. Data is made up, of the size of Fashion-MNIST's images; one thread computes.
"""

import os
import subprocess
import sys
import time

TURNS = 2


def logistic_regression() -> float:
    """Return the seconds that part 1's pipeline takes for 1,500 images."""
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    x, y = rng.random((1500, 784), dtype=np.float32), rng.integers(0, 10, 1500)
    model = make_pipeline(PCA(n_components=0.95, whiten=True), LogisticRegression(max_iter=20))
    start = time.process_time()
    model.fit(x, y)
    return time.process_time() - start


def network(name: str, steps: int) -> float:
    """Return the seconds that a step of part 2's MLP or CNN takes, of 64 images."""
    import torch
    from torch import nn

    mlp = [nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)]
    cnn = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    cnn += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    cnn += [nn.Flatten(), nn.Linear(64 * 49, 10)]
    model = nn.Sequential(*(mlp if name == "mlp" else cnn))
    optimizer = torch.optim.Adam(model.parameters())
    images, labels = torch.rand(64, 1, 28, 28), torch.randint(10, (64,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step()
    start = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - start) / steps


KINDS = {
    "logistic regression": lambda: logistic_regression(),
    "mlp": lambda: network("mlp", 50),
    "cnn": lambda: network("cnn", 8),
}


def measure(kind: str, portable: bool) -> float:
    from samerun import set_up

    if kind == "logistic regression":
        set_up(0, 1, portable=portable)
    else:
        set_up(0, 1, "cpu", portable=portable)
    return KINDS[kind]()


def main() -> None:
    if len(sys.argv) == 3:
        print(measure(sys.argv[1], sys.argv[2] == "portable"))
        return
    for kind in KINDS:
        seconds: dict[str, list[float]] = {"plain": [], "portable": []}
        for _ in range(TURNS):
            for how, found in seconds.items():
                command = [sys.executable, __file__, kind, how]
                done = subprocess.run(
                    command, env=os.environ, check=True, capture_output=True, text=True
                )
                found.append(float(done.stdout.split()[-1]))
        plain, portable = min(seconds["plain"]), min(seconds["portable"])
        print(
            f"{kind:20} {plain:8.4f} s, portable {portable:8.4f} s: {portable / plain:.1f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
