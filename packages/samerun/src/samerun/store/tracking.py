"""Where runs are recorded: the run store, its experiments and its artifacts."""

import atexit
import contextlib
import functools
import gc
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from samerun.errors import RecordError
from samerun.process.ending import end_lost_runs
from samerun.root import project_root
from samerun.secrets.guard import guard_client
from samerun.store.moved import ARTIFACTS, bring_up_to_date
from samerun.store.probe import check_address, check_answer, check_database

WAIT_FOR_CREATION = 120  # seconds; it takes 3 on an idle machine
# MLflow's page shows an experiment of this kind under Model training, and any other one as traces
# of language models.
KIND = {"mlflow.experimentKind": "custom_model_development"}
_named: list[str] = []


def tracking_uri() -> str:
    """Return `$MLFLOW_TRACKING_URI`, or the address of the project's own store, mlflow.db."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_uri()


def own_uri() -> str:
    """Return the address of the project's own store."""
    # as_posix: SQLAlchemy takes sqlite:///C:/folder, and takes spaces and accents as they are.
    return f"sqlite:///{(project_root() / 'mlflow.db').as_posix()}"


def use_store(*, create: bool = True) -> str:
    """Point MLflow at the run store, creating a local one at first use, and return its address.

    Runs of this machine that have lost their process are ended. Safe when several processes do it
    at once. A store that was moved or copied since it was last used gets its artifacts' addresses
    corrected, see `samerun.store.moved`.

    Raises
    ------
    RecordError
        The store cannot be created, or `create` is false and there is none; it does not answer,
        or it cannot be used for another reason, see `samerun.store.probe`.
    """
    uri = tracking_uri()
    check_address(uri)
    _turn_telemetry_off()
    import mlflow

    _exit_at_once()
    guard_client()
    store = local_store(uri)
    if store and not _is_created(store):
        if not create:
            raise RecordError(f"There is no run store at {store} yet. Start a run first.")
        create_store(store)
    if store:
        check_database(store, write=create)
        _bring_up_to_date(store)
        uri = f"sqlite:///{store.as_posix()}"  # whole, for a script may change its folder
    else:
        check_answer(uri)
    mlflow.set_tracking_uri(uri)
    # At every logged model they say that this is a uv project and that its environment has no pip.
    for noisy in ("mlflow.utils.environment", "mlflow.utils.uv_utils"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    end_lost_runs()
    return uri


def _bring_up_to_date(store: Path) -> None:
    try:
        if bring_up_to_date(store):
            from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

            _artifact_repos_cache.clear()  # of runs that this process wrote to before
    except (OSError, sqlite3.Error) as error:
        raise RecordError(
            f"The run store was moved or copied to {store}, and the addresses of its artifacts "
            f"cannot be corrected there: {error}. Copy its whole folder, {ARTIFACTS} included, to "
            "a place where you may write, and name that one: --store FOLDER or "
            "MLFLOW_TRACKING_URI=sqlite:///FOLDER/mlflow.db"
        ) from error


def named() -> tuple[str, ...]:
    """Return the stores that `name_store` took, of which the shell knows nothing."""
    return tuple(_named)


def name_store(where: str) -> None:
    """Take the store at a path, of its file or of the folder that holds it, or at an address.

    Raises
    ------
    RecordError
        There is nothing at that path.
    """
    if not re.match(r"[A-Za-z][\w+.-]+:", where):
        path = Path(where).absolute()
        path = path / "mlflow.db" if path.is_dir() else path
        if not path.is_file():
            raise RecordError(f"There is no run store at {path}. Expected a file mlflow.db.")
        where = f"sqlite:///{path.as_posix()}"
    os.environ["MLFLOW_TRACKING_URI"] = where
    _named.append(where)


def _turn_telemetry_off() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.telemetry import set_telemetry_client

    set_telemetry_client()  # drops the client of an `import mlflow` that came before


@functools.cache
def _exit_at_once() -> None:
    """Let no garbage be looked for at exit: among all that MLflow imports, it takes a second."""

    def freeze() -> None:
        # Triton, which PyTorch brings along on Linux, would print a list of what is left.
        if sys.modules.get("triton") is None:
            gc.freeze()

    atexit.register(freeze)


def local_store(uri: str) -> Path | None:
    """Return the file of an SQLite store; None for a server or a store in memory."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    return Path(database).absolute() if database and database != ":memory:" else None


def _is_created(store: Path) -> bool:
    return store.exists() and store.stat().st_size > 0


def create_store(store: Path) -> None:
    """Make the store under another name and move it into place, so that it is whole or absent."""
    from filelock import FileLock, Timeout

    unfinished = store.with_name(f"{store.name}.unfinished")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{store}.lock", timeout=WAIT_FOR_CREATION):
            if _is_created(store):
                return
            print(f"Creating the run store {store.name} (once, a few seconds)", file=sys.stderr)
            unfinished.unlink(missing_ok=True)
            _make_tables(unfinished, artifacts=store.parent / ARTIFACTS)
            unfinished.replace(store)
    except Timeout:
        raise RecordError(
            f"Another process has been creating the run store {store} for {WAIT_FOR_CREATION} s. "
            f"If there is none, remove {store}.lock and try again."
        ) from None
    except OSError as error:
        raise RecordError(
            f"The run store {store} cannot be created: {error}. Make its folder writable, or name "
            "another place: MLFLOW_TRACKING_URI=sqlite:///path/to/mlflow.db"
        ) from error


def _make_tables(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _quiet("alembic", "mlflow.store"):
        new = SqlAlchemyStore(f"sqlite:///{database.as_posix()}", artifacts.as_uri())
    new.engine.dispose()  # Windows moves no open file


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Let the named loggers say only what is wrong."""
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def experiment_id(name: str) -> str:
    """Return the id of an experiment, which is created if need be.

    Raises
    ------
    RecordError
        The experiment was deleted.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    experiment = mlflow.get_experiment_by_name(name)
    if experiment is None:
        try:
            location = _artifact_location(name)
            return mlflow.create_experiment(name, artifact_location=location, tags=KIND)
        except MlflowException:
            experiment = mlflow.get_experiment_by_name(name)  # another process was faster
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        from samerun.command.of_mlflow import mlflow_command

        raise RecordError(
            f"The experiment {name!r} was deleted. Give `experiment` another name, or bring it "
            f"back: {mlflow_command('experiments', 'restore', '-x', experiment.experiment_id)}"
        )
    if KIND.items() - experiment.tags.items() and local_store(tracking_uri()):
        for tag, kind in KIND.items():  # it was made before, or by something else
            mlflow.MlflowClient().set_experiment_tag(experiment.experiment_id, tag, kind)
    return experiment.experiment_id


def _artifact_location(name: str) -> str | None:
    """Return where a local store keeps an experiment's artifacts, whatever the working directory.

    A server decides for itself: None.
    """
    store = local_store(tracking_uri())
    folder = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "experiment"
    return (store.parent / ARTIFACTS / folder).as_uri() if store else None


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep MLflow from drawing a bar for the download of a small file."""
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as BAR

    before = BAR.get_raw()
    BAR.set(False)
    try:
        yield
    finally:
        BAR.unset() if before is None else BAR.set(before)
