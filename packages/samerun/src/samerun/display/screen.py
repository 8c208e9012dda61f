"""Fetching the trace of a run and showing it, with the commands that repeat the run."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from samerun.code import later
from samerun.code.checkout import Code
from samerun.code.repository import GitError, git
from samerun.command.quoting import command_line
from samerun.command.repeat import relative
from samerun.config import leaves
from samerun.display.plain import any_console
from samerun.errors import RecordError
from samerun.find import check_artifacts_are_there, find_run, readable
from samerun.machine.description import sha256
from samerun.root import root_of
from samerun.store.tracking import no_progress_bars
from samerun.trace import ADDED, FOLDER, Trace, from_json

if TYPE_CHECKING:
    from mlflow.entities import Run
    from rich.console import Console, RenderableType


def read(run_id: str) -> Trace:
    """Fetch the trace of a run from the store.

    Parameters
    ----------
    run_id : str
        The id of the run, or the beginning of it.

    Raises
    ------
    RecordError
        No such run, several of them, a deleted one, or one that recorded no trace.
    """
    return fetch(find_run(run_id))


def fetch(run: "Run") -> Trace:
    """Fetch the trace of a run that was found. Raises as `read` does."""
    from mlflow import MlflowClient

    run_id = run.info.run_id
    with readable(run):
        if not MlflowClient().list_artifacts(run_id, FOLDER):
            if not any(tag.startswith("trace.") for tag in run.data.tags):
                raise RecordError(
                    f"The run {run_id} has no trace: it was not started with start_run."
                )
            check_artifacts_are_there(run)
            problem = run.data.tags.get("trace.problems", "")
            why = problem if problem.startswith("not recorded") else "it was removed"
            raise RecordError(f"The trace of the run {run_id} is not there: {why}.")
        with _downloaded(run) as folder:
            return from_folder(folder)


def continuations(run: "Run") -> list[Trace]:
    """Return the traces of the continuations of a run, in their order. Raises as `read` does."""
    with _downloaded(run) as folder:
        found = sorted(folder.glob("continued-*"), key=lambda path: int(path.name.split("-")[1]))
        return [from_folder(path) for path in found]


@contextlib.contextmanager
def _downloaded(run: "Run") -> Iterator[Path]:
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as name, no_progress_bars():
        yield Path(MlflowClient().download_artifacts(run.info.run_id, FOLDER, name))


def additions(folder: Path) -> list[Trace]:
    """Return the traces of the commands that added to a run, from the folder of its trace."""
    found = sorted(folder.glob(f"{ADDED}*"), key=lambda path: int(path.name.split("-")[1]))
    return [from_folder(path) for path in found]


def from_folder(folder: Path) -> Trace:
    """Return the trace that lies in a folder: trace.json, and what has files of its own."""
    patch, packages = folder / "changes.patch", folder / "packages.txt"
    cells = folder / "cells.py"
    trace = from_json(
        (folder / "trace.json").read_text(encoding="utf-8"),
        patch.read_bytes() if patch.exists() else b"",
        tuple(packages.read_text(encoding="utf-8").splitlines()) if packages.exists() else (),
        cells.read_text(encoding="utf-8") if cells.exists() else None,
    )
    return replace(trace, files=trace.files + later.read(folder))


def show(run_id: str, console: "Console | None" = None, *, reproduce: str = "") -> None:
    """Print the trace of a run and the commands that repeat it. Raises as `read` does.

    reproduce : the command that does all of these and compares
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    if console is None:
        any_console()
        console = Console()
    run = find_run(run_id)
    trace = fetch(run)
    console.print(table(trace, run))

    def lines(title: str, commands: Sequence[str]) -> None:
        """Print what is to be pasted: no line of it is broken."""
        if commands:
            console.print(title, style="bold")
        for command in commands:
            console.print(f"  {printable(command)}", markup=False, highlight=False, soft_wrap=True)

    commands = repeat_commands(trace, run, Path.cwd())
    lines("To repeat it:", commands)
    later = continuations(run)
    for number, again in enumerate(later, start=1):
        code = again.code.commit or "no commit"
        lines(f"Continued ({number}) {again.started}, from {code[:12]}:", [typed(again)])
    with _downloaded(run) as folder:
        lines("Added to it since:", [typed(added) for added in additions(folder)])
    for note in repeat_notes(trace, Path.cwd(), continued=bool(later)):
        console.print(Padding(Text(printable(f"- {note}")), (0, 0, 0, 2)))
    if commands and reproduce:
        lines("Or all of that in one command, which compares the two:", [reproduce])


