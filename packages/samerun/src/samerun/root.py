"""The project that a run belongs to: the git tree, or the folder, of the script that runs."""

import functools
import os
from pathlib import Path

VARIABLE = "SAMERUN_ROOT"  # names the root where it cannot be found out
MARKS = (".git", "pyproject.toml")


def project_root() -> Path:
    """Return the folder that holds the project whose script runs, and so its run store.

    The git tree around the script; without git, the nearest folder with a pyproject.toml; without
    that, the script's own folder. A notebook or an installed command counts from the working
    directory. $SAMERUN_ROOT, if it is set, is taken before all of these.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).resolve()
    return root_of(_start())


def _start() -> Path:
    from samerun.command.repeat import script_path  # late: it asks for the root itself

    script = script_path()
    return script.parent if script else Path.cwd()


@functools.cache
def root_of(folder: Path) -> Path:
    """Return the root of the project that a folder belongs to."""
    around = [folder.resolve(), *folder.resolve().parents]
    for mark in MARKS:
        for candidate in around:
            if (candidate / mark).exists():
                return candidate
    return around[0]
