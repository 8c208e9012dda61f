"""A run as a picture: from its data to its metrics, and back to the configuration."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from samerun.config import leaves
from samerun.display.screen import fetch, printable
from samerun.errors import RecordError
from samerun.find import find_run
from samerun.trace import Trace

if TYPE_CHECKING:
    from mlflow.entities import Run

COLUMNS, WIDTH, HEIGHT, GAP, EDGE = 4, 232, 112, 34, 30  # pixels; two rows, the second backwards
LETTERS = 33  # of the text's size that fit a box, digits being the widest
LINES = 4
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
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".joblib", ".pkl", ".skops", ".onnx")


@dataclass(frozen=True)
class Step:
    """A box of the picture: what it is, and the lines that say what a run recorded of it."""

    title: str
    lines: tuple[str, ...]


def weight_files(run: "Run") -> list[str]:
    """Return the artifacts of a run that hold what it learned, by the endings of their names."""
    from mlflow import MlflowClient

    client = MlflowClient()

    def below(folder: str | None) -> Iterable[str]:
        for item in client.list_artifacts(run.info.run_id, folder):
            yield from below(item.path) if item.is_dir else [item.path]

    return [path for path in below(None) if path.lower().endswith(WEIGHTS)]


def steps(trace: Trace, run: "Run", weights: Sequence[str]) -> list[Step]:
    """Return the chain of a run, from its data to its metrics.

    What the configuration says of preprocessing and split stands in their boxes. Where it says
    nothing the code holds it, and the box says so.
    """
    code, data, packages, machine = trace.code, trace.data, trace.environment, trace.machine
    commit = f"commit {code.commit[:12]}" if code.commit else "no commit"
    patch = f"and a patch of {len(code.changed)} files" if trace.patch else ""
    settings = list(leaves(trace.config))
    known = (data.name, f"digest {data.digest[:16]}", data.source) if data else ("unknown",)
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
                f"{len(packages.differs)} packages not as locked" if packages else "",
                machine.cpu if machine else "",
            ),
        ),
        Step("Weights", tuple(sorted(weights, key=lambda path: (path.count("/"), path)))),
        Step("Metrics", _results(run.data.metrics)),
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
    run = find_run(run_id)
    chain = steps(fetch(run), run, weight_files(run))
    drawn = draw(chain, f"{run.info.run_name}, run {run.info.run_id[:8]}")
    try:
        path.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror}. Name another.") from error
    return path


def draw(chain: Sequence[Step], title: str) -> str:
    """Return the picture as the text of an SVG file: what a browser, a README or Typst shows."""
    across = COLUMNS * WIDTH + (COLUMNS - 1) * GAP
    width, height = across + 2 * EDGE + GAP, 2 * HEIGHT + 3 * GAP + EDGE + 26
    places = [_place(number) for number in range(len(chain))]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="title what" font-family="Helvetica, Arial, DejaVu Sans, sans-serif">',
        f'<title id="title">{_safe(title)}</title>',
        f'<desc id="what">{_safe(_in_words(chain))}</desc>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{MUTED}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        f'<text x="{EDGE}" y="{EDGE}" font-size="16" font-weight="bold" fill="{INK}">'
        f"{_safe(_cut(title, 100))}</text>",
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
    return EDGE + column * (WIDTH + GAP), EDGE + 26 + row * (HEIGHT + GAP)


def _box(step: Step, x: int, y: int) -> list[str]:
    said = [line for line in step.lines if line] or ["nothing recorded"]
    if len(said) > LINES:
        said = [*said[: LINES - 1], f"and {len(said) - LINES + 1} more"]
    parts = [
        "<g>",
        f"<title>{_safe(chr(10).join((step.title, *filter(None, step.lines))))}</title>",
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{SHADE}" '
        f'stroke="{ACCENT}"/>',
        f'<text x="{x + 12}" y="{y + 25}" font-size="15" font-weight="bold" fill="{ACCENT}">'
        f"{_safe(step.title)}</text>",
    ]
    for number, line in enumerate(said):
        parts.append(
            f'<text x="{x + 12}" y="{y + 46 + 17 * number}" font-size="12" fill="{INK}">'
            f"{_safe(_cut(line, LETTERS))}</text>"
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
    below, right = y + HEIGHT + GAP, to_x + WIDTH + GAP // 2 + 8
    path = f"M{x + WIDTH // 2} {y + HEIGHT}V{below}H{right}V{to_y + HEIGHT // 2}H{to_x + WIDTH + 2}"
    said = "look, change one value, run again"
    return [
        _arrow(path, dashed=True),
        f'<text x="{(x + WIDTH // 2 + right) // 2}" y="{below + 18}" font-size="13" '
        f'text-anchor="middle" fill="{MUTED}">{said}</text>',
    ]


def _arrow(path: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="{MUTED}" stroke-width="1.6"{dash} '
        'marker-end="url(#tip)"/>'
    )


def _about(settings: Sequence[tuple[str, object]], words: Sequence[str]) -> tuple[str, ...]:
    found = [
        f"{key} = {value}"
        for key, value in settings
        if any(word in words for word in key.lower().split("."))
    ]
    return tuple(found) or ("in the code: no value of the", "configuration is named after it")


def _results(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return the last value of every metric, of tests first, then of validation, then the rest."""

    def rank(name: str) -> tuple[int, str]:
        told = [word in name.lower() for word in ("test", "val")]
        return (0 if told[0] else 1 if told[1] else 2, name)

    return tuple(f"{name} {metrics[name]:.6g}" for name in sorted(metrics, key=rank))


def _in_words(chain: Sequence[Step]) -> str:
    told = [f"{step.title}: {', '.join(filter(None, step.lines)) or 'nothing'}" for step in chain]
    return ". ".join(told) + ". From the metrics a way leads back to the configuration."


def _cut(text: str, most: int) -> str:
    """Shorten a text in its middle: paths and digests are told apart by their ends."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def _safe(text: str) -> str:
    """Return a text as XML takes it: quoted, without the characters that XML does not know."""
    return escape(printable(text), {'"': "&quot;"})
