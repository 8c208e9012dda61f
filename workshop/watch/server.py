"""The warm process: it imports what the checks need once, then judges holes as they come.

    python -m workshop.watch.server ROOT EXERCISES PART fork|once

Jobs come in as lines of JSON on its standard input, {"job": 1, "holes": ["1.3"], "limit": 90}, and
{"cancel": 1} ends one. Messages go out the same way: {"ready": true, "scratch": FOLDER} or
{"failed": WHY}, a result for each hole, and {"job": 1, "ended": ...} when no more will come.

With `fork`, each job runs in a forked child of its own, so that nothing a participant's code does
is there in the next one. With `once`, where forking is not safe, it runs in this process, which
then ends; whoever started it has another one ready.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from workshop import bounded, checks, course, drive
from workshop.course import Course, Hole
from workshop.errors import WorkshopError

LOOK = 0.02  # seconds between two looks at a child that runs
LATER = 10  # seconds after the last word of `bounded`, until a child is ended from outside
# What checks and parts import later than at their top: of PyTorch 5 s, of IPython 0.3 s.
LATE = {
    "torch": ("torch._dynamo", "torch.utils.serialization", "workshop.sealed"),
    "mlflow": ("IPython.display", "mlflow.utils.search_logged_model_utils", "samerun.finite"),
    "optuna": ("workshop.study", "workshop.participant.submission"),
}
# Whose run on our solution brings the rest: Hydra's grammar, MLflow's table of packages, fonts.
# It trains no network: a process in which PyTorch has done so cannot be forked any more.
REHEARSED = "1.4"


def main(arguments: list[str]) -> None:
    root, exercises, part, how = arguments
    out = _protocol()
    read = course.load(Path(root), Path(exercises))
    try:
        warm_up(read, part)
    except Exception as error:  # a broken installation, or a mistake in a check
        _say(out, failed=f"{type(error).__name__}: {error}")
        return
    _say(out, ready=True, scratch=str(drive.scratch_folder()))
    (_serve if how == "fork" else _judge_once)(read, out)


def _protocol() -> TextIO:
    """Return a way out of this process that nothing else writes to, `print` and C included."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    _point_at_nothing(1)
    return out


def _point_at_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def _say(out: TextIO, **message: Any) -> None:
    # The line before may have been cut off, when a child was ended.
    out.write(f"\n{json.dumps(message)}\n")
    out.flush()


def warm_up(read: Course, folder: str) -> None:
    """Import what the checks of a part will import, and do once what can be done once."""
    (part,) = (part for part in read.parts if part.folder == folder)
    checks.checks_of(part.checks)
    for module in imported(read.solutions / part.folder):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    for name, later in LATE.items():
        if name in sys.modules:
            for module in later:
                importlib.import_module(module)
    if REHEARSED in read.holes:
        _rehearse(read, read.holes[REHEARSED])
    drive.sweep()
    gc.collect()
    gc.freeze()  # or each child would look through all of it again, and so copy it


def imported(folder: Path) -> list[str]:
    """Return the modules that the scripts of a folder import from elsewhere, sorted."""
    found = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    own = {path.stem for path in folder.glob("*.py")}
    return sorted(name for name in found if name.partition(".")[0] not in own)


def _rehearse(read: Course, hole: Hole) -> None:
    """Check our own answer to a hole in this process."""
    from tqdm import tqdm

    check = checks.checks_of(read.part_of(hole).checks)[hole.id]
    interval, tqdm.monitor_interval = tqdm.monitor_interval, 0  # or it starts a thread
    with contextlib.suppress(Exception):  # whatever is wrong here, the checks will tell
        checks.verdict(check, drive.Driver(read.solutions / hole.part))
    tqdm.monitor_interval = interval


@dataclass
class _Child:
    """A job that runs in a forked child."""

    job: int
    pid: int
    said: Path
    ends: float


