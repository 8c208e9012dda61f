"""The command `workshop watch`."""

import asyncio
import os
import sys
from pathlib import Path

from workshop.course import Course, Part, latest_open
from workshop.errors import WorkshopError
from workshop.watch import memory, view
from workshop.watch.plain import Plain
from workshop.watch.session import Front, Options, Session


def watch(
    course: Course, part: str | None, *, plain: bool = False, options: Options | None = None
) -> int:
    """Watch a part until somebody quits.

    part : by default that in which one was last
    plain : lines in any case
    """
    chosen = course.part(part) if part else where_one_was(course)
    look = view.Look(signs(sys.stdout.encoding), Path.cwd())

    async def sit() -> str:
        session = Session(course, chosen, _front(plain, look), options or Options())
        await session.run()
        return view.parting(session.state)

    try:
        print(asyncio.run(sit()))
    except KeyboardInterrupt:
        print()
    return 0


def _front(plain: bool, look: view.Look) -> Front:
    if plain or not drawable():
        return Plain(look)
    from workshop.watch.screen import Screen

    return Screen(look)


def where_one_was(course: Course) -> Part:
    """Return the part with the open hole near which something was saved last.

    When all is filled in, the part that was watched last.
    """
    try:
        return course.part_of(latest_open(course))
    except WorkshopError:
        kept = memory.recall(course).part
        return next((p for p in course.parts if p.folder == kept), course.parts[-1])


def signs(encoding: str | None) -> view.Signs:
    """Return the signs that a console of this encoding can show."""
    try:
        "".join(vars(view.UNICODE).values()).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return view.ASCII
    return view.UNICODE


def drawable() -> bool:
    """Tell whether there is a terminal to draw on, and nobody asked for less."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
