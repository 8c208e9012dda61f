"""`watch` on a terminal: what is known fills it, a key is enough, and all of it goes at the end."""

import asyncio
import io
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prompt_toolkit.application import Application
from prompt_toolkit.application.run_in_terminal import in_terminal
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import Output
from rich.console import Console
from rich.text import Text

from workshop.watch import view
from workshop.watch.state import Event, State

if TYPE_CHECKING:
    from workshop.watch.session import Session

SCROLL = {"down": "down", "up": "up", "pagedown": "down", "pageup": "up", " ": "down"}


class Screen:
    """Draws the state anew whenever it changes.

    look : signs and paths
    input, output : of a terminal, by default this process's
    """

    def __init__(
        self, look: view.Look, input: Input | None = None, output: Output | None = None
    ) -> None:
        self._look = look
        self._session: Session | None = None
        bindings = KeyBindings()
        for key in view.KEYS:
            bindings.add(key)(self._pressed(key))
        for key, command in SCROLL.items():
            bindings.add(key)(self._pressed(command))
        bindings.add("c-c")(self._pressed("q"))
        bindings.add("c-d")(self._pressed("q"))
        window = Window(FormattedTextControl(self._drawn), always_hide_cursor=True)
        self._application: Application[None] = Application(
            Layout(window), key_bindings=bindings, full_screen=True, input=input, output=output
        )

    async def run(self, session: "Session") -> None:
        self._session = session

        async def end() -> None:
            await session.over.wait()
            self._application.exit()

        ending = asyncio.create_task(end())
        try:
            await self._application.run_async(handle_sigint=False)
        finally:
            ending.cancel()
        session.over.set()

    def show(self, before: State, event: Event, after: State) -> None:
        self._application.invalidate()

    async def lend_terminal(self, words: Sequence[str]) -> None:
        async with in_terminal():
            await asyncio.to_thread(subprocess.run, words)

    def _pressed(self, command: str) -> Any:
        def press(_: object) -> None:
            self._session.press(command)

        return press

    def _drawn(self) -> ANSI:
        size = self._application.output.get_size()
        return ANSI(ansi(draw(self._session.state, size, self._look), size.columns))


def draw(state: State, size: Size, look: view.Look) -> list[Text]:
    """Return the rows that fill a terminal: what does not fit in the middle can be scrolled to.

    size : of the terminal, in rows and columns
    """
    top, middle, bottom = view.screen(state, size.columns, look)
    room = max(3, size.rows - len(top) - len(bottom))
    last = max(0, len(middle) - (room - 1))
    at = min(state.scroll, last)
    shown = middle[at : at + room] if len(middle) <= room else middle[at : at + room - 1]
    if len(middle) > room:
        more = len(middle) - at - len(shown)
        said = f"{more} more rows: arrow down, arrow up" if more else "back: arrow up"
        shown.append(Text(f"{look.signs.dots} {said}", "dim"))
    blank = [Text()] * (room - len(shown))
    return [*top, *shown, *blank, *bottom][: size.rows]


def ansi(rows: Sequence[Text], width: int) -> str:
    """Return rows as a terminal understands them, in its own sixteen colours."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=True, color_system="standard", no_color=False,
        legacy_windows=False, highlight=False, markup=False,
    )  # fmt: skip
    console.print(Text("\n").join(rows), end="", no_wrap=True, overflow="crop", crop=True)
    return out.getvalue().replace("\N{NO-BREAK SPACE}", " ")  # which would be shown as a mark
