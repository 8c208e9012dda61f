"""Two recorded runs side by side: how they came out, and what differs in what they were."""

from collections.abc import Sequence
from dataclasses import dataclass

from samerun.compare import results
from samerun.compare.causes import Cause, causes
from samerun.compare.results import MetricDifference, ParamDifference, WeightDifference
from samerun.recorded import RecordedRun


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    first, second : the runs
    causes : what differs in their traces, the likeliest cause first
    params : parameters that differ, by name
    metrics : metrics that differ, the one that differs at the earliest step first
    weights : files of weights that differ, by path
    points : how many values of metrics were compared, at all steps together
    left_out : metrics of time and of the machine, which are not results
    """

    first: RecordedRun
    second: RecordedRun
    causes: tuple[Cause, ...]
    params: tuple[ParamDifference, ...]
    metrics: tuple[MetricDifference, ...]
    weights: tuple[WeightDifference, ...]
    points: int
    left_out: tuple[str, ...]

    @property
    def same_results(self) -> bool:
        """Whether every parameter, metric and file of weights is the same, bit for bit."""
        return not (self.params or self.metrics or self.weights)


def compare(
    first: RecordedRun, second: RecordedRun, code: Sequence[Cause] | None = None
) -> Comparison:
    """Compare two runs, of one store or of two.

    code : differences of their code, where somebody has built both states (see `samerun.code`);
        otherwise the digests of the files that they used are compared
    """
    names = {*first.metrics, *second.metrics}
    return Comparison(
        first=first,
        second=second,
        causes=causes(first.trace, second.trace, code),
        params=results.params(first.params, second.params),
        metrics=results.metrics(first.metrics, second.metrics),
        weights=results.weights(first.weights, second.weights),
        points=sum(
            len(
                {*results.by_step(first.metrics.get(name, ()))}
                | {*results.by_step(second.metrics.get(name, ()))}
            )
            for name in names
            if results.is_a_result(name)
        ),
        left_out=tuple(sorted(name for name in names if not results.is_a_result(name))),
    )
