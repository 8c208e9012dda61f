"""What a person sees of two runs side by side: on one screen, in plain letters, 80 columns."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from samerun.compare.causes import Cause
from samerun.compare.chance import Outcome, outcomes
from samerun.compare.comparison import Comparison
from samerun.compare.results import MetricDifference
from samerun.display import plain
from samerun.display.plain import few, fitting
from samerun.display.screen import printable
from samerun.recorded import RecordedRun

WIDTH = 80
# In lines. All of it stays below 40: what the results and the notes leave is the causes'.
SCREEN, MOST_UNLIKELY, MOST_RESULTS, MOST_PARAMS, MOST_NOTES = 39, 4, 6, 3, 6
MOST_LINES = 8  # of diffs, all together
NOTE = 3  # a note, or a sentence, at most
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
    rest = [] if shown.with_tree else ["", *_results(comparison)]
    rest += fitting([_wrapped(f"Note: {note}", NOTE) for note in shown.notes], MOST_NOTES)
    for letter, run in (("A", comparison.first), ("B", comparison.second)):
        yield _cut(f"{letter}  {_named(run, shown.with_tree and letter == 'B')}")
    yield ""
    yield from _causes(comparison, SCREEN - len(rest) - 3)
    yield from rest


def _causes(comparison: Comparison, room: int) -> Iterator[str]:
    """Yield what differs, in so many lines."""
    likely = [cause for cause in comparison.causes if not cause.unlikely]
    unlikely = [cause for cause in comparison.causes if cause.unlikely]
    behind = fitting(_blocks(unlikely, 0), MOST_UNLIKELY)
    if likely:
        left = room - 1 - (len(behind) + 1 if behind else 0)
        yield "What differs (A -> B), the likeliest cause first"
        yield from fitting(_blocks(likely, min(MOST_LINES, left // 2)), left)
    else:
        behind = fitting(_blocks(unlikely, MOST_LINES), room - 1)
    if behind:
        yield "What seldom changes a result"
        yield from behind
    if not comparison.causes:
        yield "Nothing differs that the traces hold."


def _named(run: RecordedRun, is_tree: bool) -> str:
    if is_tree:
        return f"the present tree: {run.name}"
    said = (run.run_id[:RUN_ID], run.name, run.trace.started[:16].replace("T", " "), run.status)
    return "  ".join(said)


def _blocks(causes: Sequence[Cause], left: int) -> list[list[str]]:
    """Return the lines of each cause, with so many lines of diffs in all."""
    blocks: list[list[str]] = []
    for cause in causes:
        block: list[str] = []
        blocks.append(block)
        change = f"{cause.first} -> {cause.second}" if cause.first else cause.second
        head = f"  {cause.kind:13}  {cause.name}"
        if len(head) + 2 + len(change) <= WIDTH:
            wide = len(change) > WIDTH - 40
            block.append(_cut(f"{head}  {change}" if wide else f"{head:38}  {change}"))
        else:
            block.append(_cut(head))
            for letter, value in (("A", cause.first), ("B", cause.second)):
                if value:
                    block.append(_cut(f"{'':17}{letter}: {value}"))
        changed = _changed_lines(cause)
        block += [_cut(f"      {line}") for line in changed[:left]]
        if 0 < left < len(changed):
            block.append(f"      and {len(changed) - left} more lines")
        left -= min(left, len(changed))
    return blocks


def _changed_lines(cause: Cause) -> list[str]:
    """Return the lines of a diff that came or went; other details as they are."""
    if not cause.detail or not cause.detail[0].startswith("diff --git"):
        return list(cause.detail)
    body = [line for line in cause.detail if line[:1] in "+-" and line[:4] not in ("+++ ", "--- ")]
    return body


def _results(comparison: Comparison) -> Iterator[str]:
    if comparison.same_results:
        count = f"{comparison.values} values of metrics, {len(comparison.first.weights)} of weights"
        if comparison.values or comparison.first.weights:
            yield f"The results are the same, bit for bit ({count})."
        else:
            yield "Neither run recorded a metric or weights."
        return
    if comparison.metrics:
        yield from _parting(comparison.metrics[0])
    elif comparison.values:
        yield f"The metrics are the same, bit for bit ({comparison.values} values)."
    found = outcomes(comparison)
    if found:
        yield f"{'Results (95 % interval)':28}  {'A':23}  B"
        yield from fitting([[*_result(outcome)] for outcome in found], MOST_RESULTS)
    said = {cause.name for cause in comparison.causes if cause.kind == "configuration"}
    params = [
        [_cut(f"  parameter  {param.name}: {param.first} -> {param.second}")]
        for param in comparison.params
        if param.name not in said
    ]
    yield from fitting(params, MOST_PARAMS)
    if comparison.weights:
        differing = [weights.path for weights in comparison.weights]
        yield from _wrapped(f"Weights that differ: {few(map(_short, differing))}", NOTE)


def _parting(metric: MetricDifference) -> Iterator[str]:
    at = f"{_short(metric.name, WIDTH // 2)}, step {metric.step}"
    if not metric.first or not metric.second:
        yield from _wrapped(f"They part at {at}: only {'A' if metric.first else 'B'} has it.", NOTE)
        return
    values = " -> ".join(few(map(repr, values)) for values in (metric.first, metric.second))
    by = "" if math.isnan(metric.size) else f" (by {metric.size:.1e})"
    yield from _wrapped(f"They part at {at}: {values}{by}", NOTE)


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
        yield from _wrapped(f"    {which} ({outcome.by})", NOTE)


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _cut(line: str) -> str:
    line = printable(line.expandtabs(4))
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _wrapped(text: str, most: int) -> list[str]:
    """Return a text in lines of the screen, at most so many."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    wrapper = textwrap.TextWrapper(
        WIDTH, subsequent_indent=indent, max_lines=most, placeholder=" ..."
    )
    return wrapper.wrap(printable(text))


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
    return plain.as_json(everything)


def _of_run(run: RecordedRun) -> dict[str, str]:
    return {"run_id": run.run_id, "name": run.name, "status": run.status}
