"""Whether a run store answers, asked before a run begins: MLflow by itself retries for minutes."""

import functools
import importlib.metadata
import importlib.util
import os
import re
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from samerun.command.quoting import quoted
from samerun.errors import RecordError
from samerun.process.variables import to_unset
from samerun.secrets.masking import masked_text
from samerun.store.moved import PATIENCE

SECONDS = 5  # for a server to answer
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
EXPECTED = "Expected sqlite:///PATH/mlflow.db, or the address of a server, http://HOST:PORT"


def check_address(uri: str) -> None:
    """Refuse an address that names no store, or not the one it seems to name.

    Raises
    ------
    RecordError
        It is of a kind that MLflow does not record to, or a folder in it has a name that MLflow
        would read in another way.
    """
    scheme = re.match(r"[A-Za-z][\w+.-]*(?=:)", uri)
    kind = scheme[0].lower().partition("+")[0] if scheme else ""
    if kind in ("http", "https", "databricks", "uc", *DATABASES) or uri == "databricks":
        return
    if kind == "sqlite":
        _check_path(uri)
        return
    shown = masked_text(uri)
    if not kind or kind == "file" or len(kind) == 1:
        folder = Path(re.sub("^file:(//)?", "", uri) or ".").absolute()
        folder = folder.parent if folder.name == "mlruns" else folder  # MLflow's own name for it
        raise RecordError(
            f"MLFLOW_TRACKING_URI={shown} names a folder, and MLflow records to a folder no more. "
            f"{EXPECTED}.\n{_to_set('sqlite:///' + (folder / 'mlflow.db').as_posix())}"
        )
    server = f"\nIf it is a server: {_to_set('http://' + shown)}" if re.search(r":\d", uri) else ""
    raise RecordError(f"MLFLOW_TRACKING_URI={shown} is no address of a store. {EXPECTED}.{server}")


def _check_path(uri: str) -> None:
    path = re.sub(r"^sqlite(\+\w+)?:", "", uri)
    if not path.startswith("///"):
        raise RecordError(
            f"MLFLOW_TRACKING_URI={uri} lacks slashes: three before a path, and a fourth where "
            f"the path begins with one.\n{_to_set('sqlite:///' + path.lstrip('/'))}"
        )
    # MLflow takes %20 for a space, and ? for the beginning of options: it would write elsewhere.
    wrong = re.search(r"%[0-9A-Fa-f]{2}|\?", path)
    if wrong:
        raise RecordError(
            f"The run store cannot lie at {path[3:]}: MLflow reads {wrong[0]} in an address as "
            "something else. Rename the folder, or, if it stands for another character, type that. "
            f"Or name a store elsewhere:\n{_to_set('sqlite:////path/to/mlflow.db')}"
        )


def _to_set(uri: str) -> str:
    """Return the line that sets the address, as the shell at hand wants it."""
    if os.name == "nt":
        return f'  $env:MLFLOW_TRACKING_URI = "{uri}"'
    return f"  export {quoted(f'MLFLOW_TRACKING_URI={uri}')}"


def check_answer(uri: str) -> None:
    """Ask a server once whether it is there. A local store is asked by `check_database`.

    Raises
    ------
    RecordError
        It does not answer within seconds, it wants other credentials, or it is no MLflow server.
    """
    kind = urlsplit(uri).scheme.lower().partition("+")[0]
    if kind in ("http", "https"):
        _ask_server(uri)
    elif kind in DATABASES:
        _knock(uri, DATABASES[kind])


@functools.cache  # a later hiccup is left to MLflow, which tries again for four minutes
def _ask_server(uri: str) -> None:
    import requests
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(
            get_default_host_creds(uri.rstrip("/")),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            max_retries=0,
            timeout=SECONDS,
            raise_on_status=False,
            params={"max_results": 1},
        )
        about = answer.json() if answer.status_code == 200 else None
    except requests.exceptions.JSONDecodeError:
        about = None
    except Exception as error:  # requests' own, or MLflow's around it
        raise _no_answer(uri, _reason(error)) from None
    if answer.status_code in (401, 403):
        raise RecordError(
            f"The run store at {masked_text(uri)} refuses the credentials (it answers "
            f"{answer.status_code}). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN."
        )
    if answer.status_code >= 500:
        raise _no_answer(uri, f"it answers {answer.status_code}, an error of its own")
    if not isinstance(about, dict):
        raise _no_answer(uri, f"what answers there ({answer.status_code}) is no MLflow server")


