"""Repeating the run of a crate: opened, shown, asked for, and locked in where that can be."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samerun.command.quoting import command_line
from samerun.display.screen import has_commit, printable
from samerun.errors import RecordError
from samerun.export.sources import ALONE
from samerun.process.ending import cancelled_by_signals
from samerun.process.variables import variables_set
from samerun.received.read import Crate, read_crate
from samerun.received.sandbox import Sandbox, data_folders, sandbox
from samerun.reproduce import leftovers, repeat, view
from samerun.reproduce.repeat import Outcome
from samerun.store.tracking import use_store
from samerun.trace import Trace

if TYPE_CHECKING:
    from rich.console import Console

MOST_LINES = 60  # of a patch on the screen
WITH_SANDBOX = "bubblewrap: no network, not your home, it writes to a folder of its own alone"


def is_one(what: str) -> bool:
    """Say whether this names a crate, and not a run of the store."""
    return what.lower().endswith(".zip") or Path(what).is_file()


def reproduce(
    path: Path,
    clones: Sequence[Path],
    console: "Console",
    *,
    yes: bool = False,
    timeout: float | None = None,
) -> Outcome:
    """Repeat the run of a crate, after it was shown what that means.

    Parameters
    ----------
    clones : checkouts that may have its data
    yes : do not ask
    timeout : for the run itself, in seconds

    Raises
    ------
    RecordError
        There is no such crate, it is refused, or the answer was no.
    """
    if not path.is_file():
        raise RecordError(
            f"There is no file {path}. Expected the id of a run, or a crate: samerun export makes "
            "one."
        )
    with leftovers.private_folder("crate") as folder, variables_set(ALONE):
        try:
            crate = read_crate(path, folder)
        except RecordError as error:  # it may quote a stranger
            raise RecordError(printable(str(error))) from None
        repository = crate.clone / ".git"
        readable = [repository]
        for trace in crate.commands:
            readable += data_folders(trace, os.environ)
        locked_in = sandbox(readable, clones, Path.home())
        _show(crate, locked_in, clones, console)
        if not yes:
            _ask(console)
        use_store()
        with cancelled_by_signals(), view.progress(console) as said:
            return repeat.reproduce(
                crate.run,
                [crate.clone, *clones],
                timeout=timeout,
                sandbox=locked_in.around,
                build=False,
                said=said,
            )


def _show(crate: Crate, locked_in: Sandbox, clones: Sequence[Path], console: "Console") -> None:
    """Print what is about to be executed."""
    from rich.table import Table
    from rich.text import Text

    run = crate.run
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    rows = [("run", f"{run.name} ({run.run_id[:8]}), started {run.trace.started}")]
    for trace in crate.commands:
        rows += _command(trace)
    for state, changed in zip(crate.states, crate.changed, strict=True):
        rows += [("code", _origin(state, clones)), ("changes", ", ".join(changed) or "none")]
    without = f"NONE, {locked_in.why_not}. It can read, change and send what you can."
    rows.append(("sandbox", WITH_SANDBOX if locked_in.words else without))
    for name, value in rows:
        grid.add_row(name, Text(printable(value)))
    console.print(Text(f"{crate.path} holds a program, and this will be executed:", style="bold"))
    console.print(grid)
    lines = [line for state in crate.states for line in readable_lines(state.patch)]
    for line in lines[:MOST_LINES]:
        console.print(Text(f"  {printable(line)}", style="dim"))
    if more := lines[MOST_LINES:]:
        console.print(f"  ... {len(more)} more lines: changes.patch below trace/ in the crate")


def _command(trace: Trace) -> list[tuple[str, str]]:
    if not trace.repeat or not trace.repeat.words:
        return [("command", "none")]
    rows = [("command", command_line(trace.repeat.words))]
    if trace.repeat.directory != ".":
        rows.append(("in", trace.repeat.directory))
    steering = {**(trace.machine.variables if trace.machine else {}), **trace.variables}
    if steering:
        rows.append(("with", ", ".join(f"{name}={value}" for name, value in steering.items())))
    return rows


def readable_lines(patch: bytes) -> Iterator[str]:
    """Yield the lines of a patch, without the contents of binary files."""
    binary = False
    for line in patch.decode(errors="replace").split("\n"):  # splitlines() knows more ends of lines
        if line.startswith("diff --git "):
            binary = False
        if not binary:
            yield line
        binary = binary or line == "GIT binary patch"


def _origin(state: Trace, clones: Sequence[Path]) -> str:
    revision = state.code.commit
    if revision is None:
        return "all of it from the crate: it names no commit"
    if any(has_commit(clone, revision) for clone in clones):
        return f"commit {revision[:12]}, which your clone has, too, with the changes below"
    return f"commit {revision[:12]}, which no clone here has: all of it is the crate's"


def _ask(console: "Console") -> None:
    if not sys.stdin.isatty():
        raise RecordError(
            "A crate is executed when somebody has said so. Look at what stands above, then add "
            "--yes."
        )
    console.print("Execute it? [y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        raise RecordError("Nothing was executed.")
