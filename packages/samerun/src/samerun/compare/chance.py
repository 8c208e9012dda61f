"""How far a result lies from the true one by chance alone: intervals, and differences beyond it.

Only for shares of rows, such as an accuracy: how far a loss may vary, no record says.
"""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samerun.compare.intervals import wilson_interval
from samerun.compare.predictions import only_one_right
from samerun.compare.results import last_value

if TYPE_CHECKING:
    from samerun.compare.comparison import Comparison
    from samerun.recorded import RecordedRun

ACCURACY = re.compile(r"(?:^|[^a-z])(?:accuracy|acc|error_rate)(?:$|[^a-z])", re.I)
MOST_ROWS = 10**9
LEVEL = 0.05
ENDS = ("low", "high")  # of the names of metrics that are the ends of an interval


@dataclass(frozen=True)
class Share:
    """A metric that is a share of rows, with its interval of 95 % (Wilson).

    rows : of how many
    """

    value: float
    rows: int

    @property
    def count(self) -> int:
        return round(self.value * self.rows)

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.count, self.rows)


def share(run: "RecordedRun", metric: str, value: float | None = None) -> Share | None:
    """Return a metric of a run as a share; None if it is none, or its rows are not on record.

    By its name it is an accuracy, and it is a whole number of rows. How many there are is taken
    from the trace, by the name of the split in that of the metric (`val_accuracy`), or from the
    interval that the run logged beside it (`test_accuracy_low`, `test_accuracy_high`).

    value : at some step; otherwise the last one
    """
    if value is None:
        value = last_value(run.metrics.get(metric, ()))
    if value is None or not 0 <= value <= 1 or not ACCURACY.search(metric):
        return None
    if metric.rpartition("_")[2] in ENDS:
        return None
    rows = _rows_of_split(run, metric) or _rows_of_interval(run, metric)
    if not rows or abs(value * rows - round(value * rows)) > 1e-3:
        return None
    return Share(value, rows)


def _rows_of_split(run: "RecordedRun", metric: str) -> int | None:
    words = re.split(r"[^a-z0-9]+", metric.lower())
    rows = run.trace.data.rows if run.trace.data else {}
    named = [count for split, count in rows.items() if split.lower() in words]
    return named[0] if len(named) == 1 else None


def _rows_of_interval(run: "RecordedRun", metric: str) -> int | None:
    """Return the rows of which the interval that was logged beside a metric is the one of Wilson;
    None if there are none."""
    value, low, high = (
        last_value(run.metrics.get(name, ())) for name in (metric, *(f"{metric}_{e}" for e in ENDS))
    )
    if value is None or low is None or high is None or not 0 <= value <= 1:
        return None
    least, most = 1, MOST_ROWS
    while least < most:  # the interval is the narrower, the more rows there are
        rows = (least + most) // 2
        bottom, top = wilson_interval(value * rows, rows)
        if top - bottom > high - low + 1e-12:
            least = rows + 1
        else:
            most = rows
    bottom, top = wilson_interval(value * least, least)
    return least if abs(bottom - low) < 1e-9 and abs(top - high) < 1e-9 else None


def end_of_interval(run: "RecordedRun", metric: str, step: int) -> tuple[float, float, int] | None:
    """Return between what an end of an interval may lie that a run logged at a step beside an
    accuracy, such as `test_accuracy_low`, and the rows; None of any other metric.

    The accuracy may lie in its interval, and the end moves with it.
    """
    name, _, end = metric.rpartition("_")
    value = dict(run.metrics.get(name, ())).get(step)
    if end not in ENDS or value is None or not (of_rows := share(run, name, value)):
        return None
    lowest, highest = (
        wilson_interval(bound * of_rows.rows, of_rows.rows)[ENDS.index(end)]
        for bound in of_rows.interval
    )
    return lowest, highest, of_rows.rows


def difference_interval(first: Share, second: Share) -> tuple[float, float]:
    """Return the interval of 95 % of `second` minus `first` (Newcombe's method 10).

    Of rows that do not know of each other. For two runs on the same rows it is careful: pairs of
    predictions would show smaller differences.
    """
    (low_1, high_1), (low_2, high_2) = first.interval, second.interval
    difference = second.value - first.value
    down = math.hypot(second.value - low_2, high_1 - first.value)
    up = math.hypot(high_2 - second.value, first.value - low_1)
    return difference - down, difference + up


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    only_first, only_second : the rows that one of two models alone got right
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    tail: int = sum(math.comb(n, k) for k in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**n))


@dataclass(frozen=True)
class Outcome:
    """A metric at the end of two runs.

    first, second : None where a run lacks it
    intervals : of 95 %; None where none is known
    larger_than_chance : None where that is not known
    by : how it was found out, in words
    """

    metric: str
    first: float | None
    second: float | None
    intervals: tuple[tuple[float, float], tuple[float, float]] | None = None
    larger_than_chance: bool | None = None
    by: str = ""


def outcomes(comparison: "Comparison") -> list[Outcome]:
    """Return the metrics whose last values differ, those with an interval first."""
    first, second = comparison.first, comparison.second
    found = []
    for metric in comparison.metrics:
        name, (one, other) = metric.name, metric.last
        if one == other or {str(one), str(other)} == {"nan"}:
            continue
        shares = share(first, name), share(second, name)
        if shares[0] and shares[1]:
            found.append(_judged(comparison, name, shares[0], shares[1]))
        else:
            found.append(Outcome(name, one, other))
    return sorted(found, key=lambda outcome: (outcome.intervals is None, outcome.metric))


def _judged(comparison: "Comparison", name: str, one: Share, other: Share) -> Outcome:
    intervals = one.interval, other.interval
    wrong = "error" in name.lower()
    right = tuple(s.rows - s.count if wrong else s.count for s in (one, other))
    if alone := only_one_right(comparison.first, comparison.second, name, right):
        p = mcnemar(*alone)
        by = (
            f"paired, {one.rows} rows: {alone[0]} that A alone has right, {alone[1]} that B alone "
            f"has; McNemar's p = {p:.2g}"
        )
        return Outcome(name, one.value, other.value, intervals, p < LEVEL, by)
    low, high = difference_interval(one, other)
    by = f"unpaired, {one.rows} and {other.rows} rows: {low:+.4f} to {high:+.4f}"
    return Outcome(name, one.value, other.value, intervals, low > 0 or high < 0, by)
