"""One sitting at `watch`: what happens goes into the state, what is to be done is done."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workshop import answers, checks
from workshop.course import Course, Part
from workshop.errors import WorkshopError
from workshop.watch import editor, memory, view
from workshop.watch.client import FORK, Warm
from workshop.watch.listener import listen, snapshot
from workshop.watch.state import Cancel, Check, Do, Effect, Event, Pressed, State, Told, begin, step

KEPT = "outputs/replaced"


class Front(Protocol):
    """What shows the state, and says which keys were pressed."""

    async def run(self, session: "Session") -> None:
        """Show, and hand on keys, until `session.over` is set."""

    def show(self, before: State, event: Event, after: State) -> None:
        """Show what an event has changed."""

    async def lend_terminal(self, words: Sequence[str]) -> None:
        """Run a command that needs the terminal for itself."""


@dataclass(frozen=True)
class Options:
    """How to watch.

    limit : seconds for one check
    events : whether to ask the system for events of files, before looking oneself
    fork : whether checks may be forked
    """

    limit: float = checks.LIMIT
    events: bool = True
    fork: bool = FORK


class Session:
    """A part that is watched, and who watches."""

    def __init__(self, course: Course, part: Part, front: Front, options: Options):
        self.course, self.part = course, part
        self._front, self._options = front, options
        kept = memory.recall(course)
        seen = snapshot(course, part)
        self.state, self._first = begin(part, seen, kept.holes.get(part.folder), kept.hints)
        self.over = asyncio.Event()
        self._warm = Warm(course, part, self.happen, options.fork)
        self._tasks: set[asyncio.Task] = set()

    async def run(self) -> None:
        """Watch until somebody quits."""
        self._warm.start()
        for effect in self._first:
            self._do(effect)
        listening = asyncio.create_task(self._listen())
        try:
            await self._front.run(self)
        finally:
            listening.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(listening, *self._tasks, return_exceptions=True)
            await self._warm.close()
            self._keep()

    def happen(self, event: Event) -> None:
        """Take in what happened."""
        before = self.state
        self.state, effects = step(before, event)
        if (before.hole, before.hints) != (self.state.hole, self.state.hints):
            self._keep()
        self._front.show(before, event, self.state)
        for effect in effects:
            self._do(effect)

    def press(self, command: str) -> None:
        """Take in a key, or a command by its word."""
        known = {key: command for key, (command, _) in view.KEYS.items()}
        known |= {name: name for name, _ in view.KEYS.values()} | {"down": "down", "up": "up"}
        if command in known:
            self.happen(Pressed(known[command]))
        elif command:
            words = ", ".join(name for name, _ in view.KEYS.values())
            self.happen(Told(f"{command[:40]!r} is no command. There are: {words}"))

    def _keep(self) -> None:
        memory.keep(self.course, self.part.folder, self.state.hole, dict(self.state.hints))

    async def _listen(self) -> None:
        first = self.state.seen
        async for event in listen(self.course, self.part, first, events=self._options.events):
            self.happen(event)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Check(job, holes):
                self._warm.submit(job, holes, self._options.limit)
            case Cancel():
                self._warm.cancel()
            case Do("quit", _):
                self.over.set()
            case Do(what, hole):
                actions: dict[str, Callable] = {
                    "diff": self._diff, "reset": self._reset, "edit": self._edit,
                    "mlflow": self._mlflow,
                }  # fmt: skip
                task = asyncio.create_task(self._told(actions[what](hole)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _told(self, action) -> None:
        """Say what came of an action, or why it did not work."""
        try:
            told = await action
        except WorkshopError as error:
            told = Told(str(error))
        except (OSError, ValueError) as error:
            told = Told(f"That did not work: {error}")
        self.happen(told)

    async def _diff(self, hole: str) -> Told:
        lines = answers.difference(self.course, self.course.holes[hole])
        if not lines:
            return Told("Your answer is ours, to the letter.")
        return Told(f"From your answer to TODO {hole} (-) to ours (+)", tuple(lines[2:]))

    async def _reset(self, hole: str) -> Told:
        done = answers.reset(self.course, self.course.holes[hole], self.course.root / KEPT)
        if not done.kept:
            return Told(f"TODO {hole} is as it was at the beginning.")
        kept = done.kept.relative_to(self.course.root).as_posix()
        return Told(f"TODO {hole} is open again.", (f"What you wrote is kept in {kept}.",))

    async def _edit(self, hole: str) -> Told:
        file = checks.region_of(self.course, self.course.holes[hole])[0]
        shown = view.place(self.state, hole, view.Look(here=Path.cwd()))
        found = editor.at(file, view.line_of(self.state, hole))
        if found is None:
            return Told(f"No editor is known. Set EDITOR to yours; the place is {shown}")
        if found.in_terminal:
            await self._front.lend_terminal(found.words)
            return Told(f"Back from {shown}")
        with subprocess.Popen(
            found.words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        ) as _started:  # fmt: skip
            _started.returncode = 0  # it stays open, and nobody waits for it
        return Told(f"Opened {shown}")

    async def _mlflow(self, _: str) -> Told:
        """Ask for the latest run as `workshop open latest` does, in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workshop.cli", "open", "latest",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        first, *more = said.decode("utf-8", errors="replace").strip().splitlines() or ["nothing"]
        return Told(first.removeprefix("error: "), tuple(more))
