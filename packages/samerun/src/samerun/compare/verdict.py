"""The verdict on two runs, one of which repeats the other: exact, within tolerance, different, or
not verified."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
from samerun.compare.chance import end_of_interval, share
from samerun.compare.comparison import Comparison
from samerun.compare.results import (
    MetricDifference,
    by_step,
    count,
    last_step,
    metrics,
    pairs,
    up_to_where_it_ended,
)
from samerun.display.plain import FEW, few

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
    """

    kind: str
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        return " ".join(self.reasons)


def verdict(comparison: Comparison, missing: Sequence[str] = (), early: str = "") -> Verdict:
    """Judge a run (the second) that repeats another one (the first).

    exact : every parameter, every metric at every step and every file of weights is the same, bit
        for bit. Metrics of time and of the machine do not count.
    within tolerance : metrics or weights differ, and nothing that differs between the traces could
        do that but the arithmetic, the builds, the threads or the GPU. At every step, an accuracy
        lies inside of the 95 % interval that it has there in the first run, and any other value
        within 1 % of the largest finite one of its metric.
    different : anything else. The reason names the first metric and step, and the likeliest cause.
    not verified : there is nothing to judge by, the data differ, the second run did not come to its
        end, or something was missing and the results differ. Also if the first run did not come to
        its end and all that it measured is the same; if that differs, it is "different".

    Parameters
    ----------
    missing : what the repetition had to do without, in sentences
    early : why the first run ended before the second, in a sentence, if its status does not say it
    """
    first, second = comparison.first, comparison.second
    data = [cause for cause in comparison.causes if cause.kind == DATA]
    if data:
        cause = data[0]
        named = (few(cause.detail),) if cause.detail else ()
        return Verdict(
            NOT_VERIFIED, (f"The data differ: {cause.first}, now {cause.second}.", *named)
        )
    if second.status != FINISHED and first.status != second.status:
        return Verdict(
            NOT_VERIFIED, (f"The second run is {second.status}: it has no end.", *missing)
        )
    if not comparison.values and not {*first.weights, *second.weights}:
        nothing = "Neither run recorded a metric or weights, so there is nothing to compare."
        return Verdict(NOT_VERIFIED, (nothing, *missing))
    if first.status != FINISHED and second.status == FINISHED:
        early = f"The first run is {first.status}."
    if early:
        return _as_far_as_it_got(comparison, missing, early)
    if comparison.same_results:
        return Verdict(EXACT, (_all_the_same(comparison),))
    if missing:
        return Verdict(NOT_VERIFIED, (*missing, *_how_it_differs(comparison)))
    return _differing(comparison)


