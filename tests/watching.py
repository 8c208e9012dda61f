"""Watching a course in a test: the session with its listener and warm process, without a screen."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from workshop import regions
from workshop.course import Course
from workshop.watch import view
from workshop.watch.session import Options, Session
from workshop.watch.state import Event, State

PATIENCE = 120  # seconds until a test gives up; nothing is asserted about time


class Seen:
    """A front that shows nothing and keeps what it was to show, as plain lines."""

    def __init__(self, here: Path):
        self.look = view.Look(here=here)
        self.said: list[str] = []
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        self.begun = asyncio.Event()

    async def run(self, session: Session) -> None:
        self.begun.set()
        self.said += view.first_lines(session.state, self.look)
        await session.over.wait()

    def show(self, before: State, event: Event, after: State) -> None:
        self.events.append(event)
        self.said += view.lines(before, event, after, self.look)
        self.changed.set()

    async def lend_terminal(self, words) -> None:
        self.said.append(f"lent to {words}")


@contextlib.asynccontextmanager
async def watched(course: Course, **options) -> AsyncIterator[tuple[Session, Seen]]:
    """Watch the first part of a course meanwhile."""
    front = Seen(course.root)
    session = Session(course, course.parts[0], front, Options(**options))
    running = asyncio.create_task(session.run())
    try:
        await front.begun.wait()
        yield session, front
    finally:
        session.over.set()
        await asyncio.wait_for(running, PATIENCE)


async def until(session: Session, front: Seen, true: Callable[[State], bool]) -> State:
    """Wait for a state."""

    async def wait() -> None:
        while not true(session.state):
            front.changed.clear()
            await front.changed.wait()

    try:
        await asyncio.wait_for(wait(), PATIENCE)
    except TimeoutError:
        raise AssertionError(f"it did not come to that: {front.said}") from None
    return session.state


def idle(state: State) -> bool:
    return not state.busy and not any(
        verdict.stale for verdict in state.verdicts.values()
    )  # fmt: skip


def filled(course: Course, id: str, body: str) -> tuple[Path, str]:
    """Return the file of a hole, and its text with the hole filled in."""
    hole = course.holes[id]
    path = course.root / hole.part / hole.file
    text = path.read_bytes().decode("utf-8")
    return path, regions.fill(text, {id: body}, path.suffix == ".ipynb")


def replace_whole(path: Path, text: str) -> None:
    """Save as careful editors do: a new file in place of the old one."""
    new = path.with_name(f".{path.name}.tmp")
    new.write_bytes(text.encode("utf-8"))
    os.replace(new, path)
