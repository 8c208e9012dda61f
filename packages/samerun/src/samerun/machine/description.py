"""What a run ran on: the locked and the installed packages, the machine."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samerun.machine import locked, processor

# The only environment variables that are recorded besides those of `samerun.process.variables`:
# others may hold secrets. These change how many threads compute, or which instructions, and so the
# last bits.
VARIABLES = [
    "ATEN_CPU_CAPABILITY",
    "BLIS_ARCH_TYPE",
    "BLIS_NUM_THREADS",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "GLIBC_TUNABLES",
    "GOTO_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_DETERMINISTIC_REDUCTION",
    "LD_PRELOAD",
    "LOKY_MAX_CPU_COUNT",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_DOMAIN_NUM_THREADS",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "MKL_THREADING_LAYER",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "NUMEXPR_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_SCHEDULE",
    "OMP_THREAD_LIMIT",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_MPS_FAST_MATH",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_ID",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "VECLIB_MAXIMUM_THREADS",
]


@dataclass(frozen=True)
class Environment:
    """`lock` is a SHA-256 sum of what uv.lock locks, `installed` one of what is installed.

    `differs` names the packages that are not as locked.
    """

    python: str
    lock: str | None = None
    installed: str | None = None
    differs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """`arithmetic` holds hashes of small calculations, see `samerun.machine.arithmetic`;
    `libraries` what each numerical library says of its build, and the kernels that it chose;
    `threads` those of every library that is loaded, by its file. `instructions` is the level that
    the processor reaches, and `flags` a hash of all that it can.
    """

    platform: str
    cpu: str
    cores: int
    usable_cores: int
    threads: dict[str, int] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    cuda: str | None = None
    driver: str | None = None
    arithmetic: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    instructions: str | None = None
    flags: str | None = None


def read_lock(root: Path) -> str | None:
    """Return the text of the project's uv.lock; None if there is none.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is no uv.lock.
    """
    path = root / "uv.lock"
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    locked.versions(text)
    return text


NAME_AND_VERSION = re.compile(r"^(Name|Version): (\S+)", re.M)


@functools.cache  # a sweep starts many runs in one process
def installed_packages() -> dict[str, str]:
    """Return the version of every distribution that Python would import, sorted by name."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        # distribution.name would parse all of the file, descriptions of many pages included.
        fields = dict(NAME_AND_VERSION.findall(distribution.read_text("METADATA") or ""))
        if "Name" in fields:  # missing in the remains of a broken installation
            versions.setdefault(normalised(fields["Name"]), fields.get("Version", "unknown"))
    return dict(sorted(versions.items()))


def normalised(name: str) -> str:
    """Return a distribution's name as the lock spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def environment(lock: str | None, packages: Mapping[str, str]) -> Environment:
    """Fingerprint the lock and what is installed, and compare them."""
    listing = "".join(f"{name}=={version}\n" for name, version in packages.items())
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        lock=locked.fingerprint(lock) if lock else None,
        installed=sha256(listing) if packages else None,
        differs=differences_from_lock(lock, packages) if lock else {},
    )


def differences_from_lock(lock: str, packages: Mapping[str, str]) -> dict[str, str]:
    """Say of each installed package that is not as locked what is installed and what is locked.

    A locked package that is not installed is no difference: its marker or group may exclude it.
    """
    versions = locked.versions(lock)
    return {
        name: f"{version}, locked {' or '.join(sorted(map(str, versions.get(name, ['nothing']))))}"
        for name, version in packages.items()
        # None is the version of a project that computes it when it is built.
        if not {version, None} & versions.get(name, set())
    }


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def usable_cores() -> int:
    """Return how many cores this process may use: in a container or a Slurm job perhaps not all."""
    affinity = getattr(os, "sched_getaffinity", None)  # which macOS and Windows lack
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def machine(arithmetic: Mapping[str, str] | None = None) -> Machine:
    """Describe the machine. Asks torch only if the script has loaded it.

    arithmetic : what `samerun.machine.arithmetic.fingerprints` found
    """
    gpus, cuda = _gpus()
    driver = Path("/proc/driver/nvidia/version")
    flags = processor.flags()
    return Machine(
        platform=platform.platform(),
        cpu=processor.model(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        threads=_threads(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        gpus=gpus,
        cuda=cuda,
        driver=driver.read_text().splitlines()[0] if driver.exists() else None,
        arithmetic=dict(arithmetic or {}),
        libraries=_libraries(),
        instructions=processor.level(flags),
        flags=sha256(" ".join(flags))[:16] if flags else None,
    )


def _gpus() -> tuple[tuple[str, ...], str | None]:
    """Return the names of the GPUs that torch sees and its CUDA version; importing torch is slow,
    and a script that has not imported it uses no GPU."""
    torch = sys.modules.get("torch")
    if torch is None:
        return (), None
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return tuple(torch.cuda.get_device_name(i) for i in range(count)), torch.version.cuda
    return ("Apple GPU (MPS)",) if torch.backends.mps.is_available() else (), None


def _pools() -> dict[str, dict[str, Any]]:
    """Return what threadpoolctl knows of each library that is loaded, by its folder and file.

    A process may hold several OpenMP libraries, each with a number of threads of its own.
    """
    import threadpoolctl

    pools = {Path(pool["filepath"]): pool for pool in threadpoolctl.threadpool_info()}
    return {f"{_package(path)}/{path.name}": pools[path] for path in sorted(pools)}


def _package(library: Path) -> str:
    """Return the folder of a library below site-packages, or its own folder elsewhere."""
    parts = library.parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return library.parent.name


def _threads() -> dict[str, int]:
    """Return the number of threads of each numerical library that is loaded."""
    threads = {name: pool["num_threads"] for name, pool in _pools().items()}
    if torch := sys.modules.get("torch"):
        threads["torch"] = torch.get_num_threads()
    return threads


def _libraries() -> dict[str, str]:
    """Return the build of each numerical library, and which kernels it chose on this machine.

    The version of a package does not tell its build: torch 2.15.0 may be 2.15.0+cu132 or +cpu.
    """
    found = {}
    if torch := sys.modules.get("torch"):
        found["torch"] = str(torch.__version__)
        found["torch kernels"] = str(torch.backends.cpu.get_cpu_capability())
        for line in torch.__config__.show().splitlines():
            for name, mark in (("torch mkl", "Math Kernel Library"), ("torch onednn", "MKL-DNN")):
                if mark in line:
                    found[name] = line.strip(" -").partition(mark)[2].strip()
    for name in ("numpy", "scipy"):
        if module := sys.modules.get(name):
            blas = module.show_config(mode="dicts")["Build Dependencies"]["blas"]
            build = blas.get("openblas configuration", f"{blas['name']} {blas['version']}")
            found[name] = f"{module.__version__}, {build}"
    for name, pool in _pools().items():
        if pool["user_api"] == "blas":
            known = (pool["internal_api"], pool["version"], pool.get("architecture"))
            found[name] = " ".join(str(item) for item in known if item)
    return found
