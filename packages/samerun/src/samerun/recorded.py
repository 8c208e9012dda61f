"""A recorded run as a whole, wherever it was read from: what it was, and how it came out."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from samerun.compare.weights import is_weights, weights_digest
from samerun.display.screen import fetch
from samerun.find import find_run, readable
from samerun.store.tracking import no_progress_bars
from samerun.trace import Trace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Points = list[tuple[int, float]]  # steps and values of a metric, as they were logged


@dataclass(frozen=True)
class RecordedRun:
    """A run and its outcome.

    weights : digests of the files with what it learned, by their paths among the artifacts; see
        `samerun.compare.weights` for what they tell apart
    files : a folder with its artifacts. Not to be written to: it may be that of the store
    """

    run_id: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, Points]
    trace: Trace
    weights: dict[str, str]
    files: Path


def read_run(run_id: str) -> RecordedRun:
    """Read a run from the present store, by its id or the beginning of it.

    Raises
    ------
    RecordError
        No such run, several of them, a deleted one, or one that recorded no trace.
    """
    from mlflow import MlflowClient

    run, client = find_run(run_id), MlflowClient()
    trace = fetch(run)
    folders = [(_local(client, run), ""), *models(client, run)]
    with readable(run):
        weights = {
            f"{within}{path.relative_to(folder).as_posix()}": weights_digest(path)
            for folder, within in folders
            for path in sorted(folder.rglob("*"))
            if is_weights(path)
        }
    recorded = RecordedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics={
            name: [
                (point.step, point.value)
                for point in client.get_metric_history(run.info.run_id, name)
            ]
            for name in sorted(run.data.metrics)
        },
        trace=trace,
        weights=weights,
        files=folders[0][0],
    )
    return recorded


_downloads: list[tempfile.TemporaryDirectory[str]] = []  # removed when this process ends


def _local(client: "MlflowClient", run: "Run") -> Path:
    """Return a folder with a run's artifacts: that of a local store, or a download."""
    download = functools.partial(client.download_artifacts, run.info.run_id, "")
    return _folder(run.info.artifact_uri, download)


def models(client: "MlflowClient", run: "Run") -> list[tuple[Path, str]]:
    """Return the folders of the models that a run logged: MLflow keeps them apart from it."""
    from mlflow.artifacts import download_artifacts

    folders = []
    for output in run.outputs.model_outputs if run.outputs else ():
        model = client.get_logged_model(output.model_id)
        download = functools.partial(download_artifacts, model.model_uri)
        folders.append((_folder(model.artifact_location, download), f"{model.name}/"))
    return folders


def _folder(uri: str, download: Callable[..., str]) -> Path:
    """Return the folder that an address names: one on this disk, or a download of it."""
    address = urlsplit(uri)
    if address.scheme == "file":
        return Path(url2pathname(address.path))
    to = tempfile.TemporaryDirectory()
    _downloads.append(to)
    with no_progress_bars():
        return Path(download(dst_path=to.name))
