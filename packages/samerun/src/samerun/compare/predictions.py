"""What two models said of the same rows, where both runs kept that: see which alone was right."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samerun.recorded import RecordedRun

FOLDER = "predictions"  # of a run's artifacts: a file for each split, such as test.csv
COLUMNS = ["label", "predicted"]


def as_csv(labels: Iterable[object], predicted: Iterable[object]) -> str:
    """Return the text of an artifact such as `predictions/test.csv`, by which runs are compared.

    One line for each row, in the order of the data: what it is, and what the model said.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(labels, predicted, strict=True))
    return text.getvalue()


def only_one_right(
    first: "RecordedRun", second: "RecordedRun", metric: str, right: tuple[int, ...]
) -> tuple[int, int] | None:
    """Return how many rows the first run alone, and the second alone, predicted right.

    None where one of them kept no predictions for the split that the metric names, or those of
    other rows, or of another model than the one whose accuracy the metric is.

    right : how many rows each run has right by that metric
    """
    one, other = _read(first.files, metric), _read(second.files, metric)
    if one is None or other is None or one[0] != other[0]:
        return None
    if right != tuple(sum(map(str.__eq__, *kept)) for kept in (one, other)):
        return None
    return discordant(one[0], one[1], other[1])


def _read(files: Path, metric: str) -> tuple[Sequence[str], Sequence[str]] | None:
    words = re.split(r"[^a-z0-9]+", metric.lower())
    for path in sorted((files / FOLDER).glob("*.csv")):
        if path.stem.lower() in words:
            try:
                rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, csv.Error):  # no such file, whatever its name is
                continue
            if len(rows) > 1 and rows[0] == COLUMNS and {*map(len, rows)} == {len(COLUMNS)}:
                return [row[0] for row in rows[1:]], [row[1] for row in rows[1:]]
    return None


def discordant(
    labels: Sequence[object], first: Sequence[object], second: Sequence[object]
) -> tuple[int, int]:
    """Return how many rows the first alone, and the second alone, predicted right."""
    right = [(a == label, b == label) for label, a, b in zip(labels, first, second, strict=True)]
    return right.count((True, False)), right.count((False, True))
