"""Bringing the finished repetition from a store of its own into that of the run it repeats."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from samerun.find import REPRODUCTIONS
from samerun.process.ending import held
from samerun.reproduce import Obstacle
from samerun.reproduce.leftovers import place
from samerun.store.tracking import create_store, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REPRODUCES = "reproduces"  # a tag of a repetition: the id of the run that it repeats
STORE = "mlflow.db"
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # of one call, as MLflow has it


def empty_store(tree: Path) -> None:
    """Put an empty run store where a run in this project looks for one.

    A copy of one that is kept: to make its tables takes seconds.
    """
    import mlflow

    kept = place().parent / f"of-repetitions-{mlflow.__version__}.db"
    create_store(kept)
    shutil.copyfile(kept, tree / STORE)


def repetition(store: Path, params: Mapping[str, str]) -> "Run | None":
    """Return the run that the repeated command recorded in its own store, None if it did not.

    params : of the run that is repeated. A script may make several runs; the one with these
        parameters is meant.

    Raises
    ------
    Obstacle
        There are several, and none or more than one of them has these parameters; or the store is
        not one that a run leaves.
    """
    _check_store(store)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = _client(store)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs: list[Run] = client.search_runs(experiments)
    except (MlflowException, SQLAlchemyError, ValueError, TypeError) as error:
        said = str(error).partition("\n")[0]
        raise Obstacle(f"The store that the repetition left cannot be read: {said}") from None
    if len(runs) > 1:
        alike = [run for run in runs if run.data.params == dict(params)]
        if len(alike) != 1:
            raise Obstacle(
                f"The command made {len(runs)} runs, and {len(alike)} of them have the parameters "
                "of the run that is repeated."
            )
        runs = alike
    return runs[0] if runs else None


def _check_store(store: Path) -> None:
    """Raise an Obstacle if more than a file would be read where a run has left its store.

    A stranger's code may have written it.
    """
    if store.is_symlink() or not store.is_file():
        raise Obstacle("The repetition left something else in the place of its store.")
    # A journal says what SQLite shall do before it reads: to files elsewhere, and remove them, too.
    if left := [name for name in os.listdir(store.parent) if name.startswith(f"{store.name}-")]:
        raise Obstacle(
            f"The repetition ended in the midst of a change of its store, and left {left[0]}."
        )


@contextlib.contextmanager
def kept(run: "Run", store: Path, repeats: str) -> Iterator[str]:
    """Copy a run into the present store, and yield its new id.

    It counts as running until what stands inside is done; if that fails, the copy is deleted.

    repeats : the id of the run that it is a repetition of
    """
    from mlflow import MlflowClient
    from mlflow.entities import Param, RunTag

    theirs, ours = _client(store), MlflowClient()
    tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
    tags[REPRODUCES] = repeats
    new = ours.create_run(
        experiment_id(REPRODUCTIONS), run.info.start_time, run_name=run.info.run_name
    )
    run_id: str = new.info.run_id
    try:
        with held(run_id):
            metrics = [
                point
                for name in run.data.metrics
                for point in theirs.get_metric_history(run.info.run_id, name)
            ]
            params = [Param(key, value) for key, value in run.data.params.items()]
            for part in _parts(metrics, MOST_METRICS):
                ours.log_batch(run_id, metrics=part)
            for part in _parts(params, MOST_PARAMS):
                ours.log_batch(run_id, params=part)
            for part in _parts([RunTag(k, v) for k, v in tags.items()], MOST_TAGS):
                ours.log_batch(run_id, tags=part)
            if run.inputs and run.inputs.dataset_inputs:
                ours.log_inputs(run_id, run.inputs.dataset_inputs)
            for folder, name in _artifacts(theirs, run, store.parent):
                ours.log_artifacts(run_id, str(folder), name)
            yield run_id
        ours.set_terminated(run_id, run.info.status, run.info.end_time)
    except BaseException:
        with contextlib.suppress(Exception):
            ours.delete_run(run_id)
        raise


def _artifacts(client: "MlflowClient", run: "Run", tree: Path) -> list[tuple[Path, str | None]]:
    """Return the folders of a run's artifacts, with the names that they have in it.

    MLflow keeps models apart from their run, and shows them as if they lay in it.

    Raises
    ------
    Obstacle
        One lies, or leads, outside of the folder of the repetition: a stranger's code could have
        files of this person taken for its own.
    """
    places: list[tuple[str, str | None]] = [(run.info.artifact_uri, None)]
    for output in run.outputs.model_outputs if run.outputs else ():
        model = client.get_logged_model(output.model_id)
        places.append((model.artifact_location, model.name))
    folders = [(Path(url2pathname(urlsplit(place).path)), name) for place, name in places]
    found = [(folder, name) for folder, name in folders if folder.is_dir()]
    for folder, _ in found:
        for path in (folder, *folder.rglob("*")):
            if not path.resolve().is_relative_to(tree.resolve()):
                raise Obstacle(f"The repetition left an artifact that leads elsewhere: {path}")
            if not path.is_file() and not path.is_dir():  # a pipe would never end
                raise Obstacle(f"The repetition left an artifact that is no file: {path}")
    return found


def _client(store: Path) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{store.as_posix()}")


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
