"""The same bits on every processor: arithmetic by instructions that all of a platform have.

PyTorch, MKL, OpenBLAS and NumPy look at the processor when they are loaded, and take the fastest
kernels that it can run; each adds in another order. Variables can ask for the oldest kernels, but
only before the library is loaded: so the process starts again, once, with them set.
"""

import functools
import importlib
import logging
import multiprocessing
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samerun.errors import RecordError

if TYPE_CHECKING:
    import torch

STARTED_AGAIN = "SAMERUN_PORTABLE"  # set in a process that was started again
COMMON = {"ATEN_CPU_CAPABILITY": "default"}  # of PyTorch: no instructions beyond the compiler's
X86 = {
    "MKL_CBWR": "COMPATIBLE",  # the one setting that Intel promises for all processors
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",  # 2008: the oldest that NumPy runs on
}
ARM = {"OPENBLAS_CORETYPE": "ARMV8"}

log = logging.getLogger(__name__)
_decided: bool | None = None  # what the first call in this process wanted


def use_portable(wanted: bool) -> None:
    """Compute by what all processors of the platform have, if wanted, from here on.

    Starts the process again unless the variables are set: call it before anything is computed.

    Raises
    ------
    RecordError
        It is too late for that in this process, or the process cannot be started again.
    """
    global _decided
    before, _decided = _decided, wanted
    if wanted != bool(os.environ.get(STARTED_AGAIN)) and before not in (None, wanted):
        _decided = before
        raise RecordError(
            f"This process has computed with portable={str(before).lower()} already, and what is "
            "loaded stays. Start the two in commands of their own."
        )
    if not wanted and os.environ.get(STARTED_AGAIN):
        raise RecordError(
            f"portable=false is wanted, but this process was started by one with portable=true. "
            f"Start it in a command of its own, without the variable {STARTED_AGAIN}."
        )
    if wanted:
        _start_again_unless_set()


def needed() -> dict[str, str]:
    """Return the variables that choose the kernels which every processor of the platform has."""
    # NumPy names what it can be told to do without nowhere else.
    umath = importlib.import_module("numpy._core._multiarray_umath")
    kinds = {"x86_64": X86, "amd64": X86, "aarch64": ARM, "arm64": ARM}
    variables = COMMON | kinds.get(platform.machine().lower(), {})
    if umath.__cpu_dispatch__:
        variables["NPY_DISABLE_CPU_FEATURES"] = " ".join(umath.__cpu_dispatch__)
    return variables


def _start_again_unless_set() -> None:
    variables = needed()
    if os.environ.get(STARTED_AGAIN) and all(os.environ.get(k) == v for k, v in variables.items()):
        return
    assignments = " ".join(f"{name}='{value}'" for name, value in variables.items())
    by_hand = f"Set these before you start it: {STARTED_AGAIN}=1 {assignments}"
    if os.environ.get(STARTED_AGAIN):
        raise RecordError(f"portable=true: something changed its variables since. {by_hand}")
    if multiprocessing.current_process().name != "MainProcess" or not _is_a_script():
        raise RecordError(f"portable=true: this process cannot start itself again. {by_hand}")
    if (mlflow := sys.modules.get("mlflow")) and mlflow.active_run():
        raise RecordError("portable=true came after a run had started. Call set_up before.")
    log.info("portable=true: starting again, with kernels that every processor has.")
    environment = {**os.environ, **variables, STARTED_AGAIN: "1"}
    environment.pop("NPY_ENABLE_CPU_FEATURES", None)  # NumPy refuses to have both
    _replace_process([sys.executable, *sys.orig_argv[1:]], environment)


def _is_a_script() -> bool:
    """Say whether the process was started by a command that can be repeated, not as a notebook."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    return path is not None and Path(path).is_file() and "ipykernel" not in sys.modules


def _replace_process(command: list[str], environment: dict[str, str]) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(_first_folder())
    if sys.platform != "win32":
        os.execve(command[0], command, environment)
    # On Windows exec would end this process before the new one, and the shell would not wait.
    sys.exit(subprocess.run(command, env=environment, check=False).returncode)


def _first_folder() -> Path:
    """Return the folder in which the command was typed: Hydra may have gone to another."""
    hydra_config = sys.modules.get("hydra.core.hydra_config")
    if hydra_config and hydra_config.HydraConfig.initialized():
        return Path(hydra_config.HydraConfig.get().runtime.cwd)
    return Path.cwd()


@functools.cache  # PyTorch keeps what was registered as long as the library object lives
def round_square_roots() -> Any:
    """Make PyTorch's square root on the processor the exactly rounded one, which IEEE 754 asks for.

    Its own is MKL's, which starts from an estimate of the processor's: makers and generations
    differ in that, a fifth of the results in their last bit, and no variable chooses another.
    Optimizers such as Adam take square roots in every step.
    """
    import numpy
    import torch

    def sqrt(x: "torch.Tensor") -> "torch.Tensor":
        if x.dtype not in (torch.float32, torch.float64):
            wide = x.to(torch.complex128) if x.is_complex() else x.float()
            narrow = x.dtype if x.is_complex() or x.is_floating_point() else torch.float32
            return torch.from_numpy(numpy.asarray(numpy.sqrt(wide.numpy(force=True)))).to(narrow)
        root = torch.empty_like(x)
        with numpy.errstate(invalid="ignore"):  # of a negative number: nan, as in PyTorch
            numpy.sqrt(x.numpy(force=True), out=root.numpy())
        return root

    def into(x: "torch.Tensor", *, out: "torch.Tensor") -> "torch.Tensor":
        return out.resize_(x.shape).copy_(sqrt(x))

    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for name, function in {
        "sqrt": sqrt,
        "sqrt_": lambda x: x.copy_(sqrt(x)),
        "sqrt.out": into,
    }.items():
        library.impl(name, function, "CPU", allow_override=True)
    return library
