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
    from rich.console import Console

STATUS = {"exact": 0, "within tolerance": 0, "different": 1, "not verified": 2}


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
    """Print the verdict and its reason."""
    from rich.text import Text

    console.print(Text(f"\n{outcome.verdict}", style="bold"))
    console.print(Text(printable(outcome.reason)))


def print_json(outcome: Outcome) -> None:
    """Print all of an outcome as JSON, for programs."""
    json.dump(asdict(outcome), sys.stdout, indent=2)
    print()
