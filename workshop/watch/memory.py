"""Where one stopped: kept in a small file, so that `watch` goes on from there."""

import contextlib
import json
from dataclasses import dataclass, field

from workshop.course import Course

FILE = "outputs/watch.json"


@dataclass(frozen=True)
class Memory:
    """The part and hole that were shown last, and how many hints of each hole were read."""

    part: str = ""
    holes: dict[str, str] = field(default_factory=dict)
    hints: dict[str, int] = field(default_factory=dict)


def recall(course: Course) -> Memory:
    """Return what was kept; a file that is missing or damaged says nothing."""
    try:
        read = json.loads((course.root / FILE).read_text(encoding="utf-8"))
        known = course.holes
        return Memory(
            str(read["part"]),
            {part: id for part, id in read["holes"].items() if id in known},
            {
                id: min(int(count), len(known[id].hints))
                for id, count in read["hints"].items()
                if id in known and int(count) > 0
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Memory()


def keep(course: Course, part: str, hole: str, hints: dict[str, int]) -> None:
    """Keep where one is; on a disk that takes nothing, it is forgotten."""
    before = recall(course)
    kept = {
        "part": part,
        "holes": before.holes | {part: hole},
        "hints": before.hints | hints,
    }
    file = course.root / FILE
    unfinished = file.with_name(f".{file.name}.unfinished")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        unfinished.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        unfinished.replace(file)
