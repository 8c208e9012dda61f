"""The command `samerun`: what a run recorded, and how to repeat it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.command.of_mlflow import PORT
from samerun.compare import cli as compare
from samerun.errors import RecordError
from samerun.export import cli as export
from samerun.reproduce import cli as reproduce

if TYPE_CHECKING:
    from mlflow.entities import Run


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 all well, 2 wrong input."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
        return status
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="samerun", description="Read what a run recorded.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("trace", help="what a run recorded so that it can be repeated")
    add_trace_options(add)

    add = commands.add_parser("open", help="a run on MLflow's page")
    add_open_options(add)

    add = commands.add_parser("reproduce", help="repeat a run, and compare it with itself")
    add_store_option(add)
    reproduce.add_options(add)

    add = commands.add_parser("diff", help="why two runs differ, or what changed since a run")
    add.add_argument("first", metavar="RUN_A", help="an id, the beginning of one, latest or best")
    add.add_argument("second", metavar="RUN_B|.", help="another run, or . for the present tree")
    add_store_option(add)
    compare.add_options(add)
    add.set_defaults(command=compare.diff)

    add = commands.add_parser("export", help="write a run as an archive that others can run again")
    add_store_option(add)
    export.add_options(add)
    return parser


def add_run_options(parser: argparse.ArgumentParser, best_by: Sequence[str] = ()) -> None:
    """Let a command take one run: `picked(options)` returns it.

    best_by : the metrics by which "best" chooses, if none is named
    """
    parser.add_argument(
        "run_id", metavar="RUN", help="latest, best, or the run's id or the beginning of it"
    )
    parser.add_argument("--experiment", metavar="NAME", help="of which to take the latest or best")
    parser.add_argument("--metric", metavar="NAME", help="by which the best one is the best")
    parser.set_defaults(best_by=tuple(best_by))
    add_store_option(parser)


def picked(options: argparse.Namespace) -> "Run":
    """Return the run that was asked for."""
    from samerun.find import pick_run
    from samerun.store.tracking import name_store

    if options.store:
        name_store(options.store)
    metrics = (options.metric,) if options.metric else options.best_by
    return pick_run(options.run_id, options.experiment, metrics)


def add_open_options(parser: argparse.ArgumentParser, best_by: Sequence[str] = ()) -> None:
    """Let a command open a run on MLflow's page."""
    add_run_options(parser, best_by)
    parser.add_argument("--port", type=int, default=PORT, help=f"of mlflow ui (default: {PORT})")
    parser.set_defaults(command=open_page)


def open_page(options: argparse.Namespace) -> int:
    """Open a run on MLflow's page, and print its name and address."""
    from samerun.display import page, screen

    run = picked(options)
    found = page.open_run(run, options.port)
    print(f"{screen.printable(str(run.info.run_name))}: {found}")
    return 0


def add_trace_options(parser: argparse.ArgumentParser, best_by: Sequence[str] = ()) -> None:
    """Let a command show the trace of a run: on the screen, or as a picture."""
    add_run_options(parser, best_by)
    parser.add_argument(
        "--graph",
        metavar="FILE.svg",
        help="draw it instead: a picture of the way from the data to the metrics",
    )
    parser.set_defaults(command=show_trace, program=parser.prog.split()[0])


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Let a command that reads runs read those of another store: `--store`, see `name_store`."""
    parser.add_argument(
        "--store",
        metavar="PATH|URI",
        help="of another store, such as a copy: mlflow.db, the folder that holds it, or an address",
    )


def show_trace(options: argparse.Namespace) -> int:
    """Print the trace of a run, or draw it."""
    from samerun.command.quoting import command_line
    from samerun.display import screen

    run_id = picked(options).info.run_id
    if options.graph:
        from samerun.display import graph

        print(f"Drawn: {graph.write(run_id, Path(options.graph))}")
        return 0
    words = ["uv", "run", options.program, "reproduce", run_id[:8]]
    words += ["--store", options.store] if options.store else []
    screen.show(run_id, reproduce=command_line(words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
