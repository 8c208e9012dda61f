"""How a repetition came out, for a program and for a screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samerun.compare.comparison import Comparison, compare
from samerun.compare.results import by_step, is_a_result, last_step, last_value, where_both_are
from samerun.compare.verdict import DIFFERENT, NOT_VERIFIED, Verdict, sentence, verdict
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
        listed = ", ".join(strange[:3])
        return Verdict(NOT_VERIFIED, (f"Code ran that is not the run's: {listed}.",)), found
    if early := _of_a_trial_that_ended_early(original, again):
        return early, found
    return verdict(found, doubts), found


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


def _of_a_trial_that_ended_early(original: RecordedRun, again: RecordedRun) -> Verdict | None:
    """Judge the whole repetition of a trial that its study had pruned; None of any other run."""
    if PARENT not in original.tags:
        return None
    last, end = last_step(original.metrics), last_step(again.metrics)
    if last is None or end is None or end <= last:
        return None
    if differing := where_both_are(original.metrics, again.metrics):
        return Verdict(DIFFERENT, (sentence(differing[0]),))
    results = [points for name, points in original.metrics.items() if is_a_result(name)]
    common = sum(len(values) for points in results for values in by_step(points).values())
    values = "1 value of metrics is" if common == 1 else f"{common} values of metrics are"
    return Verdict(
        NOT_VERIFIED,
        (
            f"The study ended this trial after step {last}, and alone it goes on to its end: there "
            "its weights and its best values are others.",
            f"Up to there, {values} the same, bit for bit.",
        ),
    )
