"""Finding a run by what a person types, with what it has to have."""

import contextlib
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from samerun.command.of_mlflow import mlflow_command, see_all
from samerun.command.repeat import hydra_overrides, typed_for
from samerun.errors import RecordError
from samerun.store.moved import ARTIFACTS
from samerun.store.tracking import local_store, tracking_uri, use_store

if TYPE_CHECKING:  # mlflow takes seconds to import
    from mlflow import MlflowClient
    from mlflow.entities import Run

LATEST = "attributes.start_time DESC"
REPRODUCTIONS = "reproductions"  # the experiment of all repetitions: nobody's latest or best run
DIGEST = "trace.dataset_digest"

log = logging.getLogger(__name__)


def find_run(run_id: str) -> "Run":
    """Return the run with this id, or the only one whose id begins so.

    Raises
    ------
    RecordError
        There is no such run, there are several, or it was deleted.
    """
    use_store(create=False)
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient()
    every = [e.experiment_id for e in client.search_experiments(view_type=ViewType.ALL)]
    found: list[Run] = []
    if re.fullmatch("[0-9a-f]{1,32}", run_id):  # nothing else may reach the filter
        begins_so = f"attributes.run_id LIKE '{run_id}%'"
        found = client.search_runs(every, begins_so, ViewType.ALL, max_results=10)
    if not found:
        latest = client.search_runs(every, max_results=5, order_by=["attributes.start_time DESC"])
        raise RecordError(
            f"There is no run {run_id!r} in {tracking_uri()}. {_listed('The latest', latest)}\n"
            f"All of them: {see_all()}"
        )
    if len(found) > 1:
        raise RecordError(
            f"Several runs begin with {run_id!r}; give more of the id. {_listed('They', found)}"
        )
    run = found[0]
    if run.info.lifecycle_stage == "deleted":
        raise RecordError(
            f"The run {run.info.run_id} was deleted. To bring it back: "
            f"{mlflow_command('runs', 'restore', '--run-id', run.info.run_id)}"
        )
    return run


def _listed(which: str, runs: "Sequence[Run]") -> str:
    lines = [f"\n  {run.info.run_id}  {run.info.run_name}" for run in runs]
    return f"{which} are:{''.join(lines)}" if lines else "It holds no runs."


def choose_run(which: str, experiment: str, metric: str, needs: Sequence[str] = ()) -> "Run":
    """Return a finished run of an experiment.

    Parameters
    ----------
    which : "latest", "best" (the highest `metric` on the data set of the latest run, since values
        on two data sets do not compare), or the id of a run or its beginning
    experiment : the name of the experiment that the run must belong to
    metric : the metric by which "best" chooses
    needs : artifacts that the run must have

    Raises
    ------
    RecordError
        There is no such run, it is of another experiment, it has not finished, it was deleted, or
        it lacks an artifact.
    """
    which, experiment = as_typed(which), typed_for("experiment", experiment)
    if which in ("latest", "best"):
        run = _latest_or_best(which, experiment, metric)
    else:
        run = find_run(which)
        check_experiment(run, experiment)
        _check_finished(run)
    for path in needs:
        check_artifact(run, path)
    return run


def pick_run(which: str, experiment: str | None = None, metrics: Sequence[str] = ()) -> "Run":
    """Return a run to look at, however it ended.

    Parameters
    ----------
    which : "latest", "best" of the finished runs, or the id of a run or its beginning
    experiment : among the runs of which to look; otherwise "latest" looks everywhere but among
        repetitions, and "best" in the experiment of the latest run
    metrics : by the first of these that the experiment has, "best" chooses

    Raises
    ------
    RecordError
        There is no such run, or no metric to choose by.
    """
    if which not in ("latest", "best"):
        return find_run(which)
    use_store(create=False)
    from mlflow import MlflowClient

    client = MlflowClient()
    among = [
        e
        for e in client.search_experiments()
        if e.name == experiment or (experiment is None and e.name != REPRODUCTIONS)
    ]
    ids = [e.experiment_id for e in among]
    latest: list[Run] = client.search_runs(ids, max_results=1, order_by=[LATEST]) if ids else []
    if not latest:
        where = f"The experiment {experiment!r}" if experiment else tracking_uri()
        raise RecordError(f"{where} holds no runs yet. Start a run first.")
    if which == "latest":
        return latest[0]
    name = next(e.name for e in among if e.experiment_id == latest[0].info.experiment_id)
    there = {
        metric
        for run in client.search_runs([latest[0].info.experiment_id], max_results=50)
        for metric in run.data.metrics
    }
    metric = next((m for m in metrics if m in there), None)
    if metric is None:
        raise RecordError(
            f"By which metric is a run of {name} the best? Name one with --metric. There are: "
            f"{', '.join(sorted(there)) or 'none'}"
        )
    return _latest_or_best("best", name, metric)


def as_typed(run_id: object) -> str:
    """Return an id as it was typed: Hydra takes 12e4, 7113e891 and 0012 for numbers.

    Looked for among the overrides of the running job; otherwise the value as text.
    """
    if not isinstance(run_id, str):
        for override in hydra_overrides():
            _, _, text = override.partition("=")
            with contextlib.suppress(ValueError):
                if re.fullmatch("[0-9a-f]+", text) and float(text) == float(str(run_id)):
                    return text
    return str(run_id)


