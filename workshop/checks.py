"""Checking the holes of a tree: is each one open, done or wrong, and why."""

import contextlib
import functools
import importlib.util
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from samerun.config import flatten
from samerun.secrets import guard
from samerun.secrets.masking import MASK
from workshop import regions
from workshop.bounded import TooLong, bounded, unattended
from workshop.course import Course, Hole, Part, is_open
from workshop.drive import Crash, Driver
from workshop.errors import WorkshopError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from omegaconf import DictConfig

Check = Callable[[Driver], None]
State = Literal["open", "done", "wrong", "waiting"]
SECRET = "made-up-key-7"  # what checks put into a configuration, as an api_key
LIMIT = 90  # seconds for one check; on a busy machine one that trains takes 15


def check(todo: str) -> Callable[[Check], Check]:
    """Mark a function as the check of a TODO: it gets a `Driver`, and asserts.

    Every assertion states what was expected.
    """

    def mark(function: Check) -> Check:
        function.todo = todo
        return function

    return mark


@dataclass(frozen=True)
class Result:
    """What the check of a hole found.

    state : `open` (untouched), `done`, `wrong`, or `waiting` (another hole must be mended first)
    message : why it is wrong or what it waits for; empty if done
    file, place : where its region stands
    """

    hole: Hole
    state: State
    message: str
    file: Path
    place: str


@functools.cache
def checks_of(path: Path) -> dict[str, Check]:
    """Return the checks that a file defines, by TODO; the file is loaded once."""
    spec = importlib.util.spec_from_file_location(f"checks_{path.stem}", path)
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        function.todo: function for function in vars(module).values() if hasattr(function, "todo")
    }


def results(course: Course, holes: list[Hole], tree: Path | None = None) -> Iterator[Result]:
    """Check these holes in a tree (the participant's by default), one after the other.

    Raises
    ------
    WorkshopError
        The tree lacks the markers of a hole.
    """
    tree = tree or course.root
    for part in course.parts:
        wanted = [hole for hole in part.holes if hole in holes]
        if not wanted:
            continue
        try:
            stands = part.regions(tree)
        except regions.RegionError as error:
            raise WorkshopError(_broken(course, part, tree, error)) from None
        missing = [hole for hole in wanted if hole.id not in stands]
        if missing:
            raise WorkshopError(_lost(course, part, missing[0], tree))
        open_ids = {
            hole.id
            for hole in part.holes
            if hole.id in stands and is_open(hole, stands[hole.id][1].body)
        }
        driver = Driver(tree / part.folder)
        # The checks import PyTorch and MLflow: for seconds that an open TODO need not wait.
        judged = [hole for hole in wanted if not open_ids.intersection([hole.id, *hole.needs])]
        checks = checks_of(part.checks) if judged else {}
        unchecked = [hole.id for hole in judged if hole.id not in checks]
        if unchecked:
            raise WorkshopError(
                f"{part.checks.name} has no check of TODO {unchecked[0]}; expected a function "
                f'marked @check("{unchecked[0]}").'
            )
        syntax_error = driver.syntax_error()
        for hole in wanted:
            if syntax_error and hole.id not in open_ids:
                state, message = _stopped_by(syntax_error, hole, first=hole is wanted[0])
            else:
                state, message = _judge(hole, checks.get(hole.id), driver, open_ids)
            file, region = stands[hole.id]
            yield Result(hole, state, message, file, region.place)


def region_of(course: Course, hole: Hole, tree: Path | None = None) -> tuple[Path, regions.Region]:
    """Return the file and the region of a hole in a tree (the participant's by default).

    Raises
    ------
    WorkshopError
        The tree lacks its markers; the message says how they come back.
    """
    tree = tree or course.root
    part = course.part_of(hole)
    try:
        stands = part.regions(tree)
    except regions.RegionError as error:
        raise WorkshopError(_broken(course, part, tree, error)) from None
    if hole.id not in stands:
        raise WorkshopError(_lost(course, part, hole, tree))
    return stands[hole.id]


def next_hole(course: Course, found: list[Result], tree: Path | None = None) -> Hole | None:
    """Return what to do next: the first wrong hole, else the first that is not done.

    Of holes that were not checked, those that hold their stub are known to be open.
    """
    for state in ("wrong", "open", "waiting"):
        for result in found:
            if result.state == state:
                return result.hole
    after = course.holes
    for hole in list(after.values())[list(after).index(found[-1].hole.id) + 1 :]:
        stands = course.part_of(hole).regions(tree or course.root)
        if hole.id in stands and is_open(hole, stands[hole.id][1].body):
            return hole
    return None


