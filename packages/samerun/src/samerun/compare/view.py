"""What a person sees of two runs side by side: on one screen, in plain letters, 80 columns."""

import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from samerun.compare.causes import Cause
from samerun.compare.chance import Outcome, outcomes
from samerun.compare.comparison import Comparison
from samerun.compare.results import MetricDifference
from samerun.display.screen import printable
from samerun.recorded import RecordedRun

WIDTH = 80
MOST_CAUSES, MOST_UNLIKELY, MOST_RESULTS = 10, 3, 6  # of each so many, then their number
MOST_LINES = 8  # of diffs, all together
RUN_ID = 8  # its first characters


@dataclass(frozen=True)
class Shown:
    """What is shown of a comparison.

    with_tree : the second one is the present tree, which has no results
    notes : what a person should know of how all this was found
    """

    comparison: Comparison
    with_tree: bool = False
    notes: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.comparison.causes) or not (self.with_tree or self.comparison.same_results)


def lines(shown: Shown) -> Iterator[str]:
    """Yield the lines that a person reads."""
    comparison = shown.comparison
    for letter, run in (("A", comparison.first), ("B", comparison.second)):
        yield _cut(f"{letter}  {_named(run, shown.with_tree and letter == 'B')}")
    yield ""
    likely = [cause for cause in comparison.causes if not cause.unlikely]
    unlikely = [cause for cause in comparison.causes if cause.unlikely]
    if likely:
        yield "What differs (A -> B), the likeliest cause first"
        yield from _causes(likely, MOST_CAUSES)
    if unlikely:
        yield "What seldom changes a result"
        yield from _causes(unlikely, MOST_UNLIKELY, with_lines=not likely)
    if not comparison.causes:
        yield "Nothing differs that the traces hold."
    if not shown.with_tree:
        yield ""
        yield from _results(comparison)
    for note in shown.notes:
        yield from _wrapped(f"Note: {note}")


def _named(run: RecordedRun, is_tree: bool) -> str:
    if is_tree:
        return f"the present tree: {run.name}"
    said = (run.run_id[:RUN_ID], run.name, run.trace.started[:16].replace("T", " "), run.status)
    return "  ".join(said)


def _causes(causes: Sequence[Cause], most: int, *, with_lines: bool = True) -> Iterator[str]:
    left = MOST_LINES if with_lines else 0
    for cause in causes[:most]:
        change = f"{cause.first} -> {cause.second}" if cause.first else cause.second
        head = f"  {cause.kind:13}  {cause.name}"
        if len(head) + 2 + len(change) <= WIDTH:
            yield _cut(f"{head:38}  {change}" if len(change) <= WIDTH - 40 else f"{head}  {change}")
        else:
            yield _cut(head)
            for letter, value in (("A", cause.first), ("B", cause.second)):
                if value:
                    yield _cut(f"{'':17}{letter}: {value}")
        changed = _changed_lines(cause)
        for line in changed[:left]:
            yield _cut(f"      {line}")
        if 0 < left < len(changed):
            yield f"      and {len(changed) - left} more lines"
        left -= min(left, len(changed))
    if len(causes) > most:
        yield f"  and {len(causes) - most} more: --json shows all"


def _changed_lines(cause: Cause) -> list[str]:
    """Return the lines of a diff that came or went; other details as they are."""
    if not cause.detail or not cause.detail[0].startswith("diff --git"):
        return list(cause.detail)
    body = [line for line in cause.detail if line[:1] in "+-" and line[:4] not in ("+++ ", "--- ")]
    return body


def _results(comparison: Comparison) -> Iterator[str]:
    if comparison.same_results:
        count = f"{comparison.points} values of metrics, {len(comparison.first.weights)} of weights"
        if comparison.points or comparison.first.weights:
            yield f"The results are the same, bit for bit ({count})."
        else:
            yield "Neither run recorded a metric or weights."
        return
    if comparison.metrics:
        yield from _parting(comparison.metrics[0])
    elif comparison.points:
        yield f"The metrics are the same, bit for bit ({comparison.points} values)."
    found = outcomes(comparison)
    if found:
        yield f"{'Results (95 % interval)':28}  {'A':23}  B"
        for outcome in found[:MOST_RESULTS]:
            yield from _result(outcome)
        if len(found) > MOST_RESULTS:
            yield f"  and {len(found) - MOST_RESULTS} more: --json shows all"
    said = {cause.name for cause in comparison.causes if cause.kind == "configuration"}
    for param in [param for param in comparison.params if param.name not in said][:MOST_RESULTS]:
        yield _cut(f"  parameter  {param.name}: {param.first} -> {param.second}")
    if comparison.weights:
        named = ", ".join(weights.path for weights in comparison.weights[:2])
        more = len(comparison.weights) - 2
        yield _cut(f"Weights that differ: {named}{f' and {more} more' if more > 0 else ''}")


def _parting(metric: MetricDifference) -> Iterator[str]:
    at = f"{metric.name}, step {metric.step}"
    if not metric.first or not metric.second:
        yield from _wrapped(f"They part at {at}: only {'A' if metric.first else 'B'} has it.")
        return
    values = " -> ".join(", ".join(map(repr, values)) for values in (metric.first, metric.second))
    by = "" if math.isnan(metric.size) else f" (by {metric.size:.1e})"
    yield from _wrapped(f"They part at {at}: {values}{by}")


def _result(outcome: Outcome) -> Iterator[str]:
    columns = []
    values = (outcome.first, outcome.second)
    short = ["none" if value is None else f"{value:.6g}" for value in values]
    for position, value in enumerate(values):
        text = repr(value) if short[0] == short[1] else short[position]
        if outcome.intervals:
            low, high = outcome.intervals[position]
            text = f"{value:.4f} [{low:.4f}, {high:.4f}]"
        columns.append(text)
    yield _cut(f"  {_short(outcome.metric):26}  {columns[0]:23}  {columns[1]}".rstrip())
    if outcome.larger_than_chance is not None:
        which = "larger than chance" if outcome.larger_than_chance else "no larger than chance"
        yield from _wrapped(f"    {which} ({outcome.by})")


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _cut(line: str) -> str:
    line = printable(line.expandtabs(4))
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _wrapped(text: str) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.wrap(printable(text), WIDTH, subsequent_indent=indent)


def as_json(shown: Shown) -> str:
    """Return all of it as JSON, for programs. What is no number there is a text: "nan", "inf"."""
    comparison = shown.comparison
    everything = {
        "first": _of_run(comparison.first),
        "second": _of_run(comparison.second),
        "differs": shown.differs,
        "causes": [asdict(cause) for cause in comparison.causes],
        "params": [asdict(param) for param in comparison.params],
        "metrics": [{**asdict(m), "size": m.size} for m in comparison.metrics],
        "weights": [asdict(weights) for weights in comparison.weights],
        "outcomes": [asdict(outcome) for outcome in outcomes(comparison)],
        "left_out": comparison.left_out,
        "notes": shown.notes,
    }
    if shown.with_tree:
        for results in ("params", "metrics", "weights", "outcomes", "left_out"):
            del everything[results]
    return json.dumps(_with_texts(everything), indent=2, allow_nan=False)


def _of_run(run: RecordedRun) -> dict[str, str]:
    return {"run_id": run.run_id, "name": run.name, "status": run.status}


def _with_texts(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _with_texts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_texts(item) for item in value]
    return value
