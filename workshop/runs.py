"""Finding a run by what a person types, with what it has to have."""

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workshop.data import DATASETS
from workshop.errors import WorkshopError
from workshop.tracking import find_run, tracking_uri, use_store

if TYPE_CHECKING:  # mlflow takes seconds to import
    from mlflow.entities import Run

LATEST = "attributes.start_time DESC"

log = logging.getLogger(__name__)


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
    WorkshopError
        There is no such run, it is of another experiment, it has not finished, it was deleted, or
        it lacks an artifact.
    """
    if which in ("latest", "best"):
        run = _latest_or_best(which, experiment, metric)
    else:
        run = find_run(str(which))
        check_experiment(run, experiment)
        _check_finished(run)
    for path in needs:
        check_artifact(run, path)
    return run


def _latest_or_best(which: str, experiment: str, metric: str) -> "Run":
    use_store(create=False)
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage == "deleted":
        names = ", ".join(sorted(e.name for e in client.search_experiments())) or "none"
        raise WorkshopError(
            f"There is no experiment {experiment!r} in {tracking_uri()}. There are: {names}. "
            "Train a run first, or choose one of them: experiment=NAME"
        )
    finished = "attributes.status = 'FINISHED'"
    runs = client.search_runs([found.experiment_id], finished, max_results=1, order_by=[LATEST])
    if runs and which == "best":
        data = runs[0].data.tags.get("trace.dataset")
        same = f" AND tags.`trace.dataset` = '{data}'" if data in DATASETS else ""
        highest = [f"metrics.{metric} DESC"]
        runs = client.search_runs(
            [found.experiment_id], finished + same, max_results=1, order_by=highest
        )
        if runs and metric in runs[0].data.metrics:
            log.info("The best run on %s: %s", data, runs[0].info.run_name)
        else:
            runs = []
    if not runs:
        with_metric = f" with a metric {metric}" if which == "best" else ""
        raise WorkshopError(
            f"No run of the experiment {experiment!r} has finished{with_metric} yet. "
            "Train one, or name a run: run_id=..."
        )
    return runs[0]


def _check_finished(run: "Run") -> None:
    status, run_id = run.info.status, run.info.run_id
    if status == "FINISHED":
        return
    what = {
        "RUNNING": "is still running, or its process died",
        "KILLED": "was interrupted",
    }.get(status, "did not come to its end")
    raise WorkshopError(
        f"The run {run_id} ({run.info.run_name}) {what}: its status is {status}, expected "
        f"FINISHED. To continue an interrupted one: training.resume={run_id}"
    )


def check_experiment(run: "Run", experiment: str) -> None:
    """Refuse a run of another experiment with a WorkshopError."""
    from mlflow import MlflowClient

    its = MlflowClient().get_experiment(run.info.experiment_id).name
    if its != experiment:
        raise WorkshopError(
            f"The run {run.info.run_id} ({run.info.run_name}) belongs to the experiment {its!r}, "
            f"expected {experiment!r}. If that is meant: experiment={its}"
        )


def check_artifact(run: "Run", path: str) -> None:
    """Refuse a run without this artifact with a WorkshopError."""
    from mlflow import MlflowClient

    folder, _, _ = path.rpartition("/")
    listed = [a.path for a in MlflowClient().list_artifacts(run.info.run_id, folder or None)]
    if path not in listed:
        raise WorkshopError(
            f"The run {run.info.run_id} ({run.info.run_name}) has no artifact {path}. "
            f"Found: {', '.join(listed) or 'none'}"
        )


def find_interrupted(run_id: str, experiment: str, needs: Sequence[str] = ()) -> "Run":
    """Return a run that can be continued: one that has not finished and left these artifacts.

    Raises
    ------
    WorkshopError
        There is no such run, it is of another experiment, it has finished or it lacks an artifact.
    """
    run = find_run(str(run_id))
    check_experiment(run, experiment)
    if run.info.status == "FINISHED":
        raise WorkshopError(
            f"The run {run.info.run_id} ({run.info.run_name}) has finished: there is nothing to "
            "resume. To train longer, start a new run with more epochs."
        )
    if run.info.status == "RUNNING":
        log.warning(
            "The run %s is marked as running. If another process still trains it, stop that first.",
            run.info.run_id,
        )
    for path in needs:
        check_artifact(run, path)
    return run


def last_step(run_id: str, metric: str) -> int:
    """Return the last step at which a metric of a run is recorded, 0 if it is not."""
    from mlflow import MlflowClient

    return max((m.step for m in MlflowClient().get_metric_history(run_id, metric)), default=0)


def wilson_interval(correct: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, `correct` out of `n`; 95 % by default."""
    share, spread = correct / n, z * z / n
    middle = share + spread / 2
    half = z * math.sqrt((share * (1 - share) + spread / 4) / n)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)