def _broken(course: Course, part: Part, tree: Path, error: regions.RegionError) -> str:
    """Say what to do about markers that do not pair up, of which one was lost as a rule."""
    for hole in part.holes:
        file = tree / part.folder / hole.file
        if file.is_file() and f"##TODO {hole.id}##" not in file.read_text("utf-8", "replace"):
            lost = _lost(course, part, hole, tree)
            return f"{lost}\n  Take out what is left of the old markers: {error}"
    return str(error)


def _lost(course: Course, part: Part, hole: Hole, tree: Path) -> str:
    """Say how a region that a file has lost comes back, the rest of the file left alone."""
    solved = part.regions(course.solutions)
    stub = f"{hole.stub.rstrip()}\n" if hole.stub.strip() else ""
    region = textwrap.indent(f"##TODO {hole.id}## {hole.ask}\n{stub}##END##", "    ")
    lines = solved[hole.id][0].read_text(encoding="utf-8").splitlines()
    above = [line for line in lines[: solved[hole.id][1].line - 1] if line.strip()]
    where = f"below the line\n    {above[-1].strip()}\n  put" if above else "put at its top"
    return (
        f"TODO {hole.id} ({hole.title}) has lost its markers: {tree / part.folder / hole.file} has "
        f"no region of it any more.\n"
        f"  To get it back, {where}\n{region}\n  with your own lines, if they are still there, "
        "between the two markers."
    )


def _stopped_by(error: Crash, hole: Hole, first: bool) -> tuple[State, str]:
    """Give one hole the blame for a syntax error, which ends every run, and let the others wait."""
    if hole.id == error.hole or (error.hole is None and first):
        return "wrong", str(error)
    return "waiting", f"A syntax error stops every run: {error}"


def _judge(
    hole: Hole, check: Check | None, driver: Driver, open_ids: set[str]
) -> tuple[State, str]:
    """Return the state of a hole and why; one that is open or waits needs no check for that."""
    if hole.id in open_ids:
        return "open", hole.ask
    needed = [id for id in hole.needs if id in open_ids]
    if needed:
        return "waiting", f"It can be checked when TODO {needed[0]} is done."
    try:
        verdict(check, driver)
    except AssertionError as failed:
        return "wrong", str(failed)
    except Exception as error:  # whatever else a participant's answer may do to a check
        crash = error if isinstance(error, Crash) else driver.blame(error)
        if crash.hole not in (None, hole.id):
            return "waiting", f"TODO {crash.hole} stops the run: {crash}"
        return "wrong", str(crash)
    return "done", ""


def expect_parameters(run: "Run", cfg: "DictConfig") -> None:
    """Assert that every value of a configuration is a parameter of a run (of both parts)."""
    logged = run.data.params
    for name, value in flatten(cfg).items():
        assert name in logged, (
            f"the run has no parameter {name!r}; expected {name} = {str(value)[:40]}, "
            f"found {', '.join(sorted(logged)) or 'no parameter at all'}"
        )
        assert logged[name] == str(value), (
            f"the parameter {name} is {logged[name]!r}; expected {str(value)!r}"
        )
        if value == MASK:
            expect_no_secret(run, f"parameter {name}", "flatten(cfg)")


def expect_no_secret(run: "Run", what: str, instead: str) -> None:
    """Assert that something was logged without a secret in clear, which samerun had to mask."""
    masked = run.data.tags.get(guard.TAG, "").split(", ")
    assert what not in masked, (
        f"the {what} was logged with the api_key of the config in clear, and samerun masked it at "
        f"the last moment; expected {instead}, which masks secrets by itself"
    )


def verdict(check: Check, driver: Driver) -> None:
    """Run one check with the script's own output held back.

    Raises
    ------
    AssertionError
        The hole is not done; the message says what was expected.
    Crash
        The script did not get far enough to tell.
    """
    from threadpoolctl import threadpool_limits

    with (
        # Not into memory: a loop that prints would fill it before its time is up.
        open(os.devnull, "w", encoding="utf-8", errors="replace") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
        threadpool_limits(1),  # as in Driver.run, for what a check calls itself
        unattended(),
    ):
        try:
            with bounded(LIMIT, driver.place):
                check(driver)
        except (SystemExit, TooLong) as error:
            raise driver.blame(error) from error
