"""Repeating a run, phase by phase, up to the verdict."""

import contextlib
import dataclasses
import errno
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from samerun.errors import RecordError
from samerun.recorded import RecordedRun, read_run
from samerun.reproduce import command, data, environment, keeping, leftovers, training, worktree
from samerun.reproduce.obstacles import Obstacle
from samerun.secrets.masking import masked_text

REPRODUCED = "reproduced"  # a tag of the original, set by `mark`
FOLDER = "reproduction"  # of the repetition's artifacts
PHASES = ("code", "environment", "data", "run", "record", "comparison")

Said = Callable[[str, str], None]  # a phase, and what is known of it by now


@dataclass(frozen=True)
class Outcome:
    """What came of repeating a run.

    repeats : the id of the run
    run_id : that of the repetition; None if there is none
    verdict, reason : how the two compare
    seconds : that each phase took
    notes : what a person should know besides
    """

    repeats: str
    run_id: str | None
    verdict: str
    reason: str
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def reproduce(
    original: RecordedRun,
    clones: Sequence[Path],
    *,
    timeout: float | None = None,
    sandbox: Sequence[str] = (),
    said: Said = lambda phase, what: None,
) -> Outcome:
    """Repeat a run, record that in the present store, and compare the two.

    Nothing of the present checkout changes: the repetition has a folder of its own, which is
    removed at the end, and which the next one removes if this process is killed.

    Parameters
    ----------
    clones : checkouts that may have the commit and the data, the likeliest first
    timeout : for the run itself, in seconds
    sandbox : words to put before the command, which lock it in
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
            return _repeat(original, clones, folder, phases, timeout, sandbox)
    except Obstacle as obstacle:
        reason = masked_text(str(obstacle))
        return Outcome(original.run_id, None, "not verified", reason, phases.seconds)
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
    sandbox: Sequence[str],
) -> Outcome:
    trace, tree, output = original.trace, folder / "project", folder / "output.txt"
    command.recorded_words(trace)  # what has none need not begin
    with phases("code") as note:
        worktree.make(tree, trace, original.files, clones)
        lacking = worktree.missing(tree, trace, clones)
        commit = trace.code.commit[:12] if trace.code.commit else "no commit"
        note(f"{commit}, {len(trace.code.changed) or 'no'} changed files")
    with phases("environment") as note:
        python = environment.choose(trace, tree, folder, clones)
        note(python.chosen)
    with phases("data") as note:
        note(data.bring(tree, trace, clones))
    with phases("run") as note:
        keeping.empty_store(tree)
        start = command.start(trace, tree, python)
        status = training.train(start, output, timeout, note, sandbox)
        if status is None:
            raise Obstacle(f"The run did not end within {timeout:g} s, and was stopped.")
        again = keeping.repetition(tree, original.params)
        why = _why_it_failed(status, output, lacking)
        if again is None:
            raise Obstacle(why or "The command ended well, and recorded no run.")
        if again.info.status == "RUNNING":
            raise Obstacle(f"The run was lost on its way: {why or 'its record has no end.'}")
        note(f"{again.info.status.lower()}")
    with phases("record") as note, keeping.kept(again, tree, original.run_id) as run_id:
        note(f"{run_id[:8]} in the experiment {keeping.EXPERIMENT}")
        with phases("comparison") as found:
            verdict, reason = _compared(original, read_run(run_id), why, lacking)
            found(verdict)
        outcome = Outcome(original.run_id, run_id, verdict, reason, phases.seconds)
        _attach(run_id, outcome, output)
    return outcome


def _why_it_failed(status: int, output: Path, lacking: Sequence[str]) -> str:
    """Return why a command did not end well, "" if it did."""
    if not status:
        return ""
    said = masked_text(training.last_lines(output, 5))
    without = f" Not to be had: {', '.join(lacking)}." if lacking else ""
    return f"The command ended with status {status}.{without} It said:\n{said}"


def _attach(run_id: str, outcome: Outcome, output: Path) -> None:
    """Store the verdict, and what the command printed, with the repetition."""
    from mlflow import MlflowClient

    client = MlflowClient()
    client.set_tag(run_id, f"{keeping.REPRODUCES}.verdict", outcome.verdict)
    text = json.dumps(dataclasses.asdict(outcome), indent=2)
    client.log_text(run_id, text, f"{FOLDER}/verdict.json")
    said = output.read_text(encoding="utf-8", errors="replace")
    client.log_text(run_id, masked_text(said), f"{FOLDER}/output.txt")


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
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        began = time.monotonic()
        self._said(name, "")
        try:
            yield lambda what: self._said(name, what)
        finally:
            self.seconds[name] = round(time.monotonic() - began, 2)


def _compared(
    original: RecordedRun, again: RecordedRun, why: str, lacking: Sequence[str]
) -> tuple[str, str]:
    """Return the verdict on a repetition, and its reason."""
    then, now = original.trace.data, again.trace.data
    if then and now and then.digest != now.digest:
        return "not verified", f"The data differ: {now.name} has {now.digest}, had {then.digest}."
    if why and original.status == "FINISHED":
        return "not verified", why
    if difference := _first_difference(original, again):
        without = f" Not to be had: {', '.join(lacking)}." if lacking else ""
        return ("not verified" if lacking else "different"), difference + without
    points = sum(map(len, original.metrics.values()))
    return "exact", f"{points} values of metrics and {len(original.weights)} files of weights"


def _first_difference(original: RecordedRun, again: RecordedRun) -> str:
    # Where a run is recorded is no part of what it did: the trials of a study have a place there.
    params = {*original.params, *again.params} - {"experiment"}
    for name in sorted(params):
        then, now = original.params.get(name), again.params.get(name)
        if then != now:
            return f"The parameter {name} is {now}, was {then}."
    firsts = []
    for name in {*original.metrics, *again.metrics}:
        before, after = (dict(run.metrics.get(name, [])) for run in (original, again))
        for step in sorted({*before, *after}):
            if before.get(step) != after.get(step):
                firsts.append((step, name, before.get(step), after.get(step)))
                break
    if firsts:
        step, name, was, is_now = min(firsts, key=lambda first: first[:2])
        return f"The metric {name} at step {step} is {is_now}, was {was}."
    for name in sorted({*original.weights, *again.weights}):
        if original.weights.get(name) != again.weights.get(name):
            return f"The weights {name} differ."
    return ""
