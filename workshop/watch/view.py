"""What `watch` shows of its state: text for a screen, and lines for whoever reads lines.

Pure. Every state has its word and its sign; a colour only repeats them, and is one that can be
read on light and on dark.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from workshop.course import Hole
from workshop.watch.listener import NoEvents, Saved
from workshop.watch.state import Event, Pressed, State, Told, Verdict

KEYS = {
    "n": ("next", "next"),
    "b": ("back", "back"),
    "h": ("hint", "hint"),
    "d": ("diff", "diff"),
    "r": ("reset", "reset"),
    "e": ("edit", "editor"),
    "m": ("mlflow", "MLflow"),
    "c": ("again", "check all"),
    "?": ("help", "help"),
    "q": ("quit", "quit"),
}
HELP = {
    "next": "go to the next TODO that is not done",
    "back": "go to the TODO before",
    "hint": "a hint; once more, and it says more",
    "diff": "our answer beside yours, once yours is done",
    "reset": "begin the TODO again; what you wrote is kept",
    "edit": "open the editor at the TODO",
    "mlflow": "the latest run in MLflow",
    "again": "check all that is filled in again",
    "help": "these keys",
    "quit": "end; what you wrote stays, and you come back to this TODO",
}
STYLES = {"done": "green", "wrong": "bold red", "checking": "bold", "waiting": "dim"}
LINE = re.compile(r"\((?P<file>[^()\s]+\.(?:py|yaml)), line (?P<line>\d+)\)")


@dataclass(frozen=True)
class Signs:
    """The characters that stand for states and lines, of which a console may have few."""

    done: str
    wrong: str
    open: str
    waiting: str
    checking: str
    unknown: str
    full: str
    empty: str
    dot: str
    dots: str
    rule: str


UNICODE = Signs("✓", "✗", "○", "◌", "▸", "?", "━", "·", "·", "…", "─")
ASCII = Signs("+", "x", "o", "~", ">", "?", "#", "-", "-", "...", "-")


@dataclass(frozen=True)
class Look:
    """How to show: the signs, and the folder to which paths are relative."""

    signs: Signs = UNICODE
    here: Path = Path()


def word(verdict: Verdict) -> str:
    """Return the word for what is known of a hole."""
    return "checking" if verdict.stale else verdict.state


def place(state: State, id: str, look: Look) -> str:
    """Return where to look: `train.py:42` as terminals and editors make a link of it.

    It is the line that the message names, or else that of the marker.
    """
    hole = state.of(id)
    if id not in state.seen.regions:
        return f"{state.part.folder}/{hole.file}"
    file, region = state.seen.regions[id]
    try:
        shown = Path(os.path.relpath(file, look.here)).as_posix()
    except ValueError:  # on Windows, on another drive
        shown = file.as_posix()
    if region.cell is not None:
        return f"{shown}, {region.place}"
    verdict = state.verdicts[id]
    named = [m for m in LINE.finditer(verdict.message) if m["file"] == file.name]
    wrong = verdict.state == "wrong" and not verdict.stale
    return f"{shown}:{named[-1]['line'] if named and wrong else region.line}"


def line_of(state: State, id: str) -> int:
    """Return the line at which an editor should open."""
    found = re.search(r":(\d+)$", place(state, id, Look()))
    return int(found[1]) if found else 1


def title(hole: Hole) -> str:
    return f"TODO {hole.id}  {hole.title}"


def screen(state: State, width: int, look: Look) -> tuple[list[Text], list[Text], list[Text]]:
    """Return what stays at the top, what may be scrolled, and what stays at the bottom."""
    return (
        _wrapped(_top(state, width, look), width),
        _wrapped(_middle(state, look), width),
        _wrapped(_bottom(state, width, look), width),
    )


def _wrapped(texts: Iterator[Text], width: int) -> list[Text]:
    from rich.console import Console

    console = Console(width=width)
    return [line for text in texts for line in (text.wrap(console, width) or [text])]


def _top(state: State, width: int, look: Look) -> Iterator[Text]:
    signs, total = look.signs, len(state.holes)
    yield Text(f"{state.part.folder} {signs.dot} {state.done} of {total} done", "bold")
    cells = min(width, 60)
    filled = cells * state.done // total
    yield Text.assemble((signs.full * filled, "green"), signs.empty * (cells - filled))
    row = Text()
    for id in state.holes:
        shown = word(state.verdicts[id])
        here = id == state.hole
        name = f"{getattr(signs, shown)}{id}"
        row.append(f"[{name}]" if here else f" {name} ", STYLES.get(shown, ""))
    yield row
    yield Text()


def _middle(state: State, look: Look) -> Iterator[Text]:
    hole, verdict = state.of(state.hole), state.verdicts[state.hole]
    if state.broken:
        yield Text(f"{look.signs.wrong} The files cannot be checked", "bold red")
        yield Text(state.broken)
        yield Text()
    yield Text(title(hole), "bold")
    yield Text(place(state, state.hole, look), "underline")
    shown = word(verdict)
    sign = getattr(look.signs, shown)
    yield Text(f"{sign} {_word_of(state, shown, look)}", STYLES.get(shown, ""))
    yield Text()
    if verdict.state in ("wrong", "waiting"):
        yield Text(verdict.message, "dim" if verdict.stale else "")
        yield Text()
    if verdict.state != "done":
        yield Text.assemble(("asked: ", "bold"), hole.ask)
        yield Text()
    yield from _panel(state, look)


def _word_of(state: State, shown: str, look: Look) -> str:
    dots = look.signs.dots
    if shown == "checking" and state.failed:
        return "not checked"
    if shown == "checking" and not state.warm:
        return f"checking{dots} as soon as the libraries are loaded, once"
    return {"checking": f"checking{dots}", "unknown": "not checked yet"}.get(shown, shown)


def _panel(state: State, look: Look) -> Iterator[Text]:
    if state.panel_key == "hint":
        ladder = state.of(state.hole).hints
        for number in range(state.hints.get(state.hole, 0)):
            yield Text.assemble((f"hint {number + 1} of {len(ladder)}: ", "bold"), ladder[number])
        yield Text()
    if state.panel_key == "help":
        for key, (command, _) in KEYS.items():
            yield Text.assemble((f"{key}  ", "bold"), HELP[command])
        signs = look.signs
        yield Text(
            "  ".join(f"{getattr(signs, name)} {name}" for name in ("done", "wrong", "open",
                      "waiting", "checking"))
        )  # fmt: skip
    elif state.panel:
        yield Text(state.panel.title, "bold")
        for line in state.panel.lines:
            yield Text(line, {"-": "red", "+": "green"}.get(line[:1], ""))


def _bottom(state: State, width: int, look: Look) -> Iterator[Text]:
    yield Text(look.signs.rule * width, "dim")
    if state.failed:
        yield Text(f"No check is possible: {state.failed}. To try again: c", "bold red")
    if state.polling:
        yield Text(POLLING, "dim")
    keys = Text()
    for key, (_, name) in KEYS.items():
        keys.append(key, "bold")
        keys.append(f" {name}  ".replace(" ", "\N{NO-BREAK SPACE}", 1))
    yield keys


POLLING = "No word of saved files comes from this folder: it is looked at every 0.3 s instead."


def parting(state: State) -> str:
    """Return what is said at the end."""
    number = state.part.folder[len("part")]
    return (
        f"{state.done} of {len(state.holes)} are known to be done; you were at TODO {state.hole}. "
        f"To go on: uv run workshop watch --part {number}"
    )


# Lines


def first_lines(state: State, look: Look) -> list[str]:
    """Return what is said at the beginning to whoever reads lines."""
    said = [
        f"{state.part.folder}: {len(state.holes)} TODOs. Every save is checked.",
        "Type a word and Enter: " + ", ".join(command for command, _ in KEYS.values()),
    ]
    if state.broken:
        return [*said, state.broken]
    return [*said, *_where(state, look), *_checking(state)]


def lines(before: State, event: Event, after: State, look: Look) -> list[str]:
    """Return what an event adds for whoever reads lines."""
    said: list[str] = []
    if isinstance(event, NoEvents):
        said.append(POLLING)
    if after.failed and after.failed != before.failed:
        said.append(f"No check is possible: {after.failed}. To try again: again")
    if after.broken and after.broken != before.broken:
        said.append(after.broken)
    if isinstance(event, Saved) or (isinstance(event, Pressed) and event.key == "again"):
        opened = [
            id for id in after.holes
            if after.verdicts[id].state == "open" and before.verdicts[id].state != "open"
        ]  # fmt: skip
        said += [_verdict(after, id, look) for id in opened]
        said += _checking(after)
    said += [
        _verdict(after, id, look)
        for id in after.holes
        if before.verdicts[id].stale and not after.verdicts[id].stale
        and after.verdicts[id].state != "open"
    ]  # fmt: skip
    if len(said) and before.busy and not after.busy and not after.broken:
        said.append(f"{after.done} of {len(after.holes)} done")
    if isinstance(event, Pressed):
        said += _answer(before, event, after, look)
    elif isinstance(event, Told):
        said += [event.title, *event.lines]
    return said


def _checking(state: State) -> list[str]:
    jobs = [state.running, *state.queue] if not state.cancelled else [*state.queue]
    holes = [id for job in jobs for id in job]
    return [f"checking TODO {', '.join(holes)} ..."] if holes else []


def _verdict(state: State, id: str, look: Look) -> str:
    verdict = state.verdicts[id]
    row = f"TODO {id} {verdict.state}: {state.of(id).title}"
    if verdict.state == "done":
        return row
    return f"{row}\n  {place(state, id, look)}\n  {verdict.message}"


def _where(state: State, look: Look) -> list[str]:
    hole, verdict = state.of(state.hole), state.verdicts[state.hole]
    rows = [f"{title(hole)} ({word(verdict)})", f"  {place(state, hole.id, look)}"]
    if verdict.state in ("wrong", "waiting"):
        rows.append(f"  {verdict.message}")
    return [*rows, f"  asked: {hole.ask}"]


def _answer(before: State, event: Pressed, after: State, look: Look) -> list[str]:
    match event.key:
        case "next" | "back" if after.hole != before.hole:
            return _where(after, look)
        case "back":
            return ["This is the first TODO."]
        case "hint" if after.panel is None:
            ladder, read = after.of(after.hole).hints, after.hints[after.hole]
            return [f"hint {read} of {len(ladder)}: {ladder[read - 1]}"]
        case "help":
            return [f"{name}: {what}" for name, what in HELP.items()]
    return [after.panel.title, *after.panel.lines] if after.panel else []
