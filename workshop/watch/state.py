"""What `watch` knows, and what it does about each thing that happens.

Pure: `step` takes a state and an event, and returns the next state and what is to be done.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from workshop.course import Hole, Part
from workshop.watch.client import Ended, Failed, Judged, Ready
from workshop.watch.listener import NoEvents, Saved, Snapshot, change, open_holes

Key = Literal[
    "next", "back", "hint", "diff", "reset", "edit", "mlflow", "again", "help", "quit",
    "down", "up",
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What is known of a hole: `state` is that of `checks.Result`, or `unknown` before its check.

    `stale` while its file has changed since and its check is to come or running.
    """

    state: str = "unknown"
    message: str = ""
    stale: bool = False


@dataclass(frozen=True)
class Pressed:
    """Somebody pressed a key, or typed a command."""

    key: Key


@dataclass(frozen=True)
class Told:
    """Something that was to be done is done, or did not work; `lines` may be a diff."""

    title: str
    lines: tuple[str, ...] = ()


# What is to be done.


@dataclass(frozen=True)
class Check:
    """Check these holes, as job number `job`."""

    job: int
    holes: tuple[str, ...]


@dataclass(frozen=True)
class Cancel:
    """End the present job."""


@dataclass(frozen=True)
class Do:
    """Do what a key asks for with a hole: diff, reset, edit, mlflow or quit."""

    what: Key
    hole: str


Event = Saved | NoEvents | Ready | Failed | Judged | Ended | Pressed | Told
Effect = Check | Cancel | Do


@dataclass(frozen=True)
class State:
    """All that is shown, and what is still to be checked.

    hole : the one that is shown
    hints : how many rungs of each hole's ladder were read
    queue : jobs to come, each a few holes of one check's process
    running : the holes of the present job without a verdict yet; `job` is its number
    occupied : whether that job has not ended, and no other can begin
    panel : what a key has brought up: a title and lines
    warm : whether the warm process is ready; `failed` why there is none
    broken : why the part cannot be read
    scroll : rows by which the panel is scrolled
    """

    part: Part
    seen: Snapshot
    hole: str
    verdicts: Mapping[str, Verdict]
    hints: Mapping[str, int] = field(default_factory=dict)
    queue: tuple[tuple[str, ...], ...] = ()
    running: tuple[str, ...] = ()
    job: int = 0
    occupied: bool = False
    cancelled: bool = False
    panel: Told | None = None
    panel_key: Key | None = None
    warm: bool = False
    failed: str = ""
    broken: str = ""
    polling: bool = False
    scroll: int = 0

    @property
    def holes(self) -> tuple[str, ...]:
        return tuple(hole.id for hole in self.part.holes)

    def of(self, id: str) -> Hole:
        return next(hole for hole in self.part.holes if hole.id == id)

    @property
    def done(self) -> int:
        return sum(verdict.state == "done" for verdict in self.verdicts.values())

    @property
    def busy(self) -> bool:
        return bool(self.running or self.queue or self.occupied)


def begin(
    part: Part, seen: Snapshot, hole: str | None = None, hints: Mapping[str, int] | None = None
) -> tuple[State, list[Effect]]:
    """Return the state at the start: everything that is filled in is to be checked.

    hole, hints : where one stopped; by default at the first open hole
    """
    ids = [one.id for one in part.holes]
    unsolved = open_holes(part, seen)
    if hole not in ids:
        hole = next((id for id in ids if id in unsolved), ids[-1])
    verdicts = {one.id: _open(one) if one.id in unsolved else Verdict() for one in part.holes}
    state = State(part, seen, hole, verdicts, dict(hints or {}), broken=seen.broken)
    if seen.broken:
        return state, []
    return _check(state, [hole], [id for id in ids if id != hole])


def step(state: State, event: Event) -> tuple[State, list[Effect]]:
    """Return the state after an event, and what is to be done."""
    match event:
        case Saved(seen):
            return _saved(state, seen)
        case Judged() if event.job == state.job and event.hole in state.running:
            return _judged(state, event), []
        case Ended() if event.job == state.job:
            return _ended(state, event)
        case Ready():
            return replace(state, warm=True, failed=""), []
        case Failed(message):
            return replace(
                state,
                failed=message,
                warm=False,
                queue=(),
                running=(),
                occupied=False,
                cancelled=False,
            ), []
        case NoEvents():
            return replace(state, polling=True), []
        case Told():
            return replace(state, panel=event, scroll=0), []
        case Pressed(key):
            return _pressed(state, key)
    return state, []


def needing(part: Part, ids: Iterable[str]) -> set[str]:
    """Return these holes and all that need one of them, directly or not."""
    found = set(ids)
    while more := {h.id for h in part.holes if found.intersection(h.needs)} - found:
        found |= more
    return found


def _open(hole: Hole) -> Verdict:
    return Verdict("open", hole.ask)


