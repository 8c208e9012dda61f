"""How a run starts, goes on and ends, with its trace recorded: `start_run`, `continue_run`."""

import contextlib
import functools
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from samerun.code import later
from samerun.command.repeat import typed_for
from samerun.config import check_no_mask
from samerun.data import Dataset
from samerun.display import page
from samerun.errors import RecordError
from samerun.process.ending import cancelled_by_signals, held
from samerun.process.job import job_tags, let_modules_travel
from samerun.process.variables import check_variables, ignored_ones_unset
from samerun.root import project_root
from samerun.secrets.masking import masked_text
from samerun.store.tracking import experiment_id, no_progress_bars, tracking_uri, use_store
from samerun.trace import ADDED, FOLDER, collect, from_json, record

if TYPE_CHECKING:  # mlflow takes seconds to import, and --help must not wait for it
    from mlflow import ActiveRun
    from mlflow.entities import Run
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


@contextlib.contextmanager
def start_run(
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset | None = None,
    *,
    experiment: str | None = None,
    run_name: str | None = None,
    overrides: Sequence[str] | None = None,
    script: str | None = None,
    parent: str | None = None,
) -> "Iterator[ActiveRun]":
    """Start an MLflow run and record its trace.

    The run ends as FINISHED, as FAILED after an exception, as KILLED after Ctrl+C or a signal such
    as SIGTERM; exceptions go on. One whose process is lost is ended by whoever next uses the store
    on the same machine. A trace that cannot be recorded is a warning and never costs the run.

    Parameters
    ----------
    cfg : what the run was asked to do: a dictionary, such as vars() of argparse's options, or a
        configuration of Hydra's; `seed` should be in it
    dataset : what the run is about to use, with `name`, `digest` and `source`: see
        `samerun.dataset`; None if it uses no data
    experiment : the name under which MLflow groups runs; otherwise `experiment` of cfg
    run_name : a name to show; MLflow makes one up otherwise
    overrides : in place of those of the Hydra job, for a configuration composed inside one
    script : the name of the script, beside the running one, that takes these overrides: with it
        the trace tells how to repeat this run alone
    parent : the id of the run that this one is a part of, such as the study of a trial

    Raises
    ------
    RecordError
        There is no store to record to, no experiment is named, or it was deleted; another run is
        active, a variable of the shell would lead this one elsewhere, or the configuration holds
        the mask of a secret in place of the secret.
    """
    if not isinstance(cfg, Mapping):  # a DictConfig is one
        raise RecordError(
            f"The configuration is of the type {type(cfg).__name__}. Expected a dictionary, such "
            "as vars(options) of argparse's options, or a configuration of Hydra's."
        )
    check_no_mask(cfg)
    check_variables(tracking_uri())
    use_store()
    import mlflow

    if parent is None:
        _check_none_is_active()
    name = experiment or cfg.get("experiment")
    if not name:
        raise RecordError(
            "No experiment is named, under which MLflow groups runs. Add experiment: my-experiment "
            'to the configuration, or call start_run(..., experiment="my-experiment").'
        )
    _import_skops()
    start = functools.partial(
        mlflow.start_run,
        experiment_id=experiment_id(typed_for("experiment", name)),
        run_name=run_name,
        nested=parent is not None,
        parent_run_id=parent,
    )
    with _traced(start, cfg, dataset, overrides, FOLDER, script) as run:
        yield run


def _check_none_is_active() -> None:
    import mlflow

    if active := mlflow.active_run():
        raise RecordError(
            f"The run {active.info.run_id} ({active.info.run_name}) is active already: something "
            "called mlflow.start_run() or another logging call of MLflow's before this run began. "
            "Remove that call, or end its run with mlflow.end_run(); start_run starts a run itself."
        )


