"""Repeating a run, phase by phase, up to the verdict."""

import contextlib
import dataclasses
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from samerun.command.quoting import command_line
from samerun.compare.causes import Cause
from samerun.compare.verdict import NOT_VERIFIED
from samerun.display.plain import as_json
from samerun.display.screen import additions
from samerun.errors import RecordError
from samerun.find import REPRODUCTIONS
from samerun.recorded import RecordedRun, read_run
from samerun.reproduce import (
    Obstacle,
    command,
    data,
    environment,
    judging,
    keeping,
    leftovers,
    training,
    worktree,
)
from samerun.reproduce.judging import Measured
from samerun.secrets.masking import masked_text
from samerun.trace import ADDED, Trace
from samerun.trace import FOLDER as TRACE

REPRODUCED = "reproduced"  # a tag of the original, set by `mark`
FOLDER = "reproduction"  # of the repetition's artifacts

Note = Callable[[str], None]
Sandbox = Callable[[Sequence[Path]], Sequence[str]]
Said = Callable[[str, str], None]  # a phase, and what is known of it by now; "" as it begins


@dataclass(frozen=True)
class Outcome:
    """What came of repeating a run.

    repeats : the id of the run
    run_id : that of the repetition; None if there is none
    verdict, reason : how the two compare
    seconds : that each phase took
    metrics : of both, those that differ first
    causes : what differs between the traces and may change a result, the likeliest first
    """

    repeats: str
    run_id: str | None
    verdict: str
    reason: str
    seconds: dict[str, float] = field(default_factory=dict)
    metrics: tuple[Measured, ...] = ()
    causes: tuple[str, ...] = ()


def reproduce(
    original: RecordedRun,
    clones: Sequence[Path],
    *,
    timeout: float | None = None,
    sandbox: Sandbox = lambda projects: (),
    build: bool = True,
    said: Said = lambda phase, what: None,
) -> Outcome:
    """Repeat a run, record that in the present store, and compare the two.

    Nothing of the present checkout changes: the repetition has a folder of its own, which is
    removed at the end, and which the next one removes if this process is killed.

    Parameters
    ----------
    clones : checkouts that may have the commit and the data, the likeliest first
    timeout : for the run itself, in seconds
    sandbox : from the folders that it may write to, the words to put before the command, which
        lock it in
    build : another environment if this one has other packages: it runs code of the project, and
        outside of the sandbox
    said : is told of every phase as it begins, goes on and ends

    Raises
    ------
    RecordError
        The disk is full, or the folder of repetitions cannot be written to.
    """
    leftovers.remove_leftovers()
    phases = _Phases(said)
    try:
        with leftovers.private_folder(original.run_id[:8]) as folder:
            return _repeat(original, clones, folder, phases, timeout, sandbox, build)
    except Obstacle as obstacle:
        reason = masked_text(str(obstacle))
        return Outcome(original.run_id, None, NOT_VERIFIED, reason, phases.seconds)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RecordError(
                f"The disk is full: the run is repeated in {leftovers.place()}. Free some space, "
                f"or name a folder on another disk: {leftovers.PLACE}=FOLDER"
            ) from error
        raise RecordError(
            f"The run cannot be repeated in {leftovers.place()}: {error}. To name another folder: "
            f"{leftovers.PLACE}=FOLDER"
        ) from error


def _repeat(
    original: RecordedRun,
    clones: Sequence[Path],
    folder: Path,
    phases: "_Phases",
    timeout: float | None,
    sandbox: Sandbox,
    build: bool,
) -> Outcome:
    trace, store = original.trace, folder / "project" / keeping.STORE
    command.recorded_words(trace)  # what has none need not begin
    place = _prepare(trace, original.files / TRACE, folder / "project", clones, phases, build)

    def run(
        trace: Trace, place: _Place, output: str, repetition: str | None, note: Note
    ) -> list[str]:
        """Run a command; return why it did not end well, in one text if at all."""
        renamed = (original.run_id, repetition)
        start = command.start(trace, place.tree, place.python, store, renamed)
        # Its store and its own code: what else is in `folder`, git and this process will read.
        locked_in = sandbox([store.parent, place.tree])
        status = training.train(start, folder / output, timeout, note, locked_in)
        return _failure(status, timeout, folder / output)

    with phases("run") as note:
        keeping.empty_store(place.tree)
        doubts = [*place.doubts, *run(trace, place, "output.txt", None, note)]
        again = keeping.repetition(store, original.params)
        if again is None:
            raise Obstacle(" ".join(doubts) or "The command ended well, and recorded no run.")
        if again.info.status == "RUNNING":
            raise Obstacle(f"The repetition did not come to an end. {' '.join(doubts)}")
        note(again.info.status.lower())
    for number, added in enumerate(additions(original.files / TRACE), start=1):
        try:
            if not _same_code(added, place.trace):
                stored = original.files / TRACE / f"{ADDED}{number}"
                tree = folder / f"project-{number}"
                place = _prepare(added, stored, tree, clones, phases, build)
            with phases("then") as note:
                output = f"output-{number}.txt"
                doubts += run(added, place, output, again.info.run_id, lambda line: None)
                note(command_line(command.recorded_words(added)))
        except Obstacle as obstacle:
            doubts.append(f"What was added to the run later is not repeated: {obstacle}")
    again = keeping.repetition(store, original.params) or again
    with phases("record") as note, keeping.kept(again, store, original.run_id) as run_id:
        note(f"{run_id[:8]} in the experiment {REPRODUCTIONS}")
        # Its copy counts as running until the verdict is there.
        copy = dataclasses.replace(read_run(run_id), status=again.info.status)
        verdict, comparison = judging.judge(original, copy, doubts)
        outcome = Outcome(
            repeats=original.run_id,
            run_id=run_id,
            verdict=verdict.kind,
            reason=" ".join(verdict.reasons),
            seconds=phases.seconds,
            metrics=judging.measured(comparison),
            causes=tuple(_in_words(cause) for cause in comparison.causes if not cause.unlikely),
        )
        _attach(run_id, outcome, folder)
    return outcome


