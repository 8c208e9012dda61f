"""Checking the holes of a tree: is each one open, done or wrong, and why."""

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from samerun.config import flatten
from workshop.course import Course, Hole
from workshop.drive import Crash, Driver
from workshop.errors import WorkshopError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from omegaconf import DictConfig

Check = Callable[[Driver], None]


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
    state: Literal["open", "done", "wrong", "waiting"]
    message: str
    file: Path
    place: str


def checks_of(path: Path) -> dict[str, Check]:
    """Return the checks that a file defines, by TODO."""
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
        stands = part.regions(tree)
        missing = [hole.id for hole in wanted if hole.id not in stands]
        if missing:
            raise WorkshopError(
                f"TODO {missing[0]} has no region in {tree / part.folder} any more.\n"
                f"  expected: '##TODO {missing[0]}## ...' and '##END##' around your lines, as in "
                f"solutions/{part.folder}\n"
                f"  to get the file back: git checkout -- {part.folder}  (your changes in it go)"
            )
        open_ids = {hole.id for hole in part.holes if is_open(hole, stands[hole.id][1].body)}
        checks, driver = checks_of(part.checks), Driver(tree / part.folder)
        for hole in wanted:
            state, message = _judge(hole, checks[hole.id], driver, open_ids)
            file, region = stands[hole.id]
            yield Result(hole, state, message, file, region.place)


def is_open(hole: Hole, body: str) -> bool:
    """Tell whether a region still holds its stub."""
    return body.strip() == hole.stub.strip()


def _judge(hole: Hole, check: Check, driver: Driver, open_ids: set[str]) -> tuple[str, str]:
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
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        threadpool_limits(1),  # as in Driver.run, for what a check calls itself
    ):
        check(driver)