def typed(trace: Trace) -> str:
    """Return the command of a run; that of an older samerun from its script and overrides."""
    words = trace.repeat.words if trace.repeat else ()
    if not trace.repeat and trace.script:
        words = ("uv", "run", trace.script, *trace.overrides)
    return command_line(words)


def repeat_commands(trace: Trace, run: "Run", here: Path) -> list[str]:
    """Return the commands that repeat a run beside the checkout around the folder `here`.

    To be typed there. None where the trace does not hold what they need: see `repeat_notes`.
    A worktree, since `git checkout` would stumble over the uv.lock that uv rewrote.
    """
    command = typed(trace)
    if not command or (trace.code.commit is None and not trace.patch):
        return []
    folder = relative(root_of(here).parent / f"repeat-{run.info.run_id[:8]}", here)
    commands: list[str] = []
    if trace.code.commit is None:
        # The patch holds all sources; inside of another repository it would apply to that.
        commands.append(command_line(["git", "init", "-q", folder]))
    elif trace.code.remote and not has_commit(here, trace.code.commit):
        commands.append(command_line(["git", "clone", trace.code.remote, folder]))
    else:
        add = ["git", "worktree", "add", "--detach", folder, trace.code.commit]
        commands.append(command_line(add))
    stored = f"{FOLDER}/changes.patch"
    artifacts = urlsplit(run.info.artifact_uri)
    is_local = artifacts.scheme == "file"
    if trace.patch and not is_local:  # from here, where the environment is complete
        download = ["uv", "run", "mlflow", "artifacts", "download", "-r", run.info.run_id]
        commands.append(command_line([*download, "-a", stored, "-d", folder]))
    commands.append(command_line(["cd", folder]))
    if commands[0].startswith("git clone"):
        commands.append(command_line(["git", "checkout", "--detach", str(trace.code.commit)]))
    if trace.patch:  # before uv sync, which fills in the lock that the patch may change
        path = f"{url2pathname(artifacts.path)}/{stored}" if is_local else "changes.patch"
        commands.append(command_line(["git", "apply", path]))
    if command.startswith("uv "):
        # Not --locked: the committed lock has no addresses, and uv fills them in.
        commands.append("uv sync")
    if trace.repeat and trace.repeat.directory != ".":
        commands.append(command_line(["cd", trace.repeat.directory]))
    return [*commands, command]