def _serve(read: Course, out: TextIO) -> None:
    """Fork a child for each job until the standard input ends."""
    commands, child = _Lines(0), None
    while True:
        for command in commands.read(wait=child is None):
            if "cancel" in command:
                if child and child.job == command["cancel"]:
                    _end(child, out, "cancelled")
                    child = None
            elif child is None:
                child = _start(read, command, out)
        if commands.ended:
            if child:
                _end(child, out, "cancelled")
            return
        if child and os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            _end(child, out, "")
            child = None
        elif child and time.monotonic() > child.ends:
            _end(child, out, "it did not end and had to be stopped")
            child = None


def _start(read: Course, job: dict, out: TextIO) -> _Child:
    folder = Path(tempfile.mkdtemp(dir=drive.scratch_folder()))
    said = folder / "said"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _isolate(folder, said)
            _judge(read, job, out)
            status = 0
        finally:
            os._exit(status)  # whatever threads and exit functions are left
    each = job["limit"] + bounded.GRACE + LATER
    return _Child(job["job"], pid, said, time.monotonic() + each * len(job["holes"]))


def _isolate(folder: Path, said: Path) -> None:
    """Let a child be alone: no terminal, no output, a place of its own for what it leaves."""
    os.setsid()
    tempfile.tempdir = str(folder)
    _be_quiet(said.open("w", encoding="utf-8"))


def _be_quiet(last_words: TextIO) -> None:
    """Let nothing of this process be seen but the last words of `bounded`."""
    sys.__stderr__ = last_words
    for descriptor in (0, 1, 2):
        _point_at_nothing(descriptor)


def _end(child: _Child, out: TextIO, why: str) -> None:
    """End a child and all that it started, and say so."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)  # it may not have a group yet
    _, status = os.waitpid(child.pid, 0)
    said = child.said.read_text(encoding="utf-8") if child.said.is_file() else ""
    drive.sweep()
    _say(out, job=child.job, ended=why or said.strip()[-2000:] or _of_status(status))


def _of_status(status: int) -> str:
    """Say how a process ended, nothing if it ended well."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the code ended the whole process: {signal.Signals(-code).name}"
    return f"the code ended the whole process, with status {code}" if code else ""


def _judge(read: Course, job: dict, out: TextIO) -> None:
    """Check the holes of a job, and say of each what was found."""
    checks.LIMIT = job["limit"]
    own = os.getpid()
    try:
        for result in checks.results(read, [read.holes[id] for id in job["holes"]]):
            if os.getpid() != own:  # the participant's code has forked
                os._exit(0)
            _say(
                out, job=job["job"], hole=result.hole.id, state=result.state,
                message=result.message,
            )  # fmt: skip
    except WorkshopError as error:  # a file has lost its markers since it was looked at
        for id in job["holes"]:  # to wait, and not to be wrong: it is checked again once mended
            _say(out, job=job["job"], hole=id, state="waiting", message=str(error))


def _judge_once(read: Course, out: TextIO) -> None:
    commands = _Lines(0)
    jobs = [command for command in commands.read(wait=True) if "holes" in command]
    if jobs:
        _be_quiet(os.fdopen(os.dup(2), "w", encoding="utf-8"))
        _judge(read, jobs[0], out)
        _say(out, job=jobs[0]["job"], ended="")
    os._exit(0)  # whatever threads are left


class _Lines:
    """The commands that come in, each a line of JSON."""

    def __init__(self, descriptor: int):
        self.ended = False
        self._descriptor = descriptor
        self._rest = b""
        self._selector = None
        if sys.platform != "win32":  # where pipes cannot be waited for, and need not be
            self._selector = selectors.DefaultSelector()
            self._selector.register(descriptor, selectors.EVENT_READ)

    def read(self, wait: bool) -> list[dict]:
        """Return what has come in; without `wait`, within a moment."""
        if self._selector and not self._selector.select(None if wait else LOOK):
            return []
        data = os.read(self._descriptor, 65536)
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]


if __name__ == "__main__":
    main(sys.argv[1:])
