"""The verdict on two runs, one of which repeats the other: exact, within tolerance, different, or
not verified."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from samerun.compare.causes import (
    ARITHMETIC,
    CODE,
    COMMAND,
    CONFIGURATION,
    DATA,
    ENVIRONMENT,
    OF_THE_MACHINE,
    THREADS,
    Cause,
)
from samerun.compare.chance import share
from samerun.compare.comparison import Comparison
from samerun.compare.results import MetricDifference, by_step, last_step, where_both_are

EXACT, WITHIN_TOLERANCE = "exact", "within tolerance"
DIFFERENT, NOT_VERIFIED = "different", "not verified"
EXIT_STATUS = {EXACT: 0, WITHIN_TOLERANCE: 0, DIFFERENT: 1, NOT_VERIFIED: 2}
# Of a metric whose interval is not known, such as a loss: this share of its largest value.
TOLERANCE = 0.01
FINISHED = "FINISHED"


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison.

    kind : "exact", "within tolerance", "different" or "not verified"
    reasons : why, in sentences; the first says it, the others add to it
    exit_status : 0 of the first two, 1 of "different", 2 of "not verified"
    """

    kind: str
    reasons: tuple[str, ...]

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.kind]

    @property
    def reason(self) -> str:
        return " ".join(self.reasons)

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "exit_status": self.exit_status}


def verdict(comparison: Comparison, missing: Sequence[str] = ()) -> Verdict:
    """Judge a run (the second) that repeats another one (the first).

    exact : every parameter, every metric at every step and every file of weights is the same, bit
        for bit. Metrics of time and of the machine do not count.
    within tolerance : metrics or weights differ, and nothing that differs between the traces could
        do that but the arithmetic, the builds, the threads or the GPU; every accuracy lies inside
        of the other run's interval of 95 %, and every other metric within 1 % of its largest value,
        at every step.
    different : anything else. The reason names the first metric and step, and the likeliest cause.
    not verified : there is nothing to judge by.

    missing : what the repetition had to do without, in sentences
    """
    first, second = comparison.first, comparison.second
    data = [cause for cause in comparison.causes if cause.kind == DATA]
    if data:
        cause = data[0]
        return Verdict(
            NOT_VERIFIED, (f"The data differ: {cause.first}, now {cause.second}.", *cause.detail)
        )
    if second.status != FINISHED and first.status != second.status:
        return Verdict(
            NOT_VERIFIED, (f"The second run is {second.status}: it has no end.", *missing)
        )
    if not comparison.points and not {*first.weights, *second.weights}:
        nothing = "Neither run recorded a metric or weights, so there is nothing to compare."
        return Verdict(NOT_VERIFIED, (nothing, *missing))
    if first.status != FINISHED and second.status == FINISHED:
        return _as_far_as_it_got(comparison, missing)
    if comparison.same_results:
        return Verdict(EXACT, (_all_the_same(comparison),))
    if missing:
        return Verdict(NOT_VERIFIED, (*missing, *_how_it_differs(comparison)))
    return _differing(comparison)


def _all_the_same(comparison: Comparison) -> str:
    first, second = comparison.first, comparison.second
    counts = (
        _count(comparison.points, "value", " of metrics"),
        _count(len({*first.params, *second.params}), "parameter"),
        _count(len(first.weights), "file", " of weights"),
    )
    return f"Bit for bit the same: {counts[0]}, {counts[1]} and {counts[2]}."


def _count(number: int, what: str, of: str = "") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}{of}"


def _differing(comparison: Comparison) -> Verdict:
    how = _how_it_differs(comparison)
    why_not = _why_exact_was_to_be_expected(comparison)
    outside = "" if why_not or comparison.params else _outside_of_tolerance(comparison)
    if not (why_not or comparison.params or outside):
        return Verdict(WITHIN_TOLERANCE, (*_expected(comparison), *how, *_tolerances(comparison)))
    allowed = (f"Beyond the tolerance: {outside}",) if outside else ()
    return Verdict(DIFFERENT, (*how, *allowed, likeliest(comparison.causes)))


def _as_far_as_it_got(comparison: Comparison, missing: Sequence[str]) -> Verdict:
    """Judge the whole repetition of a run that did not come to its end."""
    first, last = comparison.first, last_step(comparison.first.metrics)
    ended = f"The first run is {first.status}: its end cannot be compared."
    if last is None:
        return Verdict(NOT_VERIFIED, (ended, "It recorded no metric.", *missing))
    differing = where_both_are(first.metrics, comparison.second.metrics)
    if differing or comparison.params:
        how = sentence(differing[0]) if differing else _of_params(comparison)
        return Verdict(DIFFERENT, (how, ended, likeliest(comparison.causes), *missing))
    same = f"As far as it got, up to step {last}, all its metrics are the same, bit for bit."
    return Verdict(NOT_VERIFIED, (ended, same, *missing))


def likeliest(causes: Sequence[Cause]) -> str:
    """Return the sentence that names the likeliest cause of a difference."""
    if not causes:
        return (
            "Nothing that the traces hold differs. So the cause is something that no trace knows: "
            "a random number without a seed, the order of threads, the time, a network."
        )
    cause = causes[0]
    others = f" {len(causes) - 1} more things differ." if len(causes) > 1 else ""
    was = f"{cause.first}, now {cause.second}" if cause.first else cause.second
    return f"Likeliest cause: {cause.kind}, {cause.name}: {was}.{others}"


