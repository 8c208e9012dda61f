"""The warm process as the rest of `watch` sees it: jobs go in, messages come out."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from workshop.course import Course, Part

FORK = hasattr(os, "fork") and sys.platform != "darwin"  # macOS's own libraries do not allow it
ENOUGH = 2_000  # characters of what a process said before it died


@dataclass(frozen=True)
class Ready:
    """The warm process has imported everything."""


@dataclass(frozen=True)
class Failed:
    """There is no warm process, and why."""

    message: str


@dataclass(frozen=True)
class Judged:
    """What the check of a hole found; see `workshop.checks.Result`."""

    job: int
    hole: str
    state: str
    message: str


@dataclass(frozen=True)
class Ended:
    """No more results of a job will come; `why` is empty if it came to its end."""

    job: int
    why: str


Message = Ready | Failed | Judged | Ended


class Warm:
    """Processes that have imported what the checks of a part need.

    Parameters
    ----------
    tell : is called with every message, in the event loop
    fork : whether one process judges all jobs, in forks of it; else each takes a fresh one, and
        the next is made ready meanwhile
    """

    def __init__(
        self, course: Course, part: Part, tell: Callable[[Message], None], fork: bool = FORK
    ):
        self._tell = tell
        self._fork = fork
        self._arguments = [
            str(course.root), str(part.checks.parent), part.folder, "fork" if fork else "once",
        ]  # fmt: skip
        self._next: _Process | None = None  # takes the next job
        self._busy: _Process | None = None  # has the present one
        self._job = 0
        self._all: set[_Process] = set()

    def start(self) -> None:
        """Begin to warm up."""
        self._next = _Process(self._arguments, self._heard)
        self._all.add(self._next)

    def submit(self, job: int, holes: Sequence[str], limit: float) -> None:
        """Check these holes, each within so many seconds; the job before has ended."""
        if self._next is None:
            self.start()
        process, self._job = self._next, job
        self._busy = process
        process.send({"job": job, "holes": list(holes), "limit": limit})
        if not self._fork:
            self.start()

    def cancel(self) -> None:
        """End the present job; `Ended` comes as ever."""
        if self._busy and self._fork:
            self._busy.send({"cancel": self._job})
        elif self._busy:
            self._busy.ready = True  # or its end would be taken for a failure to start
            self._busy.kill()

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(process.close() for process in self._all))

    def _heard(self, process: "_Process", message: dict | None) -> None:
        """Pass on what a process said; None is its end."""
        if message is None:
            self._all.discard(process)
            self._gone(process)
        elif "ready" in message:
            self._tell(Ready())
        elif "failed" in message:
            self._next = self._busy = None
            self._tell(Failed(message["failed"]))
        elif "hole" in message:
            self._tell(
                Judged(message["job"], message["hole"], message["state"], message["message"])
            )
        elif process is self._busy:
            self._busy = None
            self._tell(Ended(message["job"], message["ended"]))

    def _gone(self, process: "_Process") -> None:
        was_busy, job = process is self._busy, self._job
        if process is self._next:
            self._next = None
        if was_busy:
            self._busy = None
        if not process.ready:
            self._tell(Failed(process.last_words() or "the checking process did not start"))
        elif was_busy:
            self._tell(Ended(job, process.last_words() or "the checking process has ended"))


class _Process:
    """One warm process."""

    def __init__(self, arguments: list[str], heard: Callable[["_Process", dict | None], None]):
        self.ready = False
        self._heard = heard
        self._scratch: str | None = None
        self._waiting: list[dict] = []
        self._process: asyncio.subprocess.Process | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(arguments))

    async def _run(self, arguments: list[str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workshop.watch.server", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=self._errors,
            start_new_session=True,  # Ctrl+C is not for it
            limit=2**24,
        )  # fmt: skip
        try:
            if self._closed:
                self.kill()
            for command in self._waiting:
                self._write(command)
            async for line in self._process.stdout:
                with contextlib.suppress(ValueError):  # a line that was cut off
                    message = json.loads(line)
                    if "ready" in message:
                        self.ready, self._scratch = True, message["scratch"]
                    self.ready = self.ready or "failed" in message
                    self._heard(self, message)
            await self._process.wait()
            self._process.stdin.close()
            with contextlib.suppress(OSError):
                await self._process.stdin.wait_closed()
        finally:
            if self._process.returncode is None:
                self.kill()
            if self._scratch:
                shutil.rmtree(self._scratch, ignore_errors=True)
        if not self._closed:
            self._heard(self, None)

    def send(self, command: dict) -> None:
        if self._process is None:
            self._waiting.append(command)
        else:
            self._write(command)

    def _write(self, command: dict) -> None:
        with contextlib.suppress(OSError):  # it has ended, as we shall hear
            self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(psutil.Error, AttributeError):
            process = psutil.Process(self._process.pid)
            for one in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.Error):
                    one.kill()

    async def close(self) -> None:
        """End the process, if it has started by now or not."""
        self._closed = True
        self.kill()
        await self._task

    def last_words(self) -> str:
        """Return the end of what the process said to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", errors="replace").strip()[-ENOUGH:]
