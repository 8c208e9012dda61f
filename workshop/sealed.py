"""The test set is opened once: by evaluate.py, for the one model that a comparison ended with.

Code that trains loads its data without the test set, by `load_training_data`, so that no run of a
sweep, no trial and no epoch can be chosen by it.
"""

import logging
from typing import TYPE_CHECKING

from workshop.data import Dataset, unsealed
from workshop.errors import WorkshopError

if TYPE_CHECKING:  # mlflow takes seconds to import
    from mlflow.entities import Run

DIGEST = "trace.dataset_digest"

log = logging.getLogger(__name__)


def open_test_set(run: "Run", dataset: Dataset) -> Dataset:
    """Return the data that a run was trained on with its test set.

    Raises
    ------
    WorkshopError
        The run is a trial of a search, or the data here is not what it was trained on.
    """
    refuse_trial(run)
    check_digest(run, dataset)
    return unsealed(dataset)


def refuse_trial(run: "Run") -> None:
    """Refuse one of many: who scores all of them on the test set and keeps the best has fitted it.

    Raises
    ------
    WorkshopError
        The run is a trial of a search.
    """
    if "mlflow.parentRunId" in run.data.tags:
        raise WorkshopError(
            f"The run {run.info.run_id} is a trial of a search: the test set is for the one model "
            "that the search ends with. Train that by itself, with the command that the search "
            "printed."
        )


def check_digest(run: "Run", dataset: Dataset) -> None:
    """Refuse data that is not what a run was trained on.

    Raises
    ------
    WorkshopError
        Their digests differ.
    """
    digest = run.data.tags.get(DIGEST, dataset.digest)
    if digest != dataset.digest:
        raise WorkshopError(
            f"The run {run.info.run_id} was trained on {dataset.name} with the digest {digest}, "
            f"but the data here has {dataset.digest}: other images, so the result means nothing."
        )


def warn_of_many_looks(run: "Run") -> None:
    """Say so if other models of the run's experiment have seen the test set of the same data."""
    from mlflow import MlflowClient

    seen = "metrics.test_accuracy >= 0"
    if digest := run.data.tags.get(DIGEST):
        seen += f" AND tags.`{DIGEST}` = '{digest}'"
    looks = MlflowClient().search_runs([run.info.experiment_id], seen)
    if len(looks) > 1:
        log.warning(
            "%d models of this experiment have seen the test set. The more there are, the better "
            "the best of them looks by chance: choose by val_accuracy.",
            len(looks),
        )
