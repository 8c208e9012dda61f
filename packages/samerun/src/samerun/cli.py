"""The command `samerun`: what a run recorded, and how to repeat it."""

import argparse
import sys
from pathlib import Path

from samerun.errors import RecordError
from samerun.export import cli as export
from samerun.reproduce import cli as reproduce


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

    add = commands.add_parser("reproduce", help="repeat a run, and compare it with itself")
    add_store_option(add)
    reproduce.add_options(add)

    add = commands.add_parser("export", help="write a run as an archive that others can run again")
    add_store_option(add)
    export.add_options(add)
    return parser


def add_trace_options(parser: argparse.ArgumentParser) -> None:
    """Let a command show the trace of a run: on the screen, or as a picture."""
    parser.add_argument("run_id", metavar="RUN_ID", help="the run's id, or the beginning of it")
    parser.add_argument(
        "--graph",
        metavar="FILE.svg",
        help="draw it instead: a picture of the way from the data to the metrics",
    )
    add_store_option(parser)
    parser.set_defaults(command=show_trace)


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Let a command that reads runs read those of another store: `--store`, see `name_store`."""
    parser.add_argument(
        "--store",
        metavar="PATH|URI",
        help="of another store, such as a copy: mlflow.db, the folder that holds it, or an address",
    )


def show_trace(options: argparse.Namespace) -> int:
    """Print the trace of a run, or draw it."""
    from samerun.display import screen
    from samerun.store.tracking import name_store

    if options.store:
        name_store(options.store)
    if options.graph:
        from samerun.display import graph

        print(f"Drawn: {graph.write(options.run_id, Path(options.graph))}")
        return 0
    screen.show(options.run_id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
