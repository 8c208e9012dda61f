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
        began: dict[str, float] = {}
        last: dict[str, str] = {}

        def said(phase: str, what: str) -> None:
            if phase not in began:
                finish()
                began[phase] = time.monotonic()
            last[phase] = what
            line = Text(f"{phase}  {printable(what)}", no_wrap=True, overflow="ellipsis")
            status.update(line)

        def finish() -> None:
            for phase, what in last.items():
                seconds = time.monotonic() - began[phase]
                line = Text(f"{phase:12} {seconds:6.1f} s  {printable(what)}", overflow="fold")
                console.print(line)
            last.clear()

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
