"""MLflow's own commands, written so that they work on the store that a message is about."""

import os
from pathlib import Path

from samerun.command.quoting import command_line
from samerun.command.repeat import directory
from samerun.store import tracking

PORT = 5050  # of the documented `mlflow ui`. MLflow's own, 5000, is taken on macOS


def mlflow_command(*words: str) -> str:
    """Return a command of MLflow's that works on this store, in the folder where it is read.

    By itself MLflow takes what $MLFLOW_TRACKING_URI names, or ./mlflow.db.
    """
    uri, here = tracking.tracking_uri(), Path(directory()).resolve()
    store = tracking.local_store(uri)
    given = [tracking.local_store(named) or named for named in (*tracking.named(), "")]
    own = tracking.local_store(tracking.own_uri())
    if store != own and (store or uri) not in given:
        return command_line(["uv", "run", "mlflow", *words])  # the shell has the variable set
    if store is None or store.name != "mlflow.db":
        # There is no option for it, and each shell sets a variable in its own way.
        call = f"import os; os.environ['MLFLOW_TRACKING_URI'] = {uri!r}"
        call = f"{call}; from mlflow.cli import cli; cli()"
        return command_line(["uv", "run", "python", "-c", call, *words])
    start = ["uv", "run"]
    if store.parent != here:
        if _project(store.parent) != _project(here):
            start += ["--project", _project(here)]
        start += ["--directory", store.parent.as_posix()]
    return command_line([*start, "mlflow", *words])


def see_all(port: int = PORT) -> str:
    """Return the command that shows all runs of the store, where it is read.

    The store is named unless it is the mlflow.db of that folder, which MLflow takes by itself.
    """
    words, uri = ["uv", "run", "mlflow", "ui", "--port", str(port)], tracking.tracking_uri()
    here = Path(directory()).resolve() / "mlflow.db"
    if tracking.local_store(uri) != here or "MLFLOW_BACKEND_STORE_URI" in os.environ:
        words += ["--backend-store-uri", uri]
    return command_line(words)


def _project(folder: Path) -> str:
    """Return where uv finds the environment for a command that is typed in a folder."""
    around = [folder, *folder.parents]
    found = next((each for each in around if (each / "pyproject.toml").is_file()), folder)
    return found.as_posix()
