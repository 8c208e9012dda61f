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
from samerun.received.safety import MEGABYTE
from samerun.received.sandbox import Sandbox, data_files, sandbox
from samerun.reproduce import leftovers, repeat, view
from samerun.reproduce.repeat import Outcome
from samerun.store.tracking import use_store
from samerun.trace import Trace

if TYPE_CHECKING:
    from rich.console import Console

MOST_LINES = 60  # of changes on the screen
SETTINGS = (".cfg", ".ini", ".json", ".toml", ".yaml", ".yml")  # data that may steer a program
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
        readable = [crate.clone / ".git"]
        for trace in crate.commands:
            readable += data_files(trace, os.environ)
        locked_in = sandbox(readable, clones, Path.home())
        _show(crate, locked_in, clones, console)
        if not yes:
            _ask(crate, console)
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
    for state, changed, size in zip(crate.states, crate.changed, crate.sizes, strict=True):
        rows.append(("code", f"{_origin(state, clones)}: {_count(size, 'file')}"))
        rows.append(("changes", ", ".join(changed) or "none"))
    if crate.later:
        rows.append(("and instead", ", ".join(crate.later)))
    if crate.data:
        rows.append(("data", ", ".join(crate.data)))
    without = f"NONE, {locked_in.why_not}. It can read, change and send what you can."
    rows.append(("sandbox", WITH_SANDBOX if locked_in.words else without))
    for name, value in rows:
        grid.add_row(name, Text(printable(value)))
    console.print(Text(f"{crate.path} holds a program, and this will be executed:", style="bold"))
    console.print(grid)
    lines = list(_lines(crate))
    for line in lines[:MOST_LINES]:
        console.print(Text(f"  {printable(line)}", style="dim"))
    if more := lines[MOST_LINES:]:
        console.print(
            f"  ... {len(more)} more lines: in the crate, changes.patch and later/ below trace/, "
            "and data/"
        )


def _lines(crate: Crate) -> Iterator[str]:
    """Yield what is executed beside the commits: changes, and files that come in addition."""
    brought = {}
    for path in crate.data:
        if path.lower().endswith(SETTINGS):
            with (crate.clone / path).open("rb") as file:
                brought[path] = file.read(MEGABYTE)  # more than the screen shows
    for path, content in (dict(crate.later) | brought).items():
        yield f"+++ {path}"
        yield from (f"+{line}" for line in content.decode(errors="replace").split("\n"))
    for state in crate.states:
        yield from readable_lines(state.patch)


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


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ask(crate: Crate, console: "Console") -> None:
    from rich.text import Text

    if not sys.stdin.isatty():
        raise RecordError(
            "A crate is executed when somebody has said so. Look at what stands above, then add "
            "--yes."
        )
    what = [_count(len(crate.commands), "command"), _count(sum(crate.sizes), "file") + " of code"]
    if crate.later:
        what.append(f"{len(crate.later)} that came later")
    console.print(Text(f"Execute {', '.join(what)}? [y/N] "), end="")
    if input().strip().lower() not in ("y", "yes"):
        raise RecordError("Nothing was executed.")
