"""What a run ran on: the locked and the installed packages, the machine."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from samerun import locked

# The only environment variables that are recorded: others may hold secrets.
VARIABLES = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTHONHASHSEED",
    "SLURM_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
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
    platform: str
    cpu: str
    cores: int
    usable_cores: int
    threads: dict[str, int] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    cuda: str | None = None
    driver: str | None = None


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


def machine() -> Machine:
    """Describe the machine. Asks torch only if the script has loaded it."""
    gpus, cuda = _gpus()
    driver = Path("/proc/driver/nvidia/version")
    cores = os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux: what a container or Slurm allots
    return Machine(
        platform=platform.platform(),
        cpu=_cpu(),
        cores=cores,
        usable_cores=len(affinity(0)) if affinity else cores,
        threads=_threads(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        gpus=gpus,
        cuda=cuda,
        driver=driver.read_text().splitlines()[0] if driver.exists() else None,
    )


def _cpu() -> str:
    """Return the processor's model, as far as the system tells it."""
    if sys.platform == "win32":
        import winreg

        path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    described = Path("/proc/cpuinfo")
    found = described.exists() and re.search(r"^model name\s*: (.+)$", described.read_text(), re.M)
    return found[1] if found else platform.machine()  # Linux on ARM has no model name


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


def _threads() -> dict[str, int]:
    """Return the number of threads of each numerical library that is loaded."""
    import threadpoolctl

    pools = threadpoolctl.threadpool_info()
    threads = {f"{p['internal_api']} ({p['user_api']})": p["num_threads"] for p in pools}
    if torch := sys.modules.get("torch"):
        threads["torch"] = torch.get_num_threads()
    return threads
