"""Which processor a run computed on, and which instructions that one has."""

import functools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

# What Linux calls the instructions that the levels of the x86-64 architecture add.
V2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
V3 = {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
V4 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVELS = {"x86-64-v2": V2, "x86-64-v3": V3, "x86-64-v4": V4}
# Beyond the levels, for the short numbers of neural networks, on x86 and on ARM.
EXTRAS = ("avx_vnni", "avx512_bf16", "avx512_fp16", "avx512_vnni", "amx_bf16", "amx_int8",
          "asimddp", "bf16", "i8mm", "sve", "sve2")  # fmt: skip


@functools.cache  # a sweep starts many runs in one process
def model() -> str:
    """Return the processor's model, as far as the system tells it.

    A name such as "AMD EPYC" stands for many generations, which family and model tell apart.
    """
    if sys.platform == "win32":
        import winreg

        path = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, path) as key:
            name = str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        return ", ".join([name, *filter(None, [os.environ.get("PROCESSOR_IDENTIFIER")])])
    if sys.platform == "darwin":
        return _sysctl("-n", "machdep.cpu.brand_string")
    described = _cpuinfo()
    generation = [
        f"{what} {described[key]}"
        for key, what in (("cpu family", "family"), ("model", "model"), ("stepping", "stepping"))
        if key in described
    ]
    name = described.get("model name", platform.machine())  # Linux on ARM has no model name
    return ", ".join([name, " ".join(generation)]) if generation else name


@functools.cache
def flags() -> tuple[str, ...]:
    """Return all that the processor can do, sorted; nothing where the system does not tell."""
    if sys.platform == "darwin":
        found = re.findall(r"^hw\.optional\.(\S+): 1$", _sysctl("hw.optional"), re.M)
        return tuple(sorted(found))
    described = _cpuinfo()
    return tuple(sorted((described.get("flags") or described.get("Features") or "").split()))


def level(flags: Collection[str]) -> str | None:
    """Return the highest level of the x86-64 architecture that the flags reach, and some extras."""
    reached = None
    for name, needed in LEVELS.items():
        if not needed <= set(flags):
            break
        reached = name
    extras = [extra for extra in EXTRAS if extra in flags]
    return " ".join(filter(None, [reached, *extras])) or None


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of its first processor; nothing on other systems."""
    path = Path("/proc/cpuinfo")
    first = path.read_text(encoding="utf-8").split("\n\n")[0] if path.exists() else ""
    return dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", first, re.M))


def _sysctl(*arguments: str) -> str:
    command = ["sysctl", *arguments]  # of macOS
    return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
