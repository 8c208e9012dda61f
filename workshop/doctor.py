"""Is this machine ready for the workshop? Looks, and changes nothing."""

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samerun.machine import description as machine
from workshop.course import ROOT
from workshop.errors import WorkshopError

PORT = 5050  # of the documented `mlflow ui`
GIGABYTE = 10**9
LEAST_SPACE = 2 * GIGABYTE


@dataclass(frozen=True)
class Finding:
    """What was found of one thing: `WARN` can wait, `FAIL` stops a part of the workshop."""

    state: Literal["OK", "WARN", "FAIL"]
    what: str
    message: str


def findings(root: Path = ROOT) -> Iterator[Finding]:
    """Look at everything that the parts need, one after the other."""
    looks: dict[str, Callable[[Path], Finding]] = {
        "uv": _uv,
        "Python": _python,
        "packages": _packages,
        "PyTorch": _torch,
        "folder": _folder,
        "disk": _disk,
        "git": _git,
        "Fashion-MNIST": _fashion_mnist,
        f"port {PORT}": _port,
        "console": _console,
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
        return Finding("FAIL", "PyTorch", "not installed: uv sync")
    import torch

    product = torch.eye(2) @ torch.eye(2)
    if not torch.equal(product, torch.eye(2)):
        return Finding("FAIL", "PyTorch", f"{torch.__version__} computes wrong: install it anew")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, none is needed"
    return Finding("OK", "PyTorch", f"{torch.__version__}, {gpu}")


def _folder(root: Path) -> Finding:
    if not os.access(root, os.W_OK):
        return Finding("FAIL", "folder", f"{root} cannot be written to: clone into another folder")
    if any("onedrive" in part.lower() or "dropbox" in part.lower() for part in root.parts):
        return Finding("WARN", "folder", f"{root} is synchronised: clone outside of it")
    return Finding("OK", "folder", str(root))


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    said = f"{free / GIGABYTE:.0f} GB free"
    if free < LEAST_SPACE:
        return Finding("WARN", "disk", f"{said}, expected {LEAST_SPACE / GIGABYTE:.0f}: free some")
    return Finding("OK", "disk", said)


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


def _port(_: Path) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            return Finding("WARN", f"port {PORT}", "in use: MLflow runs already, or choose another")
    return Finding("OK", f"port {PORT}", "free for MLflow")


def _console(_: Path) -> Finding:
    encoding = sys.stdout.encoding or "unknown"
    if "utf" not in encoding.lower():
        return Finding("WARN", "console", f"{encoding}: some characters will be shown as '?'")
    return Finding("OK", "console", encoding)
