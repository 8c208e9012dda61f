"""Two recorded runs side by side: how they came out, and what differs in what they were."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from samerun.compare import results
from samerun.compare.causes import Cause, causes, code_by_digest
from samerun.compare.code import Difference, State, difference
from samerun.compare.results import MetricDifference, ParamDifference, WeightDifference
from samerun.recorded import RecordedRun
from samerun.trace import FOLDER


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    first, second : the runs
    causes : what differs in their traces, the likeliest cause first
    params : parameters that differ, by name
    metrics : metrics that differ, the one that differs at the earliest step first
    weights : files of weights that differ, by path
    notes : what a person should know of how this was found
    left_out : metrics of time and of the machine, which are not results
    """

    first: RecordedRun
    second: RecordedRun
    causes: tuple[Cause, ...]
    params: tuple[ParamDifference, ...]
    metrics: tuple[MetricDifference, ...]
    weights: tuple[WeightDifference, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def same_results(self) -> bool:
        """Whether every parameter, metric and file of weights is the same, bit for bit."""
        return not (self.params or self.metrics or self.weights)

    @property
    def values(self) -> int:
        """How many values of metrics there are: of the run that has more, at all steps together."""
        return max(results.count(run.metrics) for run in (self.first, self.second))


def compare(
    first: RecordedRun, second: RecordedRun, clones: Iterable[Path] | None = None
) -> Comparison:
    """Compare two runs, of one store or of two.

    clones : checkouts that may have the commits of the runs: git shows what differs in the code. By
        default, the digests of the files that they used are compared.
    """
    if clones is None:
        code = Difference(tuple(code_by_digest(first.trace, second.trace)))
    else:
        code = difference(
            State.of(first.trace, first.files), State.of(second.trace, second.files), clones
        )
    names = {*first.metrics, *second.metrics}
    return Comparison(
        first=first,
        second=second,
        causes=causes(first.trace, second.trace, code.files, code.locks),
        params=results.params(first.params, second.params),
        metrics=results.metrics(first.metrics, second.metrics),
        weights=results.weights(first.weights, second.weights),
        notes=(*code.notes, *_gaps("first", first), *_gaps("second", second)),
        left_out=tuple(sorted(name for name in names if not results.is_a_result(name))),
    )


def _gaps(which: str, run: RecordedRun) -> list[str]:
    """Return what the trace of a run does not know, in sentences."""
    problems, edited = run.trace.problems, ", ".join(run.trace.code.uncertain)
    said = [f"The {which} run has no record of its {item}: {why}" for item, why in problems.items()]
    if edited:
        said.append(f"The {which} run may have run something else; edited as it started: {edited}")
    if list((run.files / FOLDER).glob("continued-*")):
        said.append(f"The {which} run was interrupted and continued; its first trace is compared.")
    return said
