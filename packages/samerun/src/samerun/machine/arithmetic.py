"""A fingerprint of the arithmetic that a run computes with.

The name of a processor does not say which bits it computes: PyTorch, oneDNN, MKL, OpenBLAS and
NumPy each choose kernels by the instructions they find, and add in another order with each. So
small calculations on fixed inputs are done and hashed, some 20 ms in all. Where two runs differ in
one of them, their libraries used other kernels; where they agree in all, most likely the same.

Only what the script has loaded is asked, and nothing of its state is changed: neither random
numbers nor threads nor what it set of determinism.
"""

import hashlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # only those that the script uses are imported, by the script
    import numpy as np


def fingerprints() -> dict[str, str]:
    """Return a hash of each calculation's result, by its name.

    Torch's own are on the processor, not on a GPU, with the threads that the run computes with.
    """
    found: dict[str, str] = {}
    if torch := sys.modules.get("torch"):
        found |= _of_torch(torch)
    if numpy := sys.modules.get("numpy"):
        found |= _of_numpy(numpy)
    if linalg := sys.modules.get("scipy.linalg"):
        numpy = sys.modules["numpy"]
        found["scipy eigen-decomposition"] = _hash(*linalg.eigh(_symmetric(numpy)))
    return found


def _of_torch(torch: Any) -> dict[str, str]:
    functional = torch.nn.functional
    images = _torch_numbers(torch, 4, 16, 14, 14)
    kernels = _torch_numbers(torch, 32, 16, 3, 3)
    left, right = _torch_numbers(torch, 64, 300), _torch_numbers(torch, 300, 96)
    halves = images.bfloat16(), kernels.bfloat16()
    calculations: dict[str, Callable[[], torch.Tensor]] = {
        "torch convolution": lambda: functional.conv2d(images, kernels, padding=1),
        "torch matrix product": lambda: left @ right,
        "torch softmax": lambda: functional.softmax(8 * left, dim=1),
        "torch bfloat16 convolution": lambda: functional.conv2d(*halves, padding=1).float(),
    }
    # The script may have switched automatic casting on around the whole run.
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        return {name: _hash(calculate().numpy()) for name, calculate in calculations.items()}


def _of_numpy(numpy: Any) -> dict[str, str]:
    left, right = _numpy_numbers(numpy, 64, 300), _numpy_numbers(numpy, 300, 96)
    return {
        "numpy matrix product": _hash(left @ right),
        "numpy eigen-decomposition": _hash(*numpy.linalg.eigh(_symmetric(numpy))),
        "numpy exponential": _hash(numpy.exp(8 * left.astype(numpy.float32))),
    }


def _torch_numbers(torch: Any, *shape: int) -> Any:
    """Return float32 numbers from -0.5 to 0.5, exact, so that every machine has the same ones."""
    import numpy  # MLflow has loaded it

    return torch.from_numpy(_numpy_numbers(numpy, *shape)).float()


def _numpy_numbers(numpy: Any, *shape: int) -> Any:
    count = numpy.arange(numpy.prod(shape), dtype=numpy.int64)
    # Whole numbers that look like chance, made without a generator that a later version changes;
    # cubed, for small and large ones side by side, and of many digits, so that sums are rounded
    # in every step, and another order of them shows.
    number = (count * 48_271 % 65_537 % 4096 - 2047.5) / 3000
    return (number * number * number).reshape(shape)


def _symmetric(numpy: Any) -> Any:
    half = _numpy_numbers(numpy, 24, 24)  # so small that one thread computes it
    return half + half.T


def _hash(*arrays: "np.ndarray") -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
