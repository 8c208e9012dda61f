"""What a person sees of a repetition: a line for every phase, and the verdict."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from samerun.display.plain import as_json
from samerun.display.screen import printable
from samerun.reproduce.repeat import Outcome, Said

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# So that all of it is on one screen: causes, and lines of the reason and of each cause.
MOST_METRICS, MOST_CAUSES, MOST_LINES, LINES_OF_CAUSE = 10, 3, 12, 2


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
    _print(outcome.reason, console, MOST_LINES)
    for cause in outcome.causes[:MOST_CAUSES]:
        _print(f"- {cause}", console, LINES_OF_CAUSE)
    if more := outcome.causes[MOST_CAUSES:]:
        console.print(f"- and {len(more)} more")
    if outcome.run_id:
        console.print(f"The repetition is the run {outcome.run_id[:8]}.")


def _print(text: str, console: "Console", most: int) -> None:
    """Print a text in at most so many lines; --json has all of it."""
    from rich.text import Text

    lines = Text(printable(text)).wrap(console, console.width)
    for line in lines[:most]:
        console.print(line)
    if len(lines) > most:
        console.print("... (--json shows all)")


def _table(outcome: Outcome) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("metric", outcome.repeats[:8], str(outcome.run_id)[:8], "steps that differ"):
        side: Literal["left", "right"] = "left" if title == "metric" else "right"
        table.add_column(title, justify=side, no_wrap=True)
    for row in outcome.metrics[:MOST_METRICS]:
        values = ("-" if value is None else f"{value:.8g}" for value in (row.was, row.now))
        differing = f"{row.differing} of {row.steps}" if row.differing else "none"
        table.add_row(Text(printable(row.name)), *values, differing)
    if more := outcome.metrics[MOST_METRICS:]:
        table.add_row(f"and {len(more)} more", "", "", "")
    return table


def print_json(outcome: Outcome) -> None:
    """Print all of an outcome as JSON, for programs. What is no number there is a text: "nan"."""
    print(as_json(outcome))
