"""Where two runs came out differently: parameters, metrics at every step, weights.

Bit for bit: a difference in the last digit is one. At one step MLflow keeps neither the order nor
the repetition of what was logged in one millisecond, so the values of a step are compared as a set.
"""

import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Values that say where a run is kept, and not what it did: a trial has a place of its own.
OF_THE_RECORD = frozenset({"experiment", "run_name"})
GROUPS_OF_THE_MACHINE = frozenset({"system", "time", "timing", "memory", "perf", "speed"})
# The last word of a name says what is measured, or in which unit.
MEASURES_OF_THE_MACHINE = re.compile(
    r"times?|seconds|secs?|ms|milliseconds|minutes|hours|durations?|elapsed|runtime|walltime|latency"
    r"|throughput|fps|memory|ram|vram|[mg]i?b|bytes"
)
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

Point = tuple[int, float]


@dataclass(frozen=True)
class ParamDifference:
    """A parameter that is not the same; None where a run has none of this name."""

    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class MetricDifference:
    """A metric that is not the same.

    step : the first one at which it differs
    first, second : its values there; empty where a run has none at this step
    largest : the largest difference of values at one step; NaN where they cannot be subtracted
    steps : how many differ, of how many
    last : the last values of both runs; None where a run lacks the metric
    """

    name: str
    step: int
    first: tuple[float, ...]
    second: tuple[float, ...]
    largest: float
    steps: tuple[int, int]
    last: tuple[float | None, float | None]

    @property
    def size(self) -> float:
        """The difference at that step; NaN where the values cannot be subtracted."""
        return _distance(self.first, self.second)


@dataclass(frozen=True)
class WeightDifference:
    """A file of weights that is not the same: the digests; None where a run lacks the file."""

    path: str
    first: str | None
    second: str | None


def is_a_result(metric: str) -> bool:
    """Say whether a metric measures what was learned, and not time or the machine.

    The rule: those of MLflow below `system/`, those below another such group (`time/`, `memory/`),
    and those whose last word is a measure or a unit of time, memory or speed (`epoch_time`,
    `train_runtime`, `peak_memory_mb`), or that end in `per_second`, are not results.
    """
    group, slash, _ = metric.partition("/")
    words = [word.lower() for word in WORDS.findall(metric)]
    of_the_machine = (
        (slash and group.lower() in GROUPS_OF_THE_MACHINE)
        or (words and MEASURES_OF_THE_MACHINE.fullmatch(words[-1]))
        or words[-2:] in (["per", "second"], ["per", "sec"])
    )
    return not of_the_machine


def params(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[ParamDifference, ...]:
    """Return the parameters that differ, by their names."""
    names = sorted({*first, *second} - OF_THE_RECORD)
    return tuple(
        ParamDifference(name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    )


def weights(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[WeightDifference, ...]:
    """Return the files of weights that differ, by their paths."""
    return tuple(
        WeightDifference(path, first.get(path), second.get(path))
        for path in sorted({*first, *second})
        if first.get(path) != second.get(path)
    )


def metrics(
    first: Mapping[str, Sequence[Point]],
    second: Mapping[str, Sequence[Point]],
) -> tuple[MetricDifference, ...]:
    """Return the metrics that differ, the one that differs at the earliest step first."""
    found = []
    for name in {*first, *second}:
        if is_a_result(name):
            one, other = by_step(first.get(name, ())), by_step(second.get(name, ()))
            last = last_value(first.get(name, ())), last_value(second.get(name, ()))
            if difference := _of_metric(name, one, other, last):
                found.append(difference)
    return tuple(sorted(found, key=lambda difference: (difference.step, difference.name)))


def up_to_where_it_ended(
    first: Mapping[str, Sequence[Point]], second: Mapping[str, Sequence[Point]]
) -> dict[str, list[Point]]:
    """Return what the second run recorded up to where the first ended, beyond which it went.

    Of each metric of the first, all that the second has up to the last step there. At this step the
    second may have more values: those of a metric without steps all lie at step 0, and the first
    ended before it could log the others. If it has those of the first, it is left with them.
    """
    reached = {}
    for name, points in first.items():
        end = max((step for step, _ in points), default=0)
        had = {_bits(value) for step, value in points if step == end}
        then = [point for point in second.get(name, ()) if points and point[0] <= end]
        if had <= {_bits(value) for step, value in then if step == end}:
            then = [(step, value) for step, value in then if step < end or _bits(value) in had]
        reached[name] = then
    return reached


def last_step(recorded: Mapping[str, Sequence[Point]]) -> int | None:
    """Return the last step of all results of a run; None if it recorded none."""
    steps = (step for name in recorded if is_a_result(name) for step, _ in recorded[name])
    return max(steps, default=None)


def by_step(points: Iterable[Point]) -> dict[int, tuple[float, ...]]:
    """Return the values of a metric at each step: each of them once, in a fixed order."""
    steps: dict[int, dict[bytes, float]] = {}
    for step, value in points:
        steps.setdefault(step, {})[_bits(value)] = value
    return {
        step: tuple(value for _, value in sorted(steps[step].items())) for step in sorted(steps)
    }


def count(recorded: Mapping[str, Sequence[Point]]) -> int:
    """Return how many values the results of a run have, at all steps together, as compared."""
    results = (by_step(points) for name, points in recorded.items() if is_a_result(name))
    return sum(len(values) for steps in results for values in steps.values())


def last_value(points: Iterable[Point]) -> float | None:
    """Return the value of a metric at its last step; the last one logged there, None if none."""
    last: Point | None = None
    for point in points:
        if last is None or point[0] >= last[0]:
            last = point
    return last[1] if last else None


def _of_metric(
    name: str,
    one: Mapping[int, tuple[float, ...]],
    other: Mapping[int, tuple[float, ...]],
    last: tuple[float | None, float | None],
) -> MetricDifference | None:
    steps = sorted({*one, *other})
    differ = [step for step in steps if not _same(one.get(step, ()), other.get(step, ()))]
    if not differ:
        return None
    sizes = [_distance(one.get(step, ()), other.get(step, ())) for step in differ]
    known = [size for size in sizes if not math.isnan(size)]
    return MetricDifference(
        name=name,
        step=differ[0],
        first=one.get(differ[0], ()),
        second=other.get(differ[0], ()),
        largest=max(known) if len(known) == len(sizes) else math.nan,
        steps=(len(differ), len(steps)),
        last=last,
    )


def _same(one: Iterable[float], other: Iterable[float]) -> bool:
    return [*map(_bits, one)] == [*map(_bits, other)]


def _bits(value: float) -> bytes:
    """Return the bits of a value; of every NaN the same."""
    return b"nan" if math.isnan(value) else struct.pack(">d", value)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how far apart the values of a step are; NaN where no subtraction says it."""
    if len(one) != len(other) or not one:
        return math.nan
    sizes = [0.0 if a == b else abs(a - b) for a, b in pairs(one, other)]
    return max(sizes) if all(map(math.isfinite, sizes)) else math.nan


def pairs(one: Sequence[float], other: Sequence[float]) -> list[tuple[float, float]]:
    """Return the values of a step side by side: both in their order, what is no number last."""
    ordered = (sorted(values, key=lambda v: (math.isnan(v), v)) for values in (one, other))
    return list(zip(*ordered, strict=True))