@dataclass(frozen=True)
class _Place:
    """Where a command can be repeated: code, data and packages together.

    doubts : why a difference would prove nothing
    """

    trace: Trace
    tree: Path
    python: environment.Python
    doubts: tuple[str, ...]


def _prepare(
    trace: Trace,
    stored: Path,
    tree: Path,
    clones: Sequence[Path],
    phases: "_Phases",
    build: bool,
) -> _Place:
    """Bring together what a command needs; `stored` is the folder of its trace."""
    doubts = []
    with phases("code") as note:
        worktree.make(tree, trace, stored, clones)
        if lacking := worktree.missing(tree, trace, clones):
            doubts.append(f"These files of the run are not to be had: {', '.join(lacking)}.")
        if trace.code.uncertain:
            doubts.append(f"Edited as the run started: {', '.join(trace.code.uncertain)}.")
        commit = trace.code.commit[:12] if trace.code.commit else "no commit"
        note(f"{commit}, {len(trace.code.changed) or 'no'} changed files")
    with phases("environment") as note:
        made = tree.with_name(f"{tree.name}-python")
        python = environment.choose(trace, tree, made, clones, build=build)
        if python.lacking:
            listed = ", ".join(python.lacking)
            doubts.append(f"These packages of the run are not to be had here: {listed}.")
        note(python.chosen)
    with phases("data") as note:
        note(data.bring(tree, trace, clones))
    return _Place(trace, tree, python, tuple(doubts))


def _in_words(cause: Cause) -> str:
    was = f"{cause.first}, now {cause.second}" if cause.first else cause.second
    return f"{cause.kind}, {cause.name}: {was}"


def _same_code(one: Trace, other: Trace) -> bool:
    return (one.code.commit, one.patch) == (other.code.commit, other.patch)


def _failure(status: int | None, timeout: float | None, output: Path) -> list[str]:
    """Return why a command did not end well, in one text; none if it did."""
    if status is None:
        return [f"The command did not end within {timeout:g} s, and was stopped."]
    if not status:
        return []
    said = masked_text(training.last_lines(output, 5))
    return [f"The command ended with status {status}. It said:\n{said}"]


def _attach(run_id: str, outcome: Outcome, folder: Path) -> None:
    """Store the verdict, and what the commands printed, with the repetition."""
    from mlflow import MlflowClient

    client = MlflowClient()
    client.set_tag(run_id, f"{keeping.REPRODUCES}.verdict", outcome.verdict)
    client.log_text(run_id, as_json(outcome), f"{FOLDER}/verdict.json")
    for output in sorted(folder.glob("output*.txt")):
        said = output.read_text(encoding="utf-8", errors="replace")
        client.log_text(run_id, masked_text(said), f"{FOLDER}/{output.name}")


def mark(outcome: Outcome) -> None:
    """Note on the run itself how it was repeated: the one thing that changes it."""
    from mlflow import MlflowClient

    by = f" by {outcome.run_id}" if outcome.run_id else ""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    MlflowClient().set_tag(outcome.repeats, REPRODUCED, f"{outcome.verdict}{by}, {when}")


class _Phases:
    """Says what goes on, and notes how long it takes."""

    def __init__(self, said: Said) -> None:
        self._said = said
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[Note]:
        began = time.monotonic()
        self._said(name, "")
        try:
            yield lambda what: self._said(name, what)
        finally:
            took = time.monotonic() - began
            self.seconds[name] = round(self.seconds.get(name, 0) + took, 2)