def _import_skops() -> None:
    """Import what MLflow saves scikit-learn models with, in half a second instead of four.

    skops looks into every module of scikit-learn, and one of those imports PyTorch if it can.
    """
    if "sklearn" in sys.modules and "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own mark of a module that cannot be imported
        try:
            with contextlib.suppress(Exception):  # if it is needed, it will fail where it is
                importlib.import_module("skops.io")
        finally:
            del sys.modules["torch"]


@contextlib.contextmanager
def continue_run(
    run: "Run", cfg: "DictConfig | Mapping[str, object]", dataset: Dataset | None = None
) -> "Iterator[ActiveRun]":
    """Make an earlier run active again; it ends as one of `start_run` does.

    Code and machine may be others than at its start, so the continuation leaves a trace of its own
    below trace/continued-1, -2 ...
    """
    check_variables(tracking_uri())
    import mlflow
    from mlflow import MlflowClient

    _check_none_is_active()
    listed = MlflowClient().list_artifacts(run.info.run_id, FOLDER)
    number = 1 + sum(file.path.startswith(f"{FOLDER}/continued-") for file in listed)
    again = functools.partial(mlflow.start_run, run_id=run.info.run_id)
    with _traced(again, cfg, dataset, None, f"{FOLDER}/continued-{number}") as active:
        yield active


def record_addition(
    run: "Run", cfg: "DictConfig | Mapping[str, object]", dataset: Dataset | None = None
) -> None:
    """Record, with a run that has ended, the command that is about to add to it.

    An evaluation, for example: whoever repeats the run then does that, too. Its trace goes below
    trace/added-1, -2 ...; once for every command and state of the code. Never costs the command.
    """
    try:
        import mlflow
        from mlflow import MlflowClient

        run_id, number = run.info.run_id, 1
        seen = collect(cfg, dataset, project_root())
        for file in MlflowClient().list_artifacts(run_id, FOLDER):
            if not file.path.startswith(f"{FOLDER}/{ADDED}"):
                continue
            number += 1
            with no_progress_bars():
                text = mlflow.artifacts.load_text(f"runs:/{run_id}/{file.path}/trace.json")
            earlier = from_json(text)
            if earlier.repeat == seen.repeat and set(seen.files) == set(earlier.files):
                return
        record(seen, f"{FOLDER}/{ADDED}{number}", run_id)
    except Exception as error:  # whatever it is, the result matters more
        log.warning("This command is not recorded with the run: %s", masked_text(str(error)))


@contextlib.contextmanager
def _traced(
    start: "Callable[[], ActiveRun]",
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset | None,
    overrides: Sequence[str] | None,
    folder: str,
    script: str | None = None,
) -> "Iterator[ActiveRun]":
    import mlflow

    let_modules_travel()
    with cancelled_by_signals():
        with ignored_ones_unset():
            active = start()
        with held(active.info.run_id), active as run:
            try:
                mlflow.set_tags(job_tags(overrides))
                _record_trace(cfg, dataset, overrides, folder, script)
                with later.recorded(run.info.run_id, folder, project_root()):
                    yield run
            except KeyboardInterrupt:
                mlflow.end_run("KILLED")  # MLflow by itself would call it FAILED
                raise
    name, short = run.info.run_name, run.info.run_id[:8]
    log.info("Recorded as %s: uv run samerun trace %s", name, short)
    log.info("In MLflow: %s", page.address(run))


def _record_trace(
    cfg: "DictConfig | Mapping[str, object]",
    dataset: Dataset | None,
    overrides: Sequence[str] | None,
    folder: str,
    script: str | None,
) -> None:
    try:
        seen = collect(cfg, dataset, project_root(), overrides=overrides, script=script)
        record(seen, folder)
    except Exception as error:  # whatever it is, the experiment matters more
        log.warning("The trace of this run could not be recorded: %s", masked_text(str(error)))
        import mlflow

        with contextlib.suppress(Exception):
            mlflow.set_tag("trace.problems", masked_text(f"not recorded: {error}")[:1000])
