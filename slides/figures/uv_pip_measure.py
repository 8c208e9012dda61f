"""Measure how long uv and pip take to make the same environment from their warm caches.

python slides/figures/uv_pip_measure.py

It installs a part of this project's dependencies (without PyTorch, MLflow and Jupyter, which weigh
gigabytes) into fresh virtual environments, in the versions of the environment it runs in. Each tool
makes the environment, resolves and installs; once with compiling to bytecode, which pip does unless
told otherwise, and once without, which is what uv does. The first round of each fills the caches
and does not count; the tools take turns. Writes uv_pip.json beside this file.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

NAMES = ("hydra-core", "matplotlib", "numpy", "optuna", "pytest", "rich", "scikit-learn")
ROUNDS = 3
OUT = Path(__file__).with_name("uv_pip.json")


def seconds(*commands: list[str]) -> float:
    start = time.perf_counter()
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def with_uv(folder: Path, pins: list[str], compiled: bool) -> float:
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    # Said either way: this project's own settings ask for it.
    options = ["--compile-bytecode" if compiled else "--no-compile-bytecode"]
    return seconds(
        ["uv", "venv", "--python", sys.executable, str(folder)],
        ["uv", "pip", "install", *options, "--python", python, *pins],
    )


def with_pip(folder: Path, pins: list[str], compiled: bool) -> float:
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    options = [] if compiled else ["--no-compile"]
    return seconds(
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--disable-pip-version-check", *options, *pins],
    )


def main() -> None:
    pins = [f"{name}=={version(name)}" for name in NAMES]
    found: dict[str, object] = {"pins": pins}
    for kind, compiled in (("compiled", True), ("not compiled", False)):
        taken: dict[str, list[float]] = {"uv": [], "pip": []}
        for round_ in range(ROUNDS + 1):
            for tool, make in (("uv", with_uv), ("pip", with_pip)):
                scratch = Path(tempfile.mkdtemp())
                try:
                    duration = make(scratch / "venv", pins, compiled)
                    found["packages"] = len(list((scratch / "venv").rglob("*.dist-info")))
                finally:
                    shutil.rmtree(scratch)
                if round_:
                    taken[tool].append(round(duration, 2))
                print(f"{kind}, round {round_}, {tool:3} {duration:6.1f} s", flush=True)
        middle = {tool: statistics.median(values) for tool, values in taken.items()}
        found[kind] = {"seconds": taken, "ratio": round(middle["pip"] / middle["uv"], 1)}
        print(kind, middle, found[kind]["ratio"], flush=True)
        OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
