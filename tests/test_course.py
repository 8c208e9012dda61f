"""The course and the trees derived from its solutions, on a toy course."""

import os
import shutil
from dataclasses import replace

import pytest

from workshop import checks, course
from workshop.errors import WorkshopError


def the_part(read):
    (part,) = read.parts
    return part


def test_the_derived_part_holds_the_stubs_and_is_else_equal(toy_course):
    derived = course.derive(toy_course, the_part(toy_course))
    script = next(content for file, content in derived.items() if file.name == "train.py").decode()
    solved = (toy_course.solutions / "part9_toy" / "train.py").read_text(encoding="utf-8")
    assert script == solved.replace(
        "    return 2 * number\n",
        '    raise NotImplementedError("TODO 9.2: return twice the number")\n',
    ).replace("    print(number)\n", "")


def test_a_freshly_derived_part_is_in_step(toy_course):
    part = the_part(toy_course)
    assert course.drift(toy_course, part, inside=True) == []


def test_every_kind_of_drift_is_named(toy_course):
    part = the_part(toy_course)
    folder = toy_course.root / "part9_toy"
    (folder / "extra.py").write_text("", encoding="utf-8")
    (folder / "conf" / "config.yaml").unlink()
    script = folder / "train.py"
    script.write_text(script.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert course.drift(toy_course, part, inside=True) == [
        "part9_toy/conf/config.yaml is missing",
        "part9_toy/train.py differs from the solutions",
        "part9_toy/extra.py is not in the solutions",
    ]


def test_a_filled_in_hole_is_drift_inside_but_not_outside_the_regions(toy_course, solve):
    part = the_part(toy_course)
    solve(toy_course, "9.2", "return 3")
    assert course.drift(toy_course, part, inside=False) == []
    assert course.drift(toy_course, part, inside=True)


def test_deriving_keeps_what_it_writes_over(toy_course, solve, tmp_path):
    solve(toy_course, "9.2", "return 'my work'")
    course.write(toy_course, the_part(toy_course), tmp_path / "kept")
    (kept,) = (tmp_path / "kept").rglob("train.py")
    assert "my work" in kept.read_text(encoding="utf-8")
    assert course.drift(toy_course, the_part(toy_course), inside=True) == []


def test_deriving_twice_does_nothing_the_second_time(toy_course, tmp_path):
    assert course.write(toy_course, the_part(toy_course), tmp_path / "kept") == []


def test_a_hole_without_description_is_named(toy_course):
    script = toy_course.solutions / "part9_toy" / "train.py"
    text = script.read_text(encoding="utf-8")
    script.write_text(text + "##TODO 9.9## More.\n##END##\n", encoding="utf-8")
    with pytest.raises(WorkshopError, match=r"9\.9"):
        course.load(toy_course.root, toy_course.root / "exercises")


@pytest.mark.parametrize("what", ["part9_toy", "part9_toy/", "part9", "9"])
def test_a_part_can_be_named_in_several_ways(toy_course, what):
    assert [hole.id for hole in toy_course.select(what)] == ["9.1", "9.2", "9.3", "9.4"]


def test_an_unknown_name_is_answered_with_the_known_ones(toy_course):
    with pytest.raises(WorkshopError, match=r"'2\.7'(.|\n)*part9_toy(.|\n)*9\.1, 9\.2"):
        toy_course.select("2.7")


@pytest.mark.parametrize(
    ("old", "told"),
    [
        ('folder = "part9_toy"\n', "part9.toml has no folder"),
        ('title = "twice the number"\n', "the hole 9.2 of part9.toml has no title"),
        ('why = "the square"\n', "a wrong answer of the hole 9.2 of part9.toml has no why"),
    ],
)
def test_a_key_that_a_description_lacks_is_named(old, told, toy_course):
    path = toy_course.root / "exercises" / "part9.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, "", 1), encoding="utf-8")
    with pytest.raises(WorkshopError, match=told):
        course.load(toy_course.root, toy_course.root / "exercises")


def test_a_hole_without_a_check_is_named(toy_course, solve):
    path = toy_course.root / "exercises" / "part9.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace('@check("9.2")\n', ""), encoding="utf-8"
    )
    solve(toy_course, "9.2", "return 2 * number")  # the check of an open one is not looked for
    with pytest.raises(WorkshopError, match=r"part9.py has no check of TODO 9\.2"):
        list(checks.results(toy_course, toy_course.select("9.2")))


def test_the_latest_open_todo_is_the_first_one_that_is_open(toy_course, solve):
    first, second = list(toy_course.holes)[:2]
    assert course.latest_open(toy_course).id == first
    solve(toy_course, first, "number = 1")
    assert course.latest_open(toy_course).id == second


def test_the_latest_open_todo_is_where_something_was_saved_last(tmp_path):
    read = course.load()
    for part in read.parts:
        shutil.copytree(read.root / part.folder, tmp_path / part.folder)
    copy = replace(read, root=tmp_path)
    for latest in read.parts:
        for part in read.parts:
            for file, _ in part.regions(tmp_path).values():
                os.utime(file, (10**9, 10**9 + (part == latest)))
        assert course.latest_open(copy).part == latest.folder


def test_if_no_todo_is_open_that_is_said(toy_course, solve):
    for id in toy_course.holes:
        solve(toy_course, id, "number = 1")
    with pytest.raises(WorkshopError, match="No TODO is open"):
        course.latest_open(toy_course)
