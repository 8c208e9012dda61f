"""The two-sided proof, for every hole of every part.

Everything filled in passes. Everything filled in but one hole fails that hole's check, and no check
of a hole that does not need it. Every wrong answer that we know people give is rejected, and every
right one is accepted, however unlike ours.
"""

import copy
import functools
import hashlib
import shutil
from typing import ClassVar

import pytest
from omegaconf import DictConfig

from workshop import checks, course, regions
from workshop.drive import Crash, Driver

COURSE = course.load()
checks_of = functools.cache(checks.checks_of)  # they are compiled anew each time
HOLES = list(COURSE.holes.values())


class Remembering(Driver):
    """Composes once what the same files and overrides come to, whichever tree they are in.

    Most trees below differ in no file of conf/, and to compose took a third of the time.
    """

    composed: ClassVar[dict[tuple, DictConfig]] = {}

    def compose(self, *overrides, config="config", with_hydra=False):
        if with_hydra:  # the folder is in it
            return super().compose(*overrides, config=config, with_hydra=True)
        files = hashlib.sha256()
        for path in sorted(self.folder.glob("conf/**/*.*")):
            files.update(f"{path.relative_to(self.folder)} {path.stat().st_size} ".encode())
            files.update(path.read_bytes())
        asked = (files.hexdigest(), overrides, config)
        if asked not in self.composed:
            self.composed[asked] = super().compose(*overrides, config=config)
        return copy.deepcopy(self.composed[asked])


def id_of(hole):
    return hole.id


def needed_by(hole):
    """Return the ids of a hole and of all holes that need it, directly or not."""
    found = {hole.id}
    while more := {other.id for other in HOLES if found.intersection(other.needs)} - found:
        found |= more
    return found


def solved_but(folder, hole, body):
    """Copy the solutions of a hole's part to a folder, with another body in that hole."""
    solved = COURSE.solutions / hole.part
    shutil.copytree(solved, folder, ignore=shutil.ignore_patterns(*course.LEFT_BEHIND))
    path = folder / hole.file
    text = regions.fill(
        path.read_text(encoding="utf-8"), {hole.id: body}, notebook=path.suffix == ".ipynb"
    )
    path.write_text(text, encoding="utf-8")
    return Remembering(folder)


def failure(hole, driver):
    """Return why a hole's check fails, None if it passes."""
    check = checks_of(COURSE.part_of(hole).checks)[hole.id]
    try:
        checks.verdict(check, driver)
    except Exception as error:
        return error
    return None


@pytest.fixture(scope="module", params=COURSE.parts, ids=lambda part: part.folder)
def solved(request):
    return request.param, Remembering(COURSE.solutions / request.param.folder)


def test_everything_filled_in_passes_every_check(solved):
    part, driver = solved
    assert {hole.id: failure(hole, driver) for hole in part.holes} == {
        hole.id: None for hole in part.holes
    }


@pytest.mark.parametrize("hole", HOLES, ids=id_of)
def test_an_open_hole_fails_its_own_check_and_no_other(hole, tmp_path):
    driver = solved_but(tmp_path / "part", hole, hole.stub)
    failed = {other.id: failure(other, driver) for other in COURSE.part_of(hole).holes}
    assert failed[hole.id] is not None, "the open hole passes its check"
    unexpected = {
        id: why for id, why in failed.items() if why is not None and id not in needed_by(hole)
    }
    assert unexpected == {}


@pytest.mark.parametrize(
    ("hole", "wrong"),
    [
        pytest.param(hole, wrong, id=f"{hole.id}-{wrong.why}")
        for hole in HOLES
        for wrong in hole.wrong
    ],
)
def test_a_wrong_answer_is_rejected(hole, wrong, tmp_path):
    why = failure(hole, solved_but(tmp_path / "part", hole, wrong.body))
    assert why is not None, f"accepted: {wrong.why}"
    assert "NameError" not in str(why), "it lacks an import, and so says nothing of the check"
    if isinstance(why, Crash):
        assert why.hole in (None, hole.id)
    if isinstance(why, AssertionError):
        assert "expected" in str(why), f"the message does not say what was expected: {why}"


@pytest.mark.parametrize(
    ("hole", "right"),
    [
        pytest.param(hole, right, id=f"{hole.id}-{right.why}")
        for hole in HOLES
        for right in hole.right
    ],
)
def test_a_right_answer_that_is_not_ours_is_accepted(hole, right, tmp_path):
    assert failure(hole, solved_but(tmp_path / "part", hole, right.body)) is None


@pytest.mark.parametrize("hole", HOLES, ids=id_of)
def test_a_hole_comes_with_four_wrong_and_two_right_answers_and_three_hints(hole):
    assert len(hole.wrong) >= 4
    assert len(hole.right) >= 2
    assert len(hole.hints) >= 3


@pytest.mark.parametrize("hole", HOLES, ids=id_of)
def test_the_stub_is_not_the_answer(hole):
    _, region = COURSE.part_of(hole).regions(COURSE.solutions)[hole.id]
    assert not course.is_open(hole, region.body)


@pytest.mark.parametrize("part", COURSE.parts, ids=lambda part: part.folder)
def test_a_part_equals_its_solutions_outside_the_regions(part):
    assert course.drift(COURSE, part, inside=False) == []