def _all_the_same(comparison: Comparison) -> str:
    first, second = comparison.first, comparison.second
    counts = (
        _count(comparison.values, "value", " of metrics"),
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


def _as_far_as_it_got(comparison: Comparison, missing: Sequence[str], early: str) -> Verdict:
    """Judge the whole repetition of a run that did not come to its end."""
    first, last = comparison.first, last_step(comparison.first.metrics)
    ended = (f"{early} Its end and its weights are not compared.",)
    if last is None:
        return Verdict(NOT_VERIFIED, (*ended, "It recorded no metric.", *missing))
    reached = up_to_where_it_ended(first.metrics, comparison.second.metrics)
    part = replace(
        comparison,
        second=replace(comparison.second, metrics=reached),
        metrics=metrics(first.metrics, reached),
        params=tuple(param for param in comparison.params if param.first is not None),
        weights=(),
    )
    if part.same_results:
        values = _count(count(first.metrics), "value", " of metrics")
        up_to = f", up to step {last}," if last else ""  # a run without steps has them all at 0
        same = f"All that it measured{up_to} came out the same, bit for bit: {values}."
        return Verdict(NOT_VERIFIED, (*ended, same, *missing))
    if missing:
        return Verdict(NOT_VERIFIED, (*missing, *_how_it_differs(part), *ended))
    found = _differing(part)
    if found.kind == WITHIN_TOLERANCE:
        return Verdict(NOT_VERIFIED, (*ended, "Up to there, within tolerance.", *found.reasons))
    return replace(found, reasons=(*found.reasons, *ended))


def likeliest(causes: Sequence[Cause]) -> str:
    """Return the sentence that names the likeliest cause of a difference."""
    if not causes:
        return (
            "Nothing that the traces hold differs. So the cause is something that no trace knows: "
            "a random number without a seed, the order of threads, the time, a network."
        )
    cause = causes[0]
    others = f" {_count(len(causes) - 1, 'other thing')} changed, too." if causes[1:] else ""
    was = f"{cause.first}, now {cause.second}" if cause.first else cause.second
    return f"Likeliest cause: {cause.kind}, {cause.name}: {was}.{others}"


def _how_it_differs(comparison: Comparison) -> tuple[str, ...]:
    """Return what differs in the results: the first metric and step, a parameter, weights."""
    said = []
    if comparison.metrics:
        said.append(sentence(comparison.metrics[0]))
        if others := len(comparison.metrics) - 1:
            said[-1] += f" So {'does' if others == 1 else 'do'} {_count(others, 'other metric')}."
    if comparison.params:
        said.append(_of_params(comparison))
    if comparison.weights and not comparison.metrics:
        weights = comparison.weights[0]
        lacking = " only one of the runs has it" if None in (weights.first, weights.second) else ""
        alike = "All metrics are the same; the" if comparison.values else "The"
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
    was, now = (few(map(repr, values)) for values in (metric.first, metric.second))
    by = "" if math.isnan(metric.size) else f", by {metric.size:.2g}"
    return f"First to differ: {at} is {now}, was {was}{by}."


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
    return (f"The same bits were not to be expected ({few(named)}).",)


@dataclass(frozen=True)
class _Pair:
    """A value of both runs that is not the same, and between what the second one may lie.

    rows : by which the interval of 95 % is known; None where it is not, and a share is allowed
    """

    name: str
    step: int
    was: float
    now: float
    low: float
    high: float
    rows: int | None

    @property
    def is_inside(self) -> bool:
        return self.low <= self.now <= self.high


def _pairs(comparison: Comparison) -> Iterator[_Pair]:
    """Yield the values that are not the same, of all metrics that have as many in both runs."""
    for metric in comparison.metrics:
        one = by_step(comparison.first.metrics.get(metric.name, ()))
        other = by_step(comparison.second.metrics.get(metric.name, ()))
        finite = [abs(v) for values in one.values() for v in values if math.isfinite(v)]
        most = TOLERANCE * max(finite, default=0.0)
        for step in one:
            for was, now in pairs(one[step], other[step]):
                if was == now or (math.isnan(was) and math.isnan(now)):
                    continue
                low, high, rows = was - most, was + most, None
                if of_rows := share(comparison.first, metric.name, was):
                    (low, high), rows = of_rows.interval, of_rows.rows
                elif of_end := end_of_interval(comparison.first, metric.name, step):
                    low, high, rows = of_end
                yield _Pair(metric.name, step, was, now, low, high, rows)


def _outside_of_tolerance(comparison: Comparison) -> str:
    """Return the first value that lies outside of its tolerance, in words; "" if none does."""
    for metric in comparison.metrics:
        one = by_step(comparison.first.metrics.get(metric.name, ()))
        other = by_step(comparison.second.metrics.get(metric.name, ()))
        for step in sorted({*one, *other}):
            if len(one.get(step, ())) != len(other.get(step, ())):
                return f"{metric.name} at step {step} is not in both."
    for pair in _pairs(comparison):
        if not pair.is_inside:
            allowed = f"{pair.low:.6g} to {pair.high:.6g} would be allowed"
            if pair.rows:
                allowed = f"the interval of 95 % is {pair.low:.4f} to {pair.high:.4f}"
            return f"{pair.name} at step {pair.step} is {pair.now!r}, was {pair.was!r}; {allowed}."
    for weights in comparison.weights:
        if None in (weights.first, weights.second):
            return f"Only one of the runs has the weights {weights.path}."
    return ""


def _tolerances(comparison: Comparison) -> tuple[str, ...]:
    """Return what was allowed, in sentences: for shares of rows, and for all else."""
    said, found = [], list(_pairs(comparison))
    known = {pair.name: pair for pair in found if pair.rows}
    others = {pair.name: pair for pair in found if not pair.rows}
    for pair in list(known.values())[:FEW]:  # the last step at which each differs
        said.append(
            f"{pair.name}: at every step inside of its interval of 95 %, which is {pair.low:.4f} "
            f"to {pair.high:.4f} at step {pair.step} ({pair.was:.4f} of {pair.rows} rows)."
        )
    if len(known) > FEW:
        said.append(f"So are {_count(len(known) - FEW, 'other metric')} in theirs.")
    if others:
        amounts = few(f"{pair.name} {pair.high - pair.was:.2g}" for pair in others.values())
        allowed = f"{TOLERANCE:.0%} of the metric's largest value is allowed"
        said.append(f"Where no interval is known, {allowed}: {amounts}.")
    if comparison.weights:
        said.append(
            f"{_count(len(comparison.weights), 'file', ' of weights')} differ in their bits."
        )
    return tuple(said)