def _saved(state: State, seen: Snapshot) -> tuple[State, list[Effect]]:
    if seen.broken:
        # What was checked before says nothing of this; it comes back with the markers.
        effects: list[Effect] = [Cancel()] if state.running and not state.cancelled else []
        waiting = _unfinished(state)
        queue = (waiting,) if waiting else ()
        return replace(
            state, broken=seen.broken, queue=queue, running=(), cancelled=bool(state.running),
            panel=None, panel_key=None,
        ), effects  # fmt: skip
    found = change(state.seen, seen)
    mended = bool(state.broken)
    state = replace(state, seen=seen, broken="")
    if not found.holes and not found.around and not mended:
        return state, []  # lines have moved
    unsolved = open_holes(state.part, seen)
    first = set(found.holes)
    # What waits for another hole may have waited for this one.
    rest = {id for id, verdict in state.verdicts.items() if verdict.state == "waiting"}
    rest |= needing(state.part, first) | set(_unfinished(state))
    if found.around:
        rest |= set(state.holes)
    verdicts = dict(state.verdicts)
    for id in first | rest:
        if id in unsolved:
            verdicts[id] = _open(state.of(id))
        elif verdicts[id].state == "open":
            verdicts[id] = Verdict()
    changed = [id for id in state.holes if id in found.holes]
    if changed and state.hole not in changed:
        state = replace(state, hole=changed[0], panel=None, panel_key=None, scroll=0)
    if state.panel_key == "reset" and state.hole in found.holes & unsolved:
        state = replace(state, panel_key=None)  # where the answer is kept stays to be read
    elif state.panel_key != "hint":  # which helps until the hole is done
        state = replace(state, panel=None, panel_key=None, scroll=0)
    return _check(replace(state, verdicts=verdicts), first, rest)


def _check(state: State, first: Iterable[str], rest: Iterable[str]) -> tuple[State, list[Effect]]:
    """Let these holes be checked now, in place of what is being checked, and these afterwards."""

    def filled(ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(id for id in state.holes if id in ids and state.verdicts[id].state != "open")

    first = filled(set(first))
    jobs = (first, filled(set(rest) - set(first)))
    queue = tuple(job for job in jobs if job)
    verdicts = dict(state.verdicts)
    for id in (id for job in queue for id in job):
        verdicts[id] = replace(verdicts[id], stale=True)
    state = replace(state, queue=queue, verdicts=verdicts)
    if state.running and not state.cancelled:
        return replace(state, cancelled=True), [Cancel()]
    return (state, []) if state.occupied else _next_job(state)


def _unfinished(state: State) -> tuple[str, ...]:
    left = {*state.running, *(id for job in state.queue for id in job)}
    return tuple(id for id in state.holes if id in left)


def _next_job(state: State) -> tuple[State, list[Effect]]:
    if not state.queue or state.broken:
        return replace(state, running=(), occupied=False, cancelled=False), []
    holes, *later = state.queue
    job = state.job + 1
    state = replace(
        state, job=job, running=holes, queue=tuple(later), occupied=True, cancelled=False
    )
    return state, [Check(job, holes)]


def _judged(state: State, event: Judged) -> State:
    if state.cancelled:
        return state
    verdict = Verdict(event.state, event.message)
    return replace(
        state,
        verdicts={**state.verdicts, event.hole: verdict},
        running=tuple(id for id in state.running if id != event.hole),
    )


def _ended(state: State, event: Ended) -> tuple[State, list[Effect]]:
    """Blame the hole whose check ended its process; those behind it are checked again."""
    if state.running and not state.cancelled:
        hole, *behind = state.running
        verdicts = dict(state.verdicts)
        verdicts[hole] = Verdict("wrong", event.why or "its check ended without a verdict")
        state = replace(state, verdicts=verdicts)
        if behind:
            state = replace(state, queue=(tuple(behind), *state.queue))
    return _next_job(state)


def _pressed(state: State, key: Key) -> tuple[State, list[Effect]]:
    asked_again = state.panel_key == key
    verdict = state.verdicts[state.hole]
    match key:
        case "next" | "back":
            return _move(state, key), []
        case "hint":
            return _hint(state), []
        case "diff" if verdict.state != "done" or verdict.stale:
            told = Told(
                "Our answer is shown beside yours once yours is done.",
                ("To see it before: solutions/" + _path(state),),
            )
            return _show(state, key, told), []
        case "reset" if verdict.state == "open":
            return _show(state, key, Told(f"TODO {state.hole} is as it was at the beginning.")), []
        case "reset" if not asked_again:
            told = Told(f"Begin TODO {state.hole} again? Once more, and it is done.",
                        ("What you wrote is kept.",))  # fmt: skip
            return _show(state, key, told), []
        case "again":
            state = replace(state, panel=None, panel_key=None, failed="")
            if state.broken:
                return state, []
            return _check(state, [state.hole], state.holes)
        case "help":
            return _show(state, key, None if asked_again else Told("help")), []
        case "down" | "up":
            return replace(state, scroll=max(0, state.scroll + (5 if key == "down" else -5))), []
    return replace(state, panel_key=key, panel=None), [Do(key, state.hole)]


def _path(state: State) -> str:
    return f"{state.part.folder}/{state.of(state.hole).file}"


def _show(state: State, key: Key, told: Told | None) -> State:
    return replace(state, panel=told, panel_key=key if told else None, scroll=0)


def _move(state: State, key: Key) -> State:
    """Go to the next hole that is not done, or to the one before, whatever it is."""
    at = state.holes.index(state.hole)
    if key == "back":
        hole = state.holes[max(0, at - 1)]
        return replace(state, hole=hole, panel=None, panel_key=None, scroll=0)
    around = (*state.holes[at + 1 :], *state.holes[:at])
    hole = next((id for id in around if state.verdicts[id].state != "done"), None)
    if hole is None:
        told = "All others are done." if state.verdicts[state.hole].state != "done" else (
            f"All {len(state.holes)} are done."
        )  # fmt: skip
        return _show(state, key, Told(told))
    return replace(state, hole=hole, panel=None, panel_key=None, scroll=0)


def _hint(state: State) -> State:
    """Show the next rung of the ladder under those that were read."""
    rungs, read = len(state.of(state.hole).hints), state.hints.get(state.hole, 0)
    told = None
    if read == rungs:
        told = Told("There are no more hints.", (f"Our answer: solutions/{_path(state)}",))
    hints = {**state.hints, state.hole: min(read + 1, rungs)}
    return replace(state, hints=hints, panel=told, panel_key="hint", scroll=0)