def _how_it_differs(comparison: Comparison) -> tuple[str, ...]:
    """Return what differs in the results: the first metric and step, a parameter, weights."""
    said = []
    if comparison.metrics:
        said.append(sentence(comparison.metrics[0]))
        if others := len(comparison.metrics) - 1:
            said[-1] += f" So do {_count(others, 'other metric')}."
    if comparison.params:
        said.append(_of_params(comparison))
    if comparison.weights and not comparison.metrics:
        weights = comparison.weights[0]
        lacking = " only one of the runs has it" if None in (weights.first, weights.second) else ""
        alike = "All metrics are the same; the" if comparison.points else "The"
        said.append(f"{alike} weights {weights.path} differ{':' if lacking else ''}{lacking}.")
    return tuple(said)


def _of_params(comparison: Comparison) -> str:
    param = comparison.params[0]
    was, now = ("not there" if value is None else value for value in (param.first, param.second))
    return f"The parameter {param.name} is {now}, was {was}."


def sentence(metric: MetricDifference) -> str:
    """Return the metric and step at which two runs differ first, with the values of both."""
    at = f"{metric.name} at step {metric.step}"
    if not metric.first or not metric.second:
        which = "first" if metric.first else "second"
        return f"First to differ: {at}, which only the {which} run has."
    was, now = (", ".join(map(number, values)) for values in (metric.first, metric.second))
    by = "" if math.isnan(metric.size) else f", by {metric.size:.2g}"
    return f"First to differ: {at} is {now}, was {was}{by}."


def number(value: float) -> str:
    """Return a value with all the digits that tell it from its neighbours."""
    return repr(value)


def _why_exact_was_to_be_expected(comparison: Comparison) -> str:
    """Return what forbids a tolerance; "" where the bits could not be expected to be the same."""
    for cause in comparison.causes:
        if _is_no_matter_of_the_machine(cause):
            return f"{cause.kind} {cause.name}"
    if not any(cause.kind in (ARITHMETIC, THREADS) for cause in comparison.causes):
        return "nothing of the machine differs"
    return ""


def _is_no_matter_of_the_machine(cause: Cause) -> bool:
    if cause.kind in OF_THE_MACHINE or cause.kind == COMMAND:
        return False
    # Packages that do not compute differ with the platform, by the markers of one lock.
    return not (cause.unlikely and cause.kind in (CONFIGURATION, CODE, ENVIRONMENT))


def _expected(comparison: Comparison) -> tuple[str, ...]:
    of_machine = [c for c in comparison.causes if c.kind in (ARITHMETIC, THREADS)]
    named = [f"{c.name}: {c.first}, now {c.second}" if c.first else c.second for c in of_machine]
    return (f"The same bits were not to be expected ({'; '.join(named[:3])}).",)


def _outside_of_tolerance(comparison: Comparison) -> str:
    """Return the first value that lies outside of its tolerance, in words; "" if none does."""
    for metric in comparison.metrics:
        one = by_step(comparison.first.metrics.get(metric.name, ()))
        other = by_step(comparison.second.metrics.get(metric.name, ()))
        largest = max((abs(v) for values in one.values() for v in values), default=0.0)
        for step in sorted({*one, *other}):
            before, after = one.get(step, ()), other.get(step, ())
            if len(before) != len(after):
                return f"{metric.name} at step {step} is not in both."
            for was, now in zip(before, after, strict=True):
                if was == now or (math.isnan(was) and math.isnan(now)):
                    continue
                low, high, which = _tolerance(comparison, metric.name, was, largest)
                if not low <= now <= high:
                    return f"{metric.name} at step {step} is {number(now)}, {which}."
    for weights in comparison.weights:
        if None in (weights.first, weights.second):
            return f"Only one of the runs has the weights {weights.path}."
    return ""


def _tolerance(
    comparison: Comparison, name: str, value: float, largest: float
) -> tuple[float, float, str]:
    """Return between what a repeated value may lie, and that in words."""
    if of_rows := share(comparison.first, name, value):
        low, high = of_rows.interval
        return low, high, f"and the interval of 95 % is {low:.4f} to {high:.4f}"
    most = TOLERANCE * largest
    return value - most, value + most, f"was {number(value)}; {most:.2g} would be allowed"


def _tolerances(comparison: Comparison) -> tuple[str, ...]:
    """Return what was allowed, in sentences: for shares of rows, and for all else."""
    names = [metric.name for metric in comparison.metrics]
    shares = [n for n in names if share(comparison.first, n)]
    others = [n for n in names if n not in shares]
    said = []
    if shares:
        said.append(f"Each of {', '.join(shares)} lies in its interval of 95 %.")
    if others:
        allowed = f"every value lies within {TOLERANCE:.0%} of the largest one"
        said.append(f"{', '.join(others)}: no interval is known; {allowed}.")
    if comparison.weights:
        said.append(
            f"{_count(len(comparison.weights), 'file', ' of weights')} differ in their bits."
        )
    return tuple(said)
