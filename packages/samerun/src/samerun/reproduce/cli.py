"""The command `samerun reproduce`; a project may offer it among commands of its own."""

import argparse
from pathlib import Path

from samerun.errors import RecordError

LATEST = "latest"  # the run that began last, repetitions apart


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `reproduce` takes to a command of any name."""
    parser.add_argument(
        "run_id",
        metavar="RUN_ID|CRATE.zip",
        help="the run's id, or the beginning of it; latest; or a crate, as export writes it",
    )
    parser.add_argument("--json", action="store_true", help="the outcome as JSON, for programs")
    parser.add_argument(
        "--mark", action="store_true", help="note the verdict on the run itself, as a tag"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="stop the run after 90s, 30m or 2h"
    )
    parser.add_argument(
        "--yes", action="store_true", help="of a crate: execute its code without being asked"
    )
    parser.set_defaults(command=reproduce)


def seconds(text: str) -> float:
    """Return the seconds that a text such as 90, 90s, 30m or 2h means."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        time = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        time = 0.0
    if not 0 < time < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time. Expected 90s, 30m or 2h.")
    return time


def reproduce(options: argparse.Namespace) -> int:
    """Repeat a run and print how the repetition compares.

    Returns the exit status: 0 exact or within tolerance, 1 different, 2 not verified.
    """
    from rich.console import Console

    from samerun.compare.verdict import EXIT_STATUS
    from samerun.display.plain import any_console
    from samerun.find import pick_run
    from samerun.process.ending import cancelled_by_signals
    from samerun.received import repeat as crate
    from samerun.recorded import read_run
    from samerun.reproduce import repeat, view
    from samerun.root import root_of
    from samerun.store.tracking import local_store, name_store, tracking_uri

    any_console()
    if options.store:
        name_store(options.store)
    store = local_store(tracking_uri())
    clones = [root_of(Path.cwd()), *([root_of(store.parent)] if store else [])]
    console = Console(stderr=options.json)
    if options.run_id != LATEST and crate.is_one(options.run_id):
        if options.mark:
            raise RecordError("--mark notes the verdict on a run of the store. A crate is none.")
        outcome = crate.reproduce(
            Path(options.run_id), clones, console, yes=options.yes, timeout=options.timeout
        )
    else:
        run_id = options.run_id
        original = read_run(pick_run(run_id).info.run_id if run_id == LATEST else run_id)
        with cancelled_by_signals(), view.progress(console) as said:
            outcome = repeat.reproduce(original, clones, timeout=options.timeout, said=said)
    if options.mark:
        repeat.mark(outcome)
    if options.json:
        view.print_json(outcome)
    else:
        view.show(outcome, console)
    return EXIT_STATUS[outcome.verdict]
