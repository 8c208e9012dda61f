"""How a repetition came out, for a program and for a screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samerun.compare.comparison import Comparison, compare
from samerun.compare.results import is_a_result, last_step, last_value
from samerun.compare.verdict import NOT_VERIFIED, Verdict, verdict
from samerun.display.plain import few
from samerun.recorded import RecordedRun

PARENT = "mlflow.parentRunId"  # a tag of the trials of a study


@dataclass(frozen=True)
class Measured:
    """A metric of both runs: the values at its last step, and at how many steps they differ."""

    name: str
    was: float | None
    now: float | None
    steps: int
    differing: int


def judge(
    original: RecordedRun, again: RecordedRun, doubts: Sequence[str]
) -> tuple[Verdict, Comparison]:
    """Compare a run with its repetition.

    doubts : what the repetition had to do without, in sentences: then a difference proves nothing
    """
    found = compare(original, again)
    if strange := _code_from_elsewhere(original, again):
        return Verdict(NOT_VERIFIED, (f"Code ran that is not the run's: {few(strange)}.",)), found
    return verdict(found, doubts, _ended_by_its_study(original, again)), found


def measured(comparison: Comparison) -> tuple[Measured, ...]:
    """Return all metrics that count, those that differ first."""
    first, second = comparison.first.metrics, comparison.second.metrics
    differing = {metric.name: metric.steps for metric in comparison.metrics}
    same = sorted({*first, *second} - differing.keys())
    rows = []
    for name in [*differing, *filter(is_a_result, same)]:
        one, other = first.get(name, []), second.get(name, [])
        steps = len({step for step, _ in [*one, *other]})
        count, _ = differing.get(name, (0, steps))
        rows.append(Measured(name, last_value(one), last_value(other), steps, count))
    return tuple(rows)


def _code_from_elsewhere(original: RecordedRun, again: RecordedRun) -> list[str]:
    """Return the files outside of the project that the repetition imported and the run did not.

    Such as those of the present checkout, to which an editable installation leads.
    """
    then, now = (
        {file.path for file in run.trace.files if file.kind.startswith("imported")}
        for run in (original, again)
    )
    return sorted(path for path in now - then if Path(path).is_absolute())


def _ended_by_its_study(original: RecordedRun, again: RecordedRun) -> str:
    """Say that a trial was pruned, which alone went on to its end; "" of any other run."""
    last, end = last_step(original.metrics), last_step(again.metrics)
    if PARENT not in original.tags or last is None or end is None or end <= last:
        return ""
    return f"The study ended this trial after step {last}; alone it goes on."
