"""What every command writes alike: few of many things, JSON, and letters that a console has."""

import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

FEW = 3  # values or names in one sentence


def few(items: Iterable[object], most: int = FEW) -> str:
    """Return the first things of many, with commas between them, and how many more there are."""
    left = iter(items)
    shown, more = [str(item) for item in islice(left, most)], sum(1 for _ in left)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def fitting(blocks: Sequence[Sequence[str]], room: int) -> list[str]:
    """Return the lines of the first block and of those behind it that fit into a room of so many
    lines; the last line says how many blocks did not."""
    lines: list[str] = []
    for position, block in enumerate(blocks):
        last = position == len(blocks) - 1
        if position and len(lines) + len(block) + (not last) > room:
            return [*lines, f"  and {len(blocks) - position} more: --json shows all"]
        lines += block
    return lines


def as_json(value: Any) -> str:
    """Return JSON that every program reads; what is no number in it is a text: "nan", "inf"."""
    return json.dumps(_with_texts(value), indent=2, allow_nan=False)


def _with_texts(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _with_texts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_texts(item) for item in value]
    return value


def any_console() -> None:
    """Let the console show "?" for a letter that it lacks: an accent must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
