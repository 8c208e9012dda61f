"""Do the checks notice? Every answer of ours is changed a little, and its check has to reject it.

A change that a check cannot notice, because nothing that the hole asks for is lost, is listed with
the reason in `exercises/harmless.toml`. What is not listed and is accepted all the same is a gap.
"""

import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from workshop import checks
from workshop.course import EXERCISES, LEFT_BEHIND, Course, Hole
from workshop.drive import Driver
from workshop.errors import WorkshopError
from workshop.mutants import Mutant, mutants

HARMLESS = EXERCISES / "harmless.toml"
LIMIT = 60  # seconds for one mutant: some never end


@dataclass(frozen=True)
class Judged:
    """A mutant, and whether its check noticed it."""

    mutant: Mutant
    noticed: bool


def of_hole(course: Course, hole: Hole) -> list[Mutant]:
    """Return the mutants of our answer to a hole."""
    path, region = course.part_of(hole).regions(course.solutions)[hole.id]
    return mutants(path.read_text(encoding="utf-8"), region, path.suffix)


def judge(course: Course, hole: Hole) -> Iterator[Judged]:
    """Check every mutant of our answer to a hole, all of them in this process.

    Raises
    ------
    WorkshopError
        The answer itself is rejected, so that it says nothing when a mutant is.
    """
    check = checks.checks_of(course.part_of(hole).checks)[hole.id]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        # A compiled file counts as current if its source has the same size and the same second.
        mock.patch.object(sys, "dont_write_bytecode", True),
    ):
        folder = Path(scratch, hole.part)
        solved = course.solutions / hole.part
        shutil.copytree(solved, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        if why := _why_rejected(check, Driver(folder)):
            raise WorkshopError(f"Our own answer to TODO {hole.id} is rejected: {why}")
        for mutant in of_hole(course, hole):
            (folder / hole.file).write_text(mutant.text, encoding="utf-8")
            yield Judged(mutant, _why_rejected(check, Driver(folder)) is not None)


def _why_rejected(check: checks.Check, driver: Driver) -> Exception | None:
    try:
        with mock.patch.object(checks, "LIMIT", LIMIT):
            checks.verdict(check, driver)
    except Exception as why:
        return why
    return None


def harmless(path: Path = HARMLESS) -> dict[tuple[str, str, str], str]:
    """Return the changes that are known to be harmless, by hole, before and after: and why."""
    return {
        (hole, change["before"], change["after"]): change["why"]
        for hole, changes in _listed(path).get("harmless", {}).items()
        for change in changes
    }


def _listed(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))
