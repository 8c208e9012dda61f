"""The command `samerun diff`: why two runs differ; a project may offer it among its own."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.errors import RecordError

if TYPE_CHECKING:
    from samerun.compare.view import Shown
    from samerun.recorded import RecordedRun

TREE = "."
URI = "MLFLOW_TRACKING_URI"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `diff` takes beside the two runs to a command of any name."""
    parser.add_argument(
        "--store-b", metavar="PATH|URI", help="where RUN_B is, such as the address of a server"
    )
    parser.add_argument("--metric", help="by which `best` chooses: the highest one")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, for programs")


def diff(options: argparse.Namespace) -> int:
    """Print what differs between two runs, or between a run and the present tree.

    Returns the exit status, as of diff(1): 0 nothing differs, 1 something does.
    """
    from samerun.compare import view
    from samerun.process.ending import cancelled_by_signals

    with cancelled_by_signals():
        shown = compared(
            options.first,
            options.second,
            store=options.store,
            store_b=options.store_b,
            metric=options.metric,
        )
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # an accent must not end a plain console
    text = view.as_json(shown) if options.json else "\n".join(view.lines(shown))
    print(text)
    return 1 if shown.differs else 0


def compared(
    first: str,
    second: str,
    *,
    store: str | None = None,
    store_b: str | None = None,
    metric: str | None = None,
) -> "Shown":
    """Compare what a person names: ids of runs, their beginnings, `latest`, `best`; `.` as second.

    Raises
    ------
    RecordError
        There is no such run, or one of them recorded no trace.
    """
    from samerun.compare.comparison import compare
    from samerun.compare.present import as_configuration, present
    from samerun.compare.view import Shown
    from samerun.root import root_of
    from samerun.store.tracking import local_store, tracking_uri

    if first == TREE:
        raise RecordError("A run is compared with the present tree, in this order: diff RUN_ID .")
    one = _read(first, store, metric)
    clones = [root_of(Path.cwd())]
    if second == TREE:
        other, notes = present(one, clones[0])
        comparison = as_configuration(compare(one, other, clones))
        return Shown(comparison, with_tree=True, notes=(*comparison.notes, *notes))
    for place in (store, store_b):
        with _at(place):
            if path := local_store(tracking_uri()):
                clones.append(root_of(path.parent))
    other = _read(second, store_b or store, metric)
    comparison = compare(one, other, clones)
    return Shown(comparison, notes=comparison.notes)


def _read(which: str, store: str | None, metric: str | None) -> "RecordedRun":
    from samerun.recorded import read_run

    with _at(store):
        if which in ("latest", "best"):
            which = _latest_or_best(which, metric)
        return read_run(which)


def _latest_or_best(which: str, metric: str | None) -> str:
    """Return the id of the latest finished run, or of the best one of that run's experiment."""
    from mlflow import MlflowClient

    from samerun.find import LATEST, choose_run
    from samerun.reproduce.keeping import EXPERIMENT
    from samerun.store.tracking import use_store

    use_store(create=False)
    client = MlflowClient()
    names = {e.experiment_id: e.name for e in client.search_experiments() if e.name != EXPERIMENT}
    finished = "attributes.status = 'FINISHED'"
    runs = client.search_runs(list(names), finished, max_results=1, order_by=[LATEST])
    if not runs:
        raise RecordError("No run has finished yet. Let one end, or name a run by its id.")
    if which == "latest":
        return str(runs[0].info.run_id)
    if metric is None:
        known = ", ".join(sorted(runs[0].data.metrics)) or "none"
        raise RecordError(
            f"The best run by which metric? Say it: --metric NAME. The latest run has: {known}"
        )
    experiment = names[runs[0].info.experiment_id]
    return str(choose_run("best", experiment, metric).info.run_id)


@contextlib.contextmanager
def _at(store: str | None) -> Iterator[None]:
    """Take runs from another store for a while; None: from the present one."""
    from samerun.store.tracking import name_store

    before = os.environ.get(URI)
    try:
        if store:
            name_store(store)
        yield
    finally:
        if before is None:
            os.environ.pop(URI, None)
        else:
            os.environ[URI] = before
