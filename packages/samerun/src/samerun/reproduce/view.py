"""What a person sees of a repetition: a line for every phase, and the verdict."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from samerun.display.screen import printable
from samerun.reproduce.repeat import Outcome, Said

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MOST_METRICS, MOST_CAUSES = 10, 3  # so that all of it is on one screen


@contextlib.contextmanager
def progress(console: "Console") -> Iterator[Said]:
    """Show the phases of a repetition: those that have ended stay as lines, with their seconds."""
    from rich.text import Text

    with console.status("") as status:
        phase, known, began = "", "", 0.0

        def said(now: str, what: str) -> None:
            nonlocal phase, known, began
            if not what:
                finish()
                phase, began = now, time.monotonic()
            known = what
            line = Text(f"{phase}  {printable(known)}", no_wrap=True, overflow="ellipsis")
            status.update(line)

        def finish() -> None:
            if phase:
                took = f"{time.monotonic() - began:6.1f} s"
                console.print(Text(f"{phase:12} {took}  {printable(known)}", overflow="fold"))

        yield said
        finish()


def show(outcome: Outcome, console: "Console") -> None:
    """Print the verdict and its reason, and both runs side by side."""
    from rich.text import Text

    console.print()
    if outcome.metrics:
        console.print(_table(outcome))
        console.print()
    console.print(Text(outcome.verdict, style="bold"))
    console.print(Text(printable(outcome.reason)))
    for cause in outcome.causes[:MOST_CAUSES]:
        console.print(Text(f"- {printable(cause)}"))
    if more := outcome.causes[MOST_CAUSES:]:
        console.print(f"- and {len(more)} more")
    if outcome.run_id:
        console.print(f"The repetition is the run {outcome.run_id[:8]}.")


def _table(outcome: Outcome) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("metric", outcome.repeats[:8], str(outcome.run_id)[:8], "steps that differ"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for row in outcome.metrics[:MOST_METRICS]:
        values = ("-" if value is None else f"{value:.8g}" for value in (row.was, row.now))
        differing = f"{row.differing} of {row.steps}" if row.differing else "none"
        table.add_row(Text(printable(row.name)), *values, differing)
    if more := outcome.metrics[MOST_METRICS:]:
        table.add_row(f"and {len(more)} more", "", "", "")
    return table


def print_json(outcome: Outcome) -> None:
    """Print all of an outcome as JSON, for programs."""
    json.dump(asdict(outcome), sys.stdout, indent=2)
    print()
