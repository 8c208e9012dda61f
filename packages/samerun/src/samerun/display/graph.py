"""A run as a picture: from its data to its metrics, and back to the configuration."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from samerun.config import leaves
from samerun.display.screen import printable
from samerun.errors import RecordError
from samerun.recorded import RecordedRun, read_run

# In points: it fits a slide, in letters that the last row can read. Two rows, the second backwards.
COLUMNS, WIDTH, HEIGHT, GAP, EDGE = 4, 168, 104, 18, 4
LETTER, ROOM = 14, 152  # the size of the text, and the width of a box without its edges
NARROW, WIDE = "fijlrt.,:;!'|()[]/ -", "mwMWQ@%"  # as DejaVu Sans has them, which is a wide one
LINES = 4
TOP = 26  # where the first row begins, below the title
PAPER, SHADE, INK, MUTED, ACCENT = "#FFFFFF", "#F1F4F9", "#16233A", "#4A5872", "#1A5FA8"

# Words that a key of the configuration has where it is about one of these steps.
PREPROCESSING = (
    "preprocess",
    "preprocessing",
    "transform",
    "transforms",
    "augment",
    "augmentation",
)
SPLIT = ("split", "splits", "validation_fraction", "val_fraction", "fraction", "folds")


@dataclass(frozen=True)
class Step:
    """A box of the picture: what it is, and the lines that say what a run recorded of it."""

    title: str
    lines: tuple[str, ...]


def steps(run: RecordedRun) -> list[Step]:
    """Return the chain of a run, from its data to its metrics.

    What the configuration says of preprocessing and split stands in their boxes. Where it says
    nothing the code holds it, and the box says so.
    """
    trace = run.trace
    code, data, packages, machine = trace.code, trace.data, trace.environment, trace.machine
    commit = code.commit[:16] if code.commit else "no commit"
    patch = f"{len(code.changed)} files changed" if trace.patch else ""
    settings = list(leaves(trace.config))
    known = (data.name, data.digest[:16], data.source) if data else ("unknown",)
    overrides = trace.overrides or ("as in conf",)
    return [
        Step("Data", known),
        Step("Preprocessing", _about(settings, PREPROCESSING)),
        Step("Split", _about(settings, SPLIT)),
        Step("Configuration", (f"{len(settings)} values", f"seed {trace.seed}", *overrides)),
        Step("Code", (trace.script or "no script", commit, patch)),
        Step(
            "Environment",
            (
                packages.python if packages else "",
                f"lock {packages.lock[:12]}" if packages and packages.lock else "no lock",
                f"{len(packages.differs)} not as locked" if packages else "",
                machine.cpu if machine else "",
            ),
        ),
        Step("Weights", tuple(run.weights)),
        Step("Metrics", _results({name: points[-1][1] for name, points in run.metrics.items()})),
    ]


def write(run_id: str, path: Path) -> Path:
    """Draw a run into an SVG file and return its path.

    Raises
    ------
    RecordError
        No such run, one without a trace, or a file that cannot be written.
    """
    if path.suffix.lower() != ".svg":
        raise RecordError(f"{path} would not be seen as a picture. Give it a name like run.svg.")
    run = read_run(run_id)
    drawn = draw(steps(run), f"{run.name}, run {run.run_id[:8]}")
    try:
        path.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}. Name another.") from error
    return path


def draw(chain: Sequence[Step], title: str) -> str:
    """Return the picture as the text of an SVG file: what a browser, a README or Typst shows."""
    across = COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    width, height = across + 2 * EDGE + GAP, TOP + 2 * HEIGHT + 3 * GAP + LETTER
    places = [_place(number) for number in range(len(chain))]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}pt" height="{height}pt" role="img" aria-labelledby="title what" '
        f'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="{LETTER}">',
        f'<title id="title">{_safe(title)}</title>',
        f'<desc id="what">{_safe(_in_words(chain))}</desc>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{MUTED}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        f'<text x="{EDGE}" y="{LETTER + 2}" font-weight="bold" fill="{INK}">'
        f"{_safe(_cut(title, 2 * ROOM + 300))}</text>",
    ]
    for step, (x, y) in zip(chain, places, strict=True):
        parts += _box(step, x, y)
    for before, after in itertools.pairwise(places):
        parts.append(_arrow(_between(before, after)))
    parts += _loop(places[-1], places[COLUMNS - 1])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _place(number: int) -> tuple[int, int]:
    row, column = divmod(number, COLUMNS)
    if row % 2:
        column = COLUMNS - 1 - column
    return EDGE + column * (WIDTH + GAP), TOP + row * (HEIGHT + GAP)


def _box(step: Step, x: int, y: int) -> list[str]:
    said = [line for line in step.lines if line] or ["nothing recorded"]
    if len(said) > LINES:
        said = [*said[: LINES - 1], f"and {len(said) - LINES + 1} more"]
    parts = [
        "<g>",
        f"<title>{_safe(chr(10).join((step.title, *filter(None, step.lines))))}</title>",
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{SHADE}" '
        f'stroke="{ACCENT}"/>',
        f'<text x="{x + 8}" y="{y + 20}" font-weight="bold" fill="{ACCENT}">'
        f"{_safe(step.title)}</text>",
    ]
    for number, line in enumerate(said):
        parts.append(
            f'<text x="{x + 8}" y="{y + 40 + 18 * number}" fill="{INK}">'
            f"{_safe(_cut(line, ROOM))}</text>"
        )
    return [*parts, "</g>"]


def _between(before: tuple[int, int], after: tuple[int, int]) -> str:
    (x, y), (to_x, to_y) = before, after
    if y != to_y:
        return f"M{x + WIDTH // 2} {y + HEIGHT}V{to_y - 2}"
    if x < to_x:
        return f"M{x + WIDTH} {y + HEIGHT // 2}H{to_x - 2}"
    return f"M{x} {y + HEIGHT // 2}H{to_x + WIDTH + 2}"


def _loop(end: tuple[int, int], start: tuple[int, int]) -> list[str]:
    """Return the way back from the metrics, below the lower row, to the configuration."""
    (x, y), (to_x, to_y) = end, start
    below, right = y + HEIGHT + GAP, to_x + WIDTH + GAP - 4
    path = f"M{x + WIDTH // 2} {y + HEIGHT}V{below}H{right}V{to_y + HEIGHT // 2}H{to_x + WIDTH + 2}"
    said = "look, change one value, run again"
    return [
        _arrow(path, dashed=True),
        f'<text x="{(x + WIDTH // 2 + right) // 2}" y="{below + LETTER + 1}" '
        f'text-anchor="middle" fill="{MUTED}">{said}</text>',
    ]


def _arrow(path: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="{MUTED}" stroke-width="1.6"{dash} '
        'marker-end="url(#tip)"/>'
    )


def _about(settings: Sequence[tuple[str, object]], words: Sequence[str]) -> tuple[str, ...]:
    """Return the settings named after one of these words, each without what leads to it."""
    found = []
    for key, value in settings:
        names = key.split(".")
        at = next((n for n, name in enumerate(names) if name.lower() in words), None)
        if at is not None:
            found.append(f"{'.'.join(names[at + 1 :]) or names[at]} = {value}")
    return tuple(found) or ("in the code",)


def _results(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return the last value of every metric, of tests first, then of validation, then the rest."""

    def rank(name: str) -> tuple[int, str]:
        told = [word in name.lower() for word in ("test", "val")]
        return (0 if told[0] else 1 if told[1] else 2, name)

    return tuple(f"{metrics[name]:.4g} {name}" for name in sorted(metrics, key=rank))


def _in_words(chain: Sequence[Step]) -> str:
    told = [f"{step.title}: {', '.join(filter(None, step.lines)) or 'nothing'}" for step in chain]
    return ". ".join(told) + ". From the metrics a way leads back to the configuration."


def _cut(text: str, room: float) -> str:
    """Shorten a text to a width: a path at its beginning, others in their middle.

    Paths are told apart by their ends, digests and names by both.
    """
    if _width(text) <= room:
        return text
    for left in range(len(text) - 1, 0, -1):
        head = 0 if "/" in text and " " not in text else (left + 1) // 2
        short = f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - left + head :]}"
        if _width(short) <= room:
            return short
    return "\N{HORIZONTAL ELLIPSIS}"


def _width(text: str) -> float:
    shares = (0.4 if c in NARROW else 1.0 if c in WIDE or ord(c) > 0x2FF else 0.63 for c in text)
    return LETTER * sum(shares)


def _safe(text: str) -> str:
    """Return a text as XML takes it: quoted, without the characters that XML does not know."""
    return escape(printable(text), {'"': "&quot;"})
