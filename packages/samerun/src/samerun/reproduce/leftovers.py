"""The private folder of a repetition, and what is left of one whose process was killed.

A repetition writes nothing into the checkout that it starts from: code, environment, its own run
store and all that the training leaves lie in one folder among this user's caches. As long as it
lasts, its process holds a lock on a file beside that folder, and the system lets go of a lock
however a process ends. So a folder whose lock is free is nobody's any more, and goes.
"""

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

PLACE = "SAMERUN_CACHE"  # names another folder than the usual one of this user's caches


def place() -> Path:
    """Return the folder that holds those of all repetitions of this user."""
    import platformdirs

    named = os.environ.get(PLACE)
    caches = Path(named).absolute() if named else platformdirs.user_cache_path("samerun", False)
    return caches / "repetitions"


@contextlib.contextmanager
def private_folder(name: str) -> Iterator[Path]:
    """Make a folder that no other repetition uses, and remove it at the end.

    Raises OSError where it cannot be made.
    """
    from filelock import FileLock

    folder = place() / f"{name}-{secrets.token_hex(3)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The lock comes first: nobody shall find a folder without one.
    lock = FileLock(_lock_of(folder), thread_local=False)
    try:
        with lock:
            folder.mkdir(mode=0o700)
            try:
                yield folder
            finally:
                remove(folder)
    finally:
        _forget(folder)


def remove_leftovers() -> list[Path]:
    """Remove the folders whose processes are gone, and return them. Never raises OSError."""
    from filelock import FileLock, Timeout

    removed = []
    for file in sorted(place().glob("*.lock")):
        folder = file.with_suffix("")
        try:
            with FileLock(file, timeout=0):
                if folder.exists():
                    remove(folder)
                    removed += [] if folder.exists() else [folder]
            _forget(folder)
        except (Timeout, OSError):
            continue  # it lasts; or it belongs to somebody else
    return removed


def remove(folder: Path) -> None:
    """Remove a folder with what a run left in it, such as files that are read-only.

    No link is followed: the run may have been a stranger's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        if not os.path.islink(folder):
            os.chmod(folder, stat.S_IRWXU)
    for within, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if not os.path.islink(path := os.path.join(within, name)):
                with contextlib.suppress(OSError):
                    os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _forget(folder: Path) -> None:
    """Remove the lock of a folder that is gone. One that would not go has another chance later."""
    if not folder.exists():
        _lock_of(folder).unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
