"""What a form on reproducibility asks, answered as far as a trace knows; the rest is marked open.

The questions are those that conferences and journals of machine learning share: code, packages,
command, values, seeds, data and splits, hardware, time, uncertainty, what was left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from samerun.config import leaves
from samerun.export.about import About
from samerun.export.sources import Sources, swhid
from samerun.recorded import RecordedRun
from samerun.secrets.masking import MASK
from samerun.trace import Trace

SPLIT = re.compile(r"(?:^|[._])(?:split|fold|holdout|valid|validation|val|test)(?:[._]|$|_?size)")
INTERVAL = re.compile(r"(.+)[._](?:low|lower|ci_low)$")
HIGH = {"low": "high", "lower": "upper", "ci_low": "ci_high"}


@dataclass(frozen=True)
class Answer:
    """`known` is empty where the record does not say, and `ask` is what the authors should add."""

    question: str
    known: tuple[str, ...] = ()
    ask: str = ""


def answers(
    run: RecordedRun, sources: Sources, about: About, started: str, ended: str
) -> list[Answer]:
    """Return what is asked, with what the record of a run says to it."""
    trace = run.trace
    licence = (about.licence_said,) if about.licence_said else ()
    return [
        Answer("Is the code available?", _code(trace, sources), "Say where the code can be had."),
        Answer("Under which licence?", licence, "State a licence, as in pyproject.toml."),
        Answer("Which packages, in which versions?", _packages(trace, sources), "List them."),
        Answer("Which command?", _command(trace), "Say how the run was started."),
        Answer("Which hyperparameters?", _values(trace), "List all values that were chosen."),
        Answer(
            "How were the hyperparameters chosen, and how many runs were made?",
            (),
            "One run does not know of the others: say what was tried, and by which measure this "
            "one was chosen.",
        ),
        Answer("Which random seeds?", _seed(trace), "Name the seeds, or say that none was set."),
        Answer("Which data?", _data(trace), "Name the data, their version and where to get them."),
        Answer("How were the data split?", _splits(trace), "Describe the split, and its seed."),
        Answer("On which hardware?", _hardware(trace), "Name processor, memory and graphics card."),
        Answer("How long did it take?", _time(started, ended), "Say how long the run took."),
        Answer("What came out?", _results(run), "Give the results."),
        Answer(
            "How certain are the results?",
            _intervals(run),
            "Give an interval, or the spread over several seeds.",
        ),
        Answer("Are the trained weights available?", _weights(run), "Say where the weights are."),
        Answer("What could not be recorded?", _lacking(trace)),
    ]


def document(found: Iterable[Answer]) -> bytes:
    """Return the checklist as Markdown: ticked where the record answers, open where it does not."""
    lines = [
        "# Reproducibility checklist",
        "",
        "Filled in from the record of the run. An open box is for the authors.",
        "",
    ]
    for answer in found:
        lines.append(f"- [{'x' if answer.known else ' '}] **{answer.question}**")
        said = answer.known or (f"Not recorded. {answer.ask}",)
        lines += [f"  - {_plain(item)}" for item in said]
    return ("\n".join(lines) + "\n").encode(errors="replace")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _code(trace: Trace, sources: Sources) -> tuple[str, ...]:
    found = [f"In `code/`, {len(sources.files)} files, as they were when the run started."]
    if directory := swhid("dir", sources.directory):
        found.append(f"Directory: `{directory}`")
    if revision := swhid("rev", sources.revision):
        state = "with changes, see `trace/changes.patch`" if trace.patch else "without changes"
        found.append(f"Commit: `{revision}`, {state}")
    if trace.code.remote and re.search("://|@", trace.code.remote):
        there = "was there" if trace.code.pushed else "was not there"
        found.append(f"Repository: {trace.code.remote}, where the commit {there} at that time")
    return tuple(found)


def _packages(trace: Trace, sources: Sources) -> tuple[str, ...]:
    if not trace.packages:
        return ()
    found = [f"{len(trace.packages)} packages, listed in `trace/packages.txt`"]
    if trace.environment:
        found.insert(0, trace.environment.python)
        if trace.environment.differs:
            found.append(f"Not as locked: {', '.join(sorted(trace.environment.differs))}")
    if "uv.lock" in sources.files:
        found.append("Versions and hashes: `code/uv.lock`")
    return tuple(found)


def _command(trace: Trace) -> tuple[str, ...]:
    if not trace.repeat:
        return ()
    from samerun.command.quoting import command_line

    words = [f"`{command_line(trace.repeat.words)}`"] if trace.repeat.words else []
    return (*words, *trace.repeat.notes)


def _values(trace: Trace) -> tuple[str, ...]:
    values = dict(leaves(trace.config))
    if not values:
        return ()
    hidden = sum(MASK in str(value) for value in values.values())
    said = f"All {len(values)} values of the configuration: `trace/config.yaml`"
    return (f"{said}; {hidden} are secrets and are hidden" if hidden else said,)


def _seed(trace: Trace) -> tuple[str, ...]:
    return () if trace.seed is None else (f"{trace.seed}",)


def _data(trace: Trace) -> tuple[str, ...]:
    if trace.data is None:
        return ()
    data = trace.data
    found = [f"{data.name}, digest `{data.digest}`, from {data.source}"]
    files = [file for file in trace.files if file.kind == "data"]
    found += [f"`{file.path}`: {file.size} bytes, SHA-256 `{file.sha256}`" for file in files]
    return tuple(found)


def _splits(trace: Trace) -> tuple[str, ...]:
    named = {key: value for key, value in leaves(trace.config) if SPLIT.search(key)}
    return tuple(f"`{key}`: {value}" for key, value in named.items())


def _hardware(trace: Trace) -> tuple[str, ...]:
    if trace.machine is None:
        return ()
    machine = trace.machine
    found = [
        machine.platform,
        f"{machine.cpu}, {machine.usable_cores} of {machine.cores} cores",
        *(machine.gpus or ["no graphics card"]),
    ]
    if machine.threads:
        threads = ", ".join(f"{name}: {count}" for name, count in sorted(machine.threads.items()))
        found.append(f"Threads: {threads}")
    return tuple(found)


def _time(started: str, ended: str) -> tuple[str, ...]:
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    return (f"{seconds:.0f} s, from {started} to {ended}",) if seconds >= 0 else ()


def _results(run: RecordedRun) -> tuple[str, ...]:
    last = {name: points[-1][1] for name, points in sorted(run.metrics.items()) if points}
    if not last:
        return ()
    values = [f"{name}: {value:.6g}" for name, value in last.items() if not _bound(name, last)]
    return (*values, "Every step: `metrics.csv`")


def _intervals(run: RecordedRun) -> tuple[str, ...]:
    last = {name: points[-1][1] for name, points in sorted(run.metrics.items()) if points}
    found = []
    for name, low in last.items():
        high = _high(name)
        if high in last:
            of = INTERVAL.sub(r"\1", name)
            value = f"{last[of]:.6g} " if of in last else ""
            found.append(f"{of}: {value}[{low:.6g}, {last[high]:.6g}]")
    return tuple(found)


def _high(low: str) -> str:
    """Return the name of the upper end that belongs to a lower one, "" for other names."""
    found = INTERVAL.fullmatch(low)
    return f"{found[1]}{low[len(found[1])]}{HIGH[low[len(found[1]) + 1 :]]}" if found else ""


def _bound(name: str, others: Mapping[str, float]) -> bool:
    """Say whether a metric is an end of an interval of another one."""
    return _high(name) in others or any(_high(other) == name for other in others)


def _weights(run: RecordedRun) -> tuple[str, ...]:
    return tuple(f"`artifacts/{path}`: digest `{digest}`" for path, digest in run.weights.items())


def _lacking(trace: Trace) -> tuple[str, ...]:
    found: Sequence[str] = [f"{item}: {why}" for item, why in trace.problems.items()]
    kept = [f"`{path}` is not stored: {why}" for path, why in trace.code.reasons.items()]
    unsure = [f"`{path}` was edited as the run started" for path in trace.code.uncertain]
    return (*found, *kept, *unsure) or ("Nothing that the record knows of.",)
