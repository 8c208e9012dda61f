"""What makes PyTorch repeat itself, and the device to compute on."""

import os
import sys
from typing import TYPE_CHECKING, overload

from samerun.errors import RecordError
from samerun.machine.portable import round_square_roots, use_portable

if TYPE_CHECKING:  # a project without PyTorch has none to import
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


@overload
def set_up(seed: int, threads: int, device: str, *, portable: bool = False) -> "torch.device": ...


@overload
def set_up(seed: int, threads: int, device: None = None, *, portable: bool = False) -> None: ...


def set_up(
    seed: int, threads: int, device: str | None = None, *, portable: bool = False
) -> "torch.device | None":
    """Make what follows repeatable, and return the device to compute on; None without PyTorch.

    The same seed, thread count and machine give the same numbers, bit for bit. Another thread
    count, CPU or GPU adds in another order: the last digits differ, and after an epoch more do.
    On cuda the same GPU and driver repeat; on mps Apple promises nothing.

    Parameters
    ----------
    seed : of PyTorch's random numbers; without a device, of NumPy's global ones
    threads : of the linear algebra
    device : "auto", "cpu", "cuda" or "mps"; None leaves PyTorch alone
    portable : whether other processors of the same platform shall give the same bits, too. It is
        slower, and starts the process again once: call this before anything is computed

    Raises
    ------
    RecordError
        There is no such device, or it is too late for `portable` in this process.
    """
    use_portable(portable)
    if device is None:
        import numpy
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads)
        numpy.random.seed(seed)
        return None
    import torch

    if not torch.cuda.is_available():
        # Python's own mark of a module that cannot be imported. PyTorch imports Triton with the
        # first optimizer, and with it in memory a process takes more than a second to end.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    # cuBLAS is repeatable only with a workspace of fixed size, named before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Refuses an operation that is not repeatable. It is use_deterministic_algorithms(True) without
    # an import of the compiler, which takes a second; the variable is for a later torch.compile.
    torch.set_deterministic_debug_mode("error")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    if compiler := sys.modules.get("torch._inductor.config"):
        compiler.deterministic = True  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a search for bugs, and slow
    if portable:  # both choose by the processor's caches, too, which no variable hides
        torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]
        torch.backends.nnpack.set_flags(False)  # type: ignore[no-untyped-call]
        round_square_roots()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)  # not Python's random: MLflow draws the names of runs from it
    return pick_device(device)


def pick_device(name: str) -> "torch.device":
    """Return the device of this name; "auto" is cuda, else mps, else cpu."""
    import torch

    usable = ["cpu"]
    if torch.backends.mps.is_available():
        usable.insert(0, "mps")
    if torch.cuda.is_available():
        usable.insert(0, "cuda")
    if name not in ("auto", *usable):
        kind = "is not available on this machine" if name in DEVICES else "does not exist"
        raise RecordError(f"device={name} {kind}. Expected one of: auto, {', '.join(usable)}.")
    return torch.device(usable[0] if name == "auto" else name)