def _latest_or_best(which: str, experiment: str, metric: str) -> "Run":
    use_store(create=False)
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage == "deleted":
        names = ", ".join(sorted(e.name for e in client.search_experiments())) or "none"
        raise RecordError(
            f"There is no experiment {experiment!r} in {tracking_uri()}. There are: {names}. "
            "Start a run first, or let `experiment` name one of them."
        )
    finished = "attributes.status = 'FINISHED'"
    runs: list[Run] = client.search_runs(
        [found.experiment_id], finished, max_results=1, order_by=[LATEST]
    )
    if runs and which == "best":
        # By digest, since two data sets may bear one name; in pages, for a filter cannot ask for
        # runs without one.
        digest = runs[0].data.tags.get(DIGEST)
        by_metric = {"filter_string": finished, "order_by": [f"metrics.`{metric}` DESC"]}
        best = (
            run
            for run in _pages(client, found.experiment_id, **by_metric)
            if metric in run.data.metrics and run.data.tags.get(DIGEST) == digest
        )
        runs = list(itertools.islice(best, 1))
        if runs:
            data = runs[0].data.tags.get("trace.dataset", "no named data set")
            log.info("The best run on %s: %s", data, runs[0].info.run_name)
    if not runs:
        with_metric = f" with a metric {metric}" if which == "best" else ""
        raise RecordError(
            f"No run of the experiment {experiment!r} has finished{with_metric} yet. "
            "Let one come to its end, or name a run by its id."
        )
    return runs[0]


def _pages(client: "MlflowClient", experiment: str, **what: Any) -> "Iterator[Run]":
    """Yield the runs of an experiment, asking for the next ones only when they are needed."""
    token = None
    while True:
        page = client.search_runs([experiment], max_results=200, page_token=token, **what)
        yield from page
        token = page.token
        if not token:
            return


def _check_finished(run: "Run") -> None:
    status, run_id = run.info.status, run.info.run_id
    if status == "FINISHED":
        return
    what = {
        "RUNNING": "is still running, or its process died",
        "KILLED": "was interrupted",
    }.get(status, "did not come to its end")
    raise RecordError(
        f"The run {run_id} ({run.info.run_name}) {what}: its status is {status}, expected "
        "FINISHED. Continue it to its end, where the script can, or choose another run."
    )


def check_experiment(run: "Run", experiment: str) -> None:
    """Refuse a run of another experiment with a RecordError."""
    from mlflow import MlflowClient

    its = MlflowClient().get_experiment(run.info.experiment_id).name
    if its != experiment:
        raise RecordError(
            f"The run {run.info.run_id} ({run.info.run_name}) belongs to the experiment {its!r}, "
            f"expected {experiment!r}. If that run is meant, let `experiment` be {its}."
        )


def check_artifact(run: "Run", path: str) -> None:
    """Refuse a run without this artifact with a RecordError."""
    from mlflow import MlflowClient

    folder, _, _ = path.rpartition("/")
    listed = [a.path for a in MlflowClient().list_artifacts(run.info.run_id, folder or None)]
    if path not in listed:
        check_artifacts_are_there(run)
        raise RecordError(
            f"The run {run.info.run_id} ({run.info.run_name}) has no artifact {path}. "
            f"Found: {', '.join(listed) or 'none'}"
        )


@contextlib.contextmanager
def readable(run: "Run") -> Iterator[None]:
    """End with a RecordError where a file of a run may not be read: those of another user."""
    try:
        yield
    except PermissionError as error:
        raise RecordError(
            f"The run {run.info.run_id} cannot be read: {error.filename}: {error.strerror}. If it "
            "is another user's, ask for the right to read its files, or for an archive of it: "
            "samerun export makes one."
        ) from error


def check_artifacts_are_there(run: "Run") -> None:
    """Refuse a run of a local store that has lost all of its artifacts with a RecordError."""
    store, where = local_store(tracking_uri()), urlsplit(run.info.artifact_uri)
    if store is None or where.scheme != "file" or Path(url2pathname(where.path)).is_dir():
        return
    raise RecordError(
        f"The artifacts of the run {run.info.run_id} ({run.info.run_name}) are not where the store "
        f"says: {url2pathname(where.path)}\nIf {store} was copied, copy the folder {ARTIFACTS} "
        "from beside the original to beside it; if they were moved or removed, bring them back."
    )


def find_interrupted(run_id: str, experiment: str, needs: Sequence[str] = ()) -> "Run":
    """Return a run that can be continued: one that has not finished and left these artifacts.

    Raises
    ------
    RecordError
        There is no such run, it is of another experiment, it has finished or it lacks an artifact.
    """
    run = find_run(as_typed(run_id))
    check_experiment(run, typed_for("experiment", experiment))
    if run.info.status == "FINISHED":
        raise RecordError(
            f"The run {run.info.run_id} ({run.info.run_name}) has finished: there is nothing to "
            "continue. For a longer one, start a new run."
        )
    if run.info.status == "RUNNING":
        log.warning(
            "The run %s is marked as running. If another process still works on it, stop that.",
            run.info.run_id,
        )
    for path in needs:
        check_artifact(run, path)
    return run


def last_step(run_id: str, metric: str) -> int:
    """Return the last step at which a metric of a run is recorded, 0 if it is not."""
    from mlflow import MlflowClient

    return max((m.step for m in MlflowClient().get_metric_history(run_id, metric)), default=0)