def has_commit(here: Path, commit: str) -> bool:
    """Say whether the folder lies in a clone that has a commit."""
    try:
        git(here, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def repeat_notes(trace: Trace, here: Path, *, continued: bool = False) -> list[str]:
    """Return what a person in the folder `here` has to know beside the commands."""
    notes = list(trace.repeat.notes) if trace.repeat else []
    if trace.code.commit and not trace.code.remote and not has_commit(here, trace.code.commit):
        notes.append("No clone around this folder has the commit: begin in one that has it.")
    if trace.code.commit is None and not trace.patch:
        notes.append("The trace names no commit: not possible by command alone.")
    if not trace.repeat and not trace.script:
        notes.append("The trace names no script: not possible by command alone.")
    lost = [file for file in trace.files if file.held == "nowhere" and file.kind != "data"]
    if trace.code.not_stored or any(not Path(file.path).is_absolute() for file in lost):
        notes.append("Copy the files that the trace names but does not hold.")
    if trace.code.uncertain:
        notes.append("Files were edited as the run started: what ran may be something else.")
    if any(file.held == later.FILES for file in trace.files):
        notes.append("What the run imported after its start lies in trace/later: copy it over.")
    if continued:
        notes.append(
            "It was interrupted and continued: the first command alone goes on to its end."
        )
    return notes


def table(trace: Trace, run: "Run | None" = None) -> "RenderableType":
    """Return the trace as a table of 80 columns or less; with `run`, its outcome too."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2), expand=False)
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for title, rows in _sections(trace, run).items():
        if not rows:
            continue
        grid.add_row(Text(title, style="bold"), "")
        for name, value in rows:
            if value not in (None, ""):
                # Text, not str: a name may look like rich's markup.
                grid.add_row(Text(f"  {printable(name)}"), Text(printable(str(value))))
    return grid


def printable(text: str) -> str:
    """Replace what could steer a terminal, such as escape sequences in a run's name."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


Rows = list[tuple[str, object]]


def _sections(trace: Trace, run: "Run | None") -> dict[str, Rows]:
    code, data, packages, machine = trace.code, trace.data, trace.environment, trace.machine
    sections = {"Run": _outcome(run) if run else []}
    sections["Run"] += [
        ("started", trace.started),
        ("directory", trace.directory),
        ("command", command_line(trace.command)),
    ]
    state = {True: "changed since the commit", False: "as committed", None: "unknown"}[code.dirty]
    sections["Code"] = [
        ("commit", code.commit or "none"),
        ("branch", code.branch or (code.commit and "none (detached)")),
        ("remote", _remote(code)),
        ("files", state),
        ("changed", _listed(code.changed)),
        ("not stored", _listed(_with_reasons(code))),
        ("since edited", _listed(code.moved_on)),
        ("uncertain", _listed(code.uncertain)),
        ("imported later", _listed(f.path for f in trace.files if f.kind == "imported later")),
        ("used, not kept", _listed(_not_kept(trace))),
        ("cells", trace.cells and "trace/cells.py: those executed when the run started"),
    ]
    overrides = " ".join(trace.overrides) or "none"
    sections["Configuration"] = [("overrides", overrides), *leaves(trace.config)]
    if data:
        files = [f"{f.path}, {f.size} bytes" for f in trace.files if f.kind == "data"]
        sections["Data"] = [
            ("dataset", data.name),
            ("digest", data.digest),
            ("from", data.source),
            ("files", _listed(files)),
        ]
    if packages:
        as_locked = _listed(f"{k} {v}" for k, v in packages.differs.items()) or "none"
        sections["Environment"] = [
            ("python", packages.python),
            ("lock", packages.lock or "none"),
            ("installed", packages.installed),
            ("not as locked", as_locked if packages.lock else "unknown"),
        ]
    if machine:
        sections["Machine"] = [
            ("platform", machine.platform),
            ("cpu", f"{machine.cpu}, {machine.cores} cores, {machine.usable_cores} usable"),
            ("gpu", ", ".join(machine.gpus)),
            ("cuda", machine.cuda),
            ("driver", machine.driver),
            ("instructions", machine.instructions),
            ("arithmetic", _in_short(machine.arithmetic)),
            ("libraries", "\n".join(f"{k}: {v}" for k, v in machine.libraries.items())),
            ("threads", "\n".join(f"{k}: {v}" for k, v in machine.threads.items())),
            *machine.variables.items(),
        ]
    shown = {
        name: value or "set (its value is not recorded)" for name, value in trace.variables.items()
    }
    sections["Variables of the shell"] = list(shown.items())
    if trace.problems:
        sections["Could not be recorded"] = list(trace.problems.items())
    return sections


def _remote(code: Code) -> str | None:
    if code.commit is None or code.pushed is None:
        return None
    if code.pushed:
        return code.remote
    return f"{code.remote} did not have the commit" if code.remote else "none has the commit"


def _not_kept(trace: Trace) -> list[str]:
    return [
        f"{file.path}\n  {file.size} bytes, sha256 {file.sha256[:16]}..."
        for file in trace.files
        if file.held == "nowhere" and file.kind != "data"
    ]


def _with_reasons(code: Code) -> list[str]:
    named = {path: code.reasons.get(path, "") for path in code.not_stored}
    return [f"{path} ({why})" if why else path for path, why in named.items()]


def _outcome(run: "Run") -> Rows:
    info = run.info
    duration = None
    if info.end_time:
        duration = timedelta(seconds=round((info.end_time - info.start_time) / 1000))
    metrics = "\n".join(f"{name} {value:.6g}" for name, value in sorted(run.data.metrics.items()))
    outcome = [("name", info.run_name), ("id", info.run_id), ("status", info.status)]
    return [*outcome, ("duration", duration), ("metrics", metrics)]


def _in_short(arithmetic: Mapping[str, str]) -> str:
    """Return one hash of all calculations, which is enough to see whether two runs agree."""
    if not arithmetic:
        return ""
    listing = "".join(f"{name} {result}\n" for name, result in sorted(arithmetic.items()))
    return f"{sha256(listing)[:16]}, of {len(arithmetic)} calculations"


def _listed(items: Iterable[str], most: int = 10) -> str:
    """Return one item a line, the first few of many."""
    lines = list(items)
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join(lines[:most] + more)
