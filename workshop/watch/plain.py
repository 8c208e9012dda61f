"""`watch` in plain lines: for a pipe, for NO_COLOR, for a screen reader. Nothing is redrawn."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from workshop.watch import view
from workshop.watch.state import Event, State

if TYPE_CHECKING:
    from workshop.watch.session import Session


class Plain:
    """Prints what is new, and reads commands that end with Enter."""

    def __init__(self, look: view.Look, out: TextIO | None = None, read_from: int | None = 0):
        self._look = look
        self._out = out or sys.stdout
        self._read_from = read_from

    async def run(self, session: "Session") -> None:
        self._print(view.first_lines(session.state, self._look))
        if self._read_from is not None:
            loop = asyncio.get_running_loop()
            arguments = (self._read_from, loop, session)
            threading.Thread(target=_read, args=arguments, daemon=True).start()
        await session.over.wait()

    def show(self, before: State, event: Event, after: State) -> None:
        self._print(view.lines(before, event, after, self._look))

    async def lend_terminal(self, words: Sequence[str]) -> None:
        process = await asyncio.to_thread(subprocess.run, words)
        del process

    def _print(self, lines: Sequence[str]) -> None:
        # What a console cannot show is shown as a question mark.
        encoding = self._out.encoding or "ascii"
        for line in lines:
            print(line.encode(encoding, "replace").decode(encoding), file=self._out)
        self._out.flush()


def _read(descriptor: int, loop: asyncio.AbstractEventLoop, session: "Session") -> None:
    """Hand on each line that comes in. Not by sys.stdin, whose lock Python wants at its end."""
    rest = b""
    while True:
        try:
            data = os.read(descriptor, 4096)
        except OSError:
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            command = line.decode("utf-8", errors="replace").strip().lower()
            try:
                loop.call_soon_threadsafe(session.press, command)
            except RuntimeError:  # the loop has ended
                return
