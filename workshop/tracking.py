"""Where runs are recorded, and how one starts: the run store, `start_run`, `find_run`."""

import atexit
import contextlib
import functools
import gc
import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workshop.errors import WorkshopError
from workshop.trace import FOLDER, ROOT, Dataset, collect, record

if TYPE_CHECKING:  # mlflow takes seconds to import, and `workshop --help` must not wait for it
    from mlflow import ActiveRun
    from mlflow.entities import Run
    from omegaconf import DictConfig

ARTIFACTS = "mlartifacts"  # beside the local store
WAIT_FOR_CREATION = 120  # seconds; it takes 3 on an idle machine

log = logging.getLogger(__name__)


def tracking_uri() -> str:
    """Return `$MLFLOW_TRACKING_URI`, or the address of the checkout's own store, mlflow.db."""
    # as_posix: SQLAlchemy takes sqlite:///C:/folder, and takes spaces and accents as they are.
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(ROOT / 'mlflow.db').as_posix()}"


def use_store(*, create: bool = True) -> str:
    """Point MLflow at the run store, creating a local one at first use, and return its address.

    Safe when several processes do it at once.

    Raises
    ------
    WorkshopError
        The store cannot be created, or `create` is false and there is none.
    """
    _turn_telemetry_off()
    import mlflow

    _exit_at_once()
    uri = tracking_uri()
    store = local_store(uri)
    if store and not _is_created(store):
        if not create:
            raise WorkshopError(f"There is no run store at {store} yet. Start a run first.")
        create_store(store)
    mlflow.set_tracking_uri(uri)
    # At every logged model they say that this is a uv project and that its environment has no pip.
    for noisy in ("mlflow.utils.environment", "mlflow.utils.uv_utils"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    return uri


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
        raise WorkshopError(
            f"Another process has been creating the run store {store} for {WAIT_FOR_CREATION} s. "
            f"If there is none, remove {store}.lock and try again."
        ) from None
    except OSError as error:
        raise WorkshopError(
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
    WorkshopError
        The experiment was deleted.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    experiment = mlflow.get_experiment_by_name(name)
    if experiment is None:
        try:
            return mlflow.create_experiment(name, artifact_location=_artifact_location(name))
        except MlflowException:
            experiment = mlflow.get_experiment_by_name(name)  # another process was faster
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise WorkshopError(
            f"The experiment {name!r} was deleted. Use another name (experiment=...), or bring it "
            f"back: uv run mlflow experiments restore -x {experiment.experiment_id}"
        )
    return experiment.experiment_id


def _artifact_location(name: str) -> str | None:
    """Return where a local store keeps an experiment's artifacts, whatever the working directory.

    A server decides for itself: None.
    """
    store = local_store(tracking_uri())
    folder = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "experiment"
    return (store.parent / ARTIFACTS / folder).as_uri() if store else None


@contextlib.contextmanager
def start_run(
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset,
    *,
    run_name: str | None = None,
    overrides: Sequence[str] | None = None,
    parent: str | None = None,
) -> "Iterator[ActiveRun]":
    """Start an MLflow run in the experiment `cfg.experiment` and record its trace.

    The run ends as FINISHED, as FAILED after an exception, as KILLED after Ctrl+C; exceptions go
    on. A trace that cannot be recorded is a warning and never costs the run.

    Parameters
    ----------
    cfg : the composed configuration; `experiment` must be in it, `seed` should
    dataset : what the run is about to use, with `name`, `digest` and `source`
    run_name : a name to show; MLflow makes one up otherwise
    overrides : in place of those of the Hydra job, for a configuration composed inside one
    parent : the id of the run that this one is a part of, such as the study of a trial

    Raises
    ------
    WorkshopError
        There is no store to record to, or `cfg` names no usable experiment.
    """
    use_store()
    import mlflow

    name = cfg.get("experiment")
    if not name:
        raise WorkshopError("The configuration names no experiment. Add: experiment: my-experiment")
    _import_skops()
    started = mlflow.start_run(
        experiment_id=experiment_id(name),
        run_name=run_name,
        nested=parent is not None,
        parent_run_id=parent,
    )
    with _traced(started, cfg, dataset, overrides, FOLDER) as run:
        yield run


def _import_skops() -> None:
    """Import what MLflow saves scikit-learn models with, in half a second instead of four.

    skops looks into every module of scikit-learn, and one of those imports PyTorch if it can.
    """
    if "sklearn" in sys.modules and "torch" not in sys.modules:
        sys.modules["torch"] = None  # Python's own mark of a module that cannot be imported
        try:
            with contextlib.suppress(Exception):  # if it is needed, it will fail where it is
                importlib.import_module("skops.io")
        finally:
            del sys.modules["torch"]


@contextlib.contextmanager
def continue_run(
    run: "Run", cfg: "DictConfig | Mapping[str, object]", dataset: Dataset
) -> "Iterator[ActiveRun]":
    """Make an earlier run active again; it ends as one of `start_run` does.

    Code and machine may be others than at its start, so the continuation leaves a trace of its own
    below trace/continued-1, -2 ...
    """
    import mlflow
    from mlflow import MlflowClient

    listed = MlflowClient().list_artifacts(run.info.run_id, FOLDER)
    number = 1 + sum(file.path.startswith(f"{FOLDER}/continued-") for file in listed)
    again = mlflow.start_run(run_id=run.info.run_id)
    with _traced(again, cfg, dataset, None, f"{FOLDER}/continued-{number}") as active:
        yield active


@contextlib.contextmanager
def _traced(
    active: "ActiveRun",
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset,
    overrides: Sequence[str] | None,
    folder: str,
) -> "Iterator[ActiveRun]":
    import mlflow

    with active as run:
        try:
            _record_trace(cfg, dataset, overrides, folder)
            yield run
        except KeyboardInterrupt:
            mlflow.end_run("KILLED")  # MLflow by itself would call it FAILED
            raise
    log.info("Recorded: uv run workshop trace %s", run.info.run_id[:8])


def _record_trace(
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset,
    overrides: Sequence[str] | None,
    folder: str,
) -> None:
    try:
        record(collect(cfg, dataset, ROOT, overrides=overrides), folder)
    except Exception as error:  # whatever it is, the experiment matters more
        log.warning("The trace of this run could not be recorded: %s", error)
        import mlflow

        with contextlib.suppress(Exception):
            mlflow.set_tag("trace.problems", f"not recorded: {error}"[:1000])


def find_run(run_id: str) -> "Run":
    """Return the run with this id, or the only one whose id begins so.

    Raises
    ------
    WorkshopError
        There is no such run, there are several, or it was deleted.
    """
    use_store(create=False)
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient()
    every = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    found = []
    if re.fullmatch("[0-9a-f]{1,32}", run_id):  # nothing else may reach the filter
        begins_so = f"attributes.run_id LIKE '{run_id}%'"
        found = client.search_runs(every, begins_so, ViewType.ALL, max_results=10)
    if not found:
        latest = client.search_runs(every, max_results=5, order_by=["attributes.start_time DESC"])
        raise WorkshopError(
            f"There is no run {run_id!r} in {tracking_uri()}. {_listed('The latest', latest)}\n"
            f"All of them: uv run mlflow ui --port 5050 --backend-store-uri {tracking_uri()}"
        )
    if len(found) > 1:
        raise WorkshopError(
            f"Several runs begin with {run_id!r}; give more of the id. {_listed('They', found)}"
        )
    run = found[0]
    if run.info.lifecycle_stage == "deleted":
        raise WorkshopError(
            f"The run {run.info.run_id} was deleted. To bring it back: "
            f"uv run mlflow runs restore --run-id {run.info.run_id}"
        )
    return run


def _listed(which: str, runs: "Sequence[Run]") -> str:
    lines = [f"\n  {run.info.run_id}  {run.info.run_name}" for run in runs]
    return f"{which} are:{''.join(lines)}" if lines else "It holds no runs."


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
