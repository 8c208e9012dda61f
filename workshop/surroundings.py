"""What surrounds the installation: disk, memory, the run store, shell, network, the leaderboard."""

import os
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samerun.command.of_mlflow import PORT
from samerun.errors import RecordError

GIGABYTE = 10**9
LEAST_SPACE = 2 * GIGABYTE
LEAST_MEMORY = 4 * GIGABYTE  # part 2 with MLflow's page beside it takes about half of that
LARGEST_SKEW = 60  # seconds
SYNCHRONISED = ("onedrive", "dropbox", "icloud", "mobile documents", "google drive", "googledrive")
NETWORK = ("nfs", "nfs4", "cifs", "smbfs", "smb3", "afpfs", "webdav", "fuse.sshfs", "9p", "drvfs")


@dataclass(frozen=True)
class Finding:
    """What was found of one thing: `WARN` can wait, `FAIL` stops a part of the workshop."""

    state: Literal["OK", "WARN", "FAIL"]
    what: str
    message: str


def folder(root: Path) -> Finding:
    """Look whether the folder can be written to, and whether something else writes to it, too."""
    if not os.access(root, os.W_OK):
        return Finding("FAIL", "folder", f"{root} cannot be written to: clone into another folder")
    if any(name in part.lower() for part in root.parts for name in SYNCHRONISED):
        return Finding("WARN", "folder", f"{root} is synchronised: clone outside of it")
    kind = _file_system(root)
    if kind in NETWORK:
        return Finding(
            "WARN",
            "folder",
            f"{root} lies on a network disk ({kind}), which may not lock files properly: clone to "
            "a disk of this machine",
        )
    return Finding("OK", "folder", str(root))


def _file_system(path: Path) -> str:
    """Return the kind of file system that a folder lies on, "" where nobody knows."""
    import psutil

    mounted = {Path(disk.mountpoint): disk.fstype for disk in psutil.disk_partitions(all=True)}
    found = next((mounted[place] for place in (path, *path.parents) if place in mounted), "")
    return found.lower()


def disk(root: Path) -> Finding:
    """Look whether there is room for runs and data."""
    free = shutil.disk_usage(root).free
    said = f"{free / GIGABYTE:.0f} GB free"
    if free < LEAST_SPACE:
        return Finding("WARN", "disk", f"{said}, expected {LEAST_SPACE / GIGABYTE:.0f}: free some")
    return Finding("OK", "disk", said)


def memory(_: Path) -> Finding:
    """Look at memory and processor cores."""
    import psutil

    from samerun.machine.description import usable_cores

    cores = usable_cores()
    total = psutil.virtual_memory().total
    said = f"{total / GIGABYTE:.0f} GB, {cores} core{'s' if cores > 1 else ''}"
    if total < LEAST_MEMORY:
        return Finding(
            "WARN", "memory", f"{said}, expected {LEAST_MEMORY / GIGABYTE:.0f} GB: close browsers"
        )
    if cores < 2:
        return Finding("WARN", "memory", f"{said}: leave parallel sweeps and searches to others")
    return Finding("OK", "memory", said)


def store(_: Path) -> Finding:
    """Look whether runs can be recorded; a store that is not there yet is made by the first run."""
    from samerun.secrets.masking import masked_text
    from samerun.store.probe import check_address, check_answer, check_database
    from samerun.store.tracking import local_store, tracking_uri

    uri = tracking_uri()
    try:
        check_address(uri)
        file = local_store(uri)
        if file is None:
            check_answer(uri)
            return Finding("OK", "run store", masked_text(uri))
        if not file.exists():
            return Finding("OK", "run store", f"{file}, which the first run makes")
        if _is_being_written(file):
            return Finding("OK", "run store", f"{file}, written to at this moment")
        check_database(file, write=True)
    except RecordError as error:
        return Finding("FAIL", "run store", str(error))
    return Finding("OK", "run store", str(file))


def _is_being_written(file: Path) -> bool:
    """Say whether somebody writes to an SQLite file now: `check_database` would wait for it."""
    connection = sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    except sqlite3.Error as error:
        return "locked" in str(error)
    finally:
        connection.close()
    return False


def variables(_: Path) -> Finding:
    """Look at what is left over in this shell and would get in the way of a run."""
    from samerun.process.variables import IGNORED, check_variables, set_variables
    from samerun.store.tracking import own_uri, tracking_uri

    try:
        check_variables(tracking_uri())
    except RecordError as error:
        return Finding("FAIL", "variables", str(error))
    found = set_variables(own_uri())
    if not found:
        return Finding("OK", "variables", "none of MLflow, Hydra or Optuna is set")
    told = [f"{name} ({IGNORED[name]})" if name in IGNORED else name for name in found]
    return Finding("WARN", "variables", f"set in this shell: {', '.join(told)}")


def proxy(_: Path) -> Finding:
    """Look at the proxy that downloads go through, without showing its password."""
    import urllib.request

    from samerun.secrets.masking import masked_text

    found = {kind: uri for kind, uri in urllib.request.getproxies().items() if kind != "no"}
    if not found:
        return Finding("OK", "proxy", "none")
    told = ", ".join(f"{kind} by {masked_text(uri)}" for kind, uri in sorted(found.items()))
    return Finding(
        "WARN",
        "proxy",
        f"{told}. It may not know the addresses of a room: if the leaderboard does not answer, "
        "name its address in NO_PROXY",
    )


def shell(_: Path) -> Finding:
    """Look at what the shell makes of a command with brackets, once for the whole day."""
    name = Path(os.environ.get("SHELL", "")).name
    if name == "zsh":
        return Finding("OK", "shell", "zsh: quote words with brackets, 'model.hidden=[512,512]'")
    return Finding("OK", "shell", name or "unknown")


def port(_: Path) -> Finding:
    """Look whether MLflow's page can be served where the READMEs say."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            return Finding("WARN", f"port {PORT}", "in use: MLflow runs already, or choose another")
    return Finding("OK", f"port {PORT}", "free for MLflow")


def console(_: Path) -> Finding:
    """Look at the characters that the terminal shows."""
    encoding = sys.stdout.encoding or "unknown"
    if "utf" not in encoding.lower():
        return Finding("WARN", "console", f"{encoding}: some characters will be shown as '?'")
    return Finding("OK", "console", encoding)


def leaderboard(_: Path) -> Finding:
    """Look whether the leaderboard that was joined answers, knows us, and has our time."""
    from workshop.errors import WorkshopError
    from workshop.participant import membership

    try:
        joined = membership.load()
        if joined is None:
            return Finding("OK", "leaderboard", "not joined, which is for part 3")
        connection = joined.connection()
        connection.request("GET", "/api/me", seconds=1.5)
        now = connection.request("GET", "/health", seconds=1.5).get("time")
    except WorkshopError as error:
        return Finding("WARN", "leaderboard", str(error))
    if isinstance(now, (int, float)) and abs(now - time.time()) > LARGEST_SKEW:
        return Finding(
            "WARN",
            "leaderboard",
            f"{joined.address}, whose clock differs from this one by {now - time.time():+.0f} s: "
            "set the clock of this computer, or times in MLflow will mislead you",
        )
    return Finding("OK", "leaderboard", f"{joined.name} at {joined.address}")


LOOKS: dict[str, Callable[[Path], Finding]] = {
    "folder": folder,
    "disk": disk,
    "memory": memory,
    "variables": variables,
    "run store": store,
    "proxy": proxy,
    "shell": shell,
    f"port {PORT}": port,
    "console": console,
    "leaderboard": leaderboard,
}
