"""The command `samerun diff`: why two runs differ; a project may offer it among its own."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.errors import RecordError

if TYPE_CHECKING:
    from samerun.compare.view import Shown
    from samerun.recorded import RecordedRun

TREE = "."
URI = "MLFLOW_TRACKING_URI"


def add_options(parser: argparse.ArgumentParser, best_by: Sequence[str] = ()) -> None:
    """Add what `diff` takes beside the two runs to a command of any name.

    best_by : the metrics by which "best" chooses, if none is named
    """
    parser.add_argument(
        "--store-b", metavar="PATH|URI", help="where RUN_B is, such as the address of a server"
    )
    parser.add_argument("--metric", metavar="NAME", help="by which best chooses: the highest one")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, for programs")
    parser.set_defaults(best_by=tuple(best_by))


def diff(options: argparse.Namespace) -> int:
    """Print what differs between two runs, or between a run and the present tree.

    Returns the exit status, as of diff(1): 0 nothing differs, 1 something does.
    """
    from samerun.compare import view
    from samerun.display.plain import any_console
    from samerun.process.ending import cancelled_by_signals

    with cancelled_by_signals():
        shown = compared(
            options.first,
            options.second,
            store=options.store,
            store_b=options.store_b,
            metrics=(options.metric,) if options.metric else options.best_by,
        )
    any_console()
    text = view.as_json(shown) if options.json else "\n".join(view.lines(shown))
    print(text)
    return 1 if shown.differs else 0


def compared(
    first: str,
    second: str,
    *,
    store: str | None = None,
    store_b: str | None = None,
    metrics: Sequence[str] = (),
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
    one = _read(first, store, metrics)
    clones = [root_of(Path.cwd())]
    if second == TREE:
        other, notes = present(one, clones[0])
        comparison = as_configuration(compare(one, other, clones))
        return Shown(comparison, with_tree=True, notes=(*comparison.notes, *notes))
    for place in (store, store_b):
        with _at(place):
            if path := local_store(tracking_uri()):
                clones.append(root_of(path.parent))
    other = _read(second, store_b or store, metrics)
    comparison = compare(one, other, clones)
    return Shown(comparison, notes=comparison.notes)


def _read(which: str, store: str | None, metrics: Sequence[str]) -> "RecordedRun":
    from samerun.find import pick_run
    from samerun.recorded import read_run

    with _at(store):
        return read_run(pick_run(which, metrics=metrics).info.run_id)


@contextlib.contextmanager
def _at(store: str | None) -> Iterator[None]:
    """Take runs from another store for a while; None: from the present one."""
    from samerun.process.variables import variables_set
    from samerun.store.tracking import name_store

    with variables_set({URI: os.environ.get(URI)}):  # which `name_store` sets
        if store:
            name_store(store)
        yield
