"""Is this machine ready for the workshop? Looks, and changes nothing.

What surrounds the installation, such as disk, shell and network, is looked at by `surroundings`.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from samerun.machine import description as machine
from workshop import surroundings
from workshop.course import ROOT
from workshop.errors import WorkshopError
from workshop.surroundings import Finding

ELSEWHERE = "share a neighbour's laptop, or work on another machine by ssh"


def findings(root: Path = ROOT) -> Iterator[Finding]:
    """Look at everything that the parts need, one after the other."""
    looks: dict[str, Callable[[Path], Finding]] = {
        "uv": _uv,
        "Python": _python,
        "environment": _environment,
        "packages": _packages,
        "PyTorch": _torch,
        "git": _git,
        "Fashion-MNIST": _fashion_mnist,
        **surroundings.LOOKS,
    }
    for what, look in looks.items():
        try:
            yield look(root)
        except Exception as error:  # a look that fails is a finding, too
            yield Finding("FAIL", what, f"{type(error).__name__}: {error}")


def _uv(root: Path) -> Finding:
    from packaging.specifiers import SpecifierSet

    # `uv run` names itself in UV; somebody who calls the environment's own commands has none.
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        return Finding("WARN", "uv", "not found: open a new terminal, or install it as README says")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    version = said.stdout.split()[1]
    required = _required_uv(root)
    if not SpecifierSet(required).contains(version, prereleases=True):
        return Finding("FAIL", "uv", f"{version}, expected {required}: uv self update")
    return Finding("OK", "uv", version)


def _required_uv(root: Path) -> str:
    """Return which versions of uv the project's pyproject.toml asks for, "" for any."""
    path = root / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return project.get("tool", {}).get("uv", {}).get("required-version", "")


def _python(_: Path) -> Finding:
    # An older one than pyproject.toml asks for cannot have installed this command.
    return Finding("OK", "Python", f"{platform.python_version()}, {platform.platform()}")


def _environment(_: Path) -> Finding:
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if active and Path(active).resolve() != Path(sys.prefix).resolve():
        return Finding(
            "WARN",
            "environment",
            f"{active} is active, and `uv run` takes {sys.prefix}: deactivate the other one, or "
            "mind that `python` alone is not this one",
        )
    return Finding("OK", "environment", sys.prefix)


def _packages(root: Path) -> Finding:
    installed = machine.installed_packages()
    lock = machine.read_lock(root)
    if lock is None:
        return Finding("FAIL", "packages", f"there is no uv.lock in {root}: clone again")
    differs = machine.differences_from_lock(lock, installed)
    if differs:
        some = "; ".join(f"{name} {versions}" for name, versions in list(differs.items())[:3])
        return Finding("WARN", "packages", f"{len(differs)} not as locked ({some}): uv sync")
    return Finding("OK", "packages", f"{len(installed)}, as locked")


def _torch(_: Path) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("FAIL", "PyTorch", f"not installed: {_without_torch()}")
    import torch

    product = torch.eye(2) @ torch.eye(2)
    if not torch.equal(product, torch.eye(2)):
        return Finding("FAIL", "PyTorch", f"{torch.__version__} computes wrong: install it anew")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, none is needed"
    return Finding("OK", "PyTorch", f"{torch.__version__}, {gpu}")


def _without_torch() -> str:
    """Say what to do where PyTorch is missing: for some machines there is none."""
    system, processor = platform.system(), platform.machine().lower()
    if (system, processor) == ("Darwin", "x86_64"):
        return "PyTorch has no version for Macs with Intel processors any more: " + ELSEWHERE
    if processor not in ("x86_64", "amd64", "arm64", "aarch64"):
        return f"PyTorch has no version for {system} on {processor}: " + ELSEWHERE
    return "uv sync"


def _git(root: Path) -> Finding:
    if shutil.which("git") is None:
        return Finding("WARN", "git", "not installed: the trace of a run cannot name its commit")
    if not (root / ".git").exists():
        return Finding("WARN", "git", "no checkout (a download?): the trace cannot name a commit")
    return Finding("OK", "git", "found")


def _fashion_mnist(_: Path) -> Finding:
    from workshop.data import fetch_fashion_mnist

    try:
        folder = fetch_fashion_mnist(download=False)
    except WorkshopError as error:
        return Finding("WARN", "Fashion-MNIST", f"{error}\nUntil then, use data=digits.")
    return Finding("OK", "Fashion-MNIST", f"verified, in {folder}")