def _reason(error: BaseException) -> str:
    text = str(error).lower()
    if "timeout" in text or "timed out" in text:
        return f"no answer within {SECONDS} s"
    if "refused" in text:
        return "nobody listens there"
    if "resolve" in text or "name or service" in text or "getaddrinfo" in text:
        return "no computer of that name is known"
    return masked_text(str(error).splitlines()[0])[:300]


def _knock(uri: str, usual_port: int) -> None:
    address = urlsplit(uri)
    try:
        place = (address.hostname or "localhost", address.port or usual_port)
        socket.create_connection(place, timeout=SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_answer(uri, _reason(error)) from None


def _no_answer(uri: str, reason: str) -> RecordError:
    return RecordError(
        f"The run store at MLFLOW_TRACKING_URI={masked_text(uri)} does not answer: {reason}.\n"
        "Start it, mend the address, or record to the project's own store instead:\n"
        f"  {to_unset('MLFLOW_TRACKING_URI')}"
    )


def check_database(store: Path, *, write: bool) -> None:
    """Look whether a local store can be read, and with `write` whether it can be written to.

    Raises
    ------
    RecordError
        The file is damaged, locked, no store, that of another MLflow, or read-only.
    """
    mode = "rw" if write else "ro"
    try:
        connection = sqlite3.connect(f"{store.as_uri()}?mode={mode}", uri=True, timeout=PATIENCE)
        try:
            version = _schema(connection)
            if write:
                connection.execute("BEGIN IMMEDIATE")
                connection.rollback()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise RecordError(_what_to_do(store, str(error))) from None
    if write and not os.access(store.parent, os.W_OK):
        raise RecordError(_what_to_do(store, "its folder is readonly"))
    _check_version(store, version)


def _schema(connection: sqlite3.Connection) -> str | None:
    """Return the version of the tables; None in a database that is no store of MLflow's."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not {"experiments", "runs", "alembic_version"} <= tables:
        return None
    connection.execute("SELECT count(*) FROM experiments").fetchone()
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def _what_to_do(store: Path, error: str) -> str:
    name_another = f"or name another store:\n{_to_set('sqlite:////path/to/mlflow.db')}"
    if "locked" in error:
        return (
            f"The run store {store} is locked: for {PATIENCE} s another program has been writing "
            "to it. End that (a database browser, a killed process), then try again."
        )
    if "readonly" in error or "read-only" in error:
        return (
            f"The run store {store} can be read but not written to. Make the file and its folder "
            f"writable, {name_another}"
        )
    if "unable to open" in error:
        return (
            f"The run store {store} cannot be opened: {error}. Mind its permissions, {name_another}"
        )
    return (
        f"The run store {store} is damaged or no SQLite database: {error}. Put a copy of it back, "
        f"or move it away, and the next run makes a new one; {name_another}"
    )


@functools.cache
def _known_versions() -> tuple[str, frozenset[str]]:
    """Return the version of the tables that this MLflow wants, and all that it knows.

    Read from the files of its migrations: to import them takes two seconds, for they import MLflow.
    """
    found = importlib.util.find_spec("mlflow")
    places = (found and found.submodule_search_locations) or []
    known, before = set[str](), set[str]()
    for place in places:
        for path in Path(place, "store", "db_migrations", "versions").glob("*.py"):
            text = path.read_text(encoding="utf-8")
            known |= set(re.findall(r"^revision\b.*?=.*?[\"'](\w+)[\"']", text, re.M))
            for line in re.findall(r"^down_revision\b.*", text, re.M):
                before |= set(re.findall(r"[\"'](\w+)[\"']", line))
    wanted = known - before
    return (wanted.pop() if len(wanted) == 1 else ""), frozenset(known)


def _check_version(store: Path, version: str | None) -> None:
    wanted, known = _known_versions()
    if version == wanted or not wanted:  # an MLflow that says it in another way finds out itself
        return
    installed = importlib.metadata.version("mlflow")
    if version is None:
        raise RecordError(
            f"{store} is a database, but no run store of MLflow's. Name another one:\n"
            f"{_to_set('sqlite:////path/to/mlflow.db')}"
        )
    if version in known:
        address = quoted(f"sqlite:///{store.as_posix()}")
        raise RecordError(
            f"The run store {store} was made by an older MLflow than {installed}. Keep a copy of "
            f"the file, then bring it up to date:\n  uv run mlflow db upgrade {address}"
        )
    raise RecordError(
        f"The run store {store} was made by a newer MLflow than {installed}, which is installed "
        f"here (its tables have the version {version}). Install that one, or name another store:\n"
        f"{_to_set('sqlite:////path/to/mlflow.db')}"
    )
