"""A local store that was moved or copied: its artifacts are those that lie beside it now.

MLflow writes the whole path of its artifacts into every experiment and run. `bring_up_to_date`
corrects these addresses in the store itself, so that MLflow's own page and calls find them, too.
"""

import os
import sqlite3
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ARTIFACTS = "mlartifacts"  # beside the local store
PATIENCE = 10  # seconds to wait for another process that writes

# Where MLflow 3.17 keeps addresses; all begin with that of their experiment.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def bring_up_to_date(store: Path) -> list[str]:
    """Let what is recorded of artifacts lead to the folder beside the store.

    Returns
    -------
    The folders from which the store was moved or copied; none if all was as it should be.

    Raises
    ------
    OSError, sqlite3.Error
        The store cannot be written to.
    """
    if not _left_behind(store):
        return []
    from filelock import FileLock

    with FileLock(f"{store}.lock", timeout=PATIENCE):
        moves, runs = _left_behind(store), 0  # another process may have been faster
        with sqlite3.connect(store, timeout=PATIENCE) as connection:
            for old, new in moves.items():
                for table, column in ADDRESSES:
                    done = connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                    )
                    runs += done.rowcount if table == "runs" else 0
        connection.close()  # `with` only commits
    if runs:
        places = sorted({str(_path(old).parent.parent) for old in moves})
        print(
            f"The run store was moved or copied to {store.parent} from {', '.join(places)}. From "
            f"now on its artifacts are those in {store.parent / ARTIFACTS}.",
            file=sys.stderr,
        )
    return sorted(moves)


def _left_behind(store: Path) -> dict[str, str]:
    """Return the addresses of experiments that lead elsewhere, with those they should have."""
    connection = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)
    try:
        found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    finally:
        connection.close()
    beside = (store.parent / ARTIFACTS).as_uri()
    return {
        location: f"{beside}/{location.rpartition('/')[2]}"
        for (location,) in found
        if location and _is_ours(location) and _is_left(_path(location), store)
    }


def _is_ours(location: str) -> bool:
    """Say whether an experiment's address has the form that this library gives it."""
    return location.startswith("file:") and location.split("/")[-2:-1] == [ARTIFACTS]


def _path(location: str) -> Path:
    return Path(url2pathname(urlsplit(location).path))


def _is_left(folder: Path, store: Path) -> bool:
    """Say whether the artifacts of an experiment were in `folder` and are now beside the store."""
    home = folder.parent.parent
    if home.exists() and os.path.samefile(home, store.parent):
        return False
    if (home / store.name).exists():  # this store is a copy, and the original shall stay as it is
        return True
    # Where the store alone was moved, its artifacts have stayed and are used where they are.
    return not folder.exists() or (store.parent / ARTIFACTS / folder.name).exists()
