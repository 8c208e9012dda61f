"""Small changes of the answers: which are made, and that a check which sees too little is found."""

import pytest

from workshop import course, mutation, regions
from workshop.errors import WorkshopError
from workshop.mutants import mutants

COURSE = course.load()


def made(body, suffix=".py", indent=""):
    """Return the changes of a region with this body, as (before, after)."""
    lines = "\n".join(indent + line for line in ["##TODO 9.1## Do it.", *body, "##END##"])
    text = f"def answer(a, b):\n{lines}\n" if indent else f"{lines}\n"
    (region,) = regions.parse(text)
    return {(one.before, one.after) for one in mutants(text, region, suffix)}


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("a.append(b)", "pass"),
        ("return a + b", "return a - b"),
        ("return a < b", "return a <= b"),
        ("return a and b", "return a or b"),
        ("return not a", "return (a)"),
        ("return a[:3]", "return a"),
        ("return a[:3]", "return a[:(4)]"),
        ("return f(a, b)", "return f(b, a)"),
        ("return f(a, b=b)", "return f(a)"),
        ("return f(a, b=b)", "return f(a, b=None)"),
        ("return f(a, b)", "return f(b, b)"),
        ("return a.model + a.loss", "return a.model + a.model"),
        ("return a.detach()", "return a"),
        ("return f(True)", "return f(False)"),
        ('return f("train")', "return f('val')"),
        ("return [a, b]", "return [b]"),
        ("return {a: b, b: a}", "return {b: a}"),
        ("return [c for c in a if c]", "return [c for c in a if True]"),
        ("return a if b else b", "return b"),
    ],
)
def test_a_change_is_made(line, after):
    assert (line, after) in made([line], indent="    ")


def test_lines_that_follow_each_other_are_exchanged():
    assert ("a.step()\na.clear()", "a.clear()\na.step()") in made(["a.step()", "a.clear()"])


def test_a_line_is_done_twice():
    assert ("", "a.step()") in made(["a.step()"])


def test_types_are_left_alone():
    changed = made(["def double(c: int, d: str) -> int:", "    return int(str(c))"])
    assert "return str(str(c))" in {after for _, after in changed}
    assert "def double(c: str, d: str) -> int:" not in {after for _, after in changed}


def test_lines_outside_of_the_region_stay_as_they_are():
    text = "first = 1 + 2\n##TODO 9.1## Do it.\nsecond = 3\n##END##\nthird = 4\n"
    (region,) = regions.parse(text)
    changed = [one.text for one in mutants(text, region, ".py")]
    assert changed
    assert all(one.startswith("first = 1 + 2\n") and one.endswith("third = 4\n") for one in changed)


def test_the_lines_of_a_configuration_are_changed_too():
    changed = made(["C: 0.01 # small", "kind: models.CNN"], suffix=".yaml")
    assert ("C: 0.01 # small", "") in changed
    assert ("C: 0.01 # small", "C: 0.02") in changed
    assert ("kind: models.CNN", "kind: CNN") in changed


def test_a_check_notices_what_makes_an_answer_wrong(toy_course):
    judged = list(mutation.judge(toy_course, toy_course.holes["9.2"]))
    noticed = {one.mutant.after: one.noticed for one in judged}
    assert noticed["return 2 / number"] and noticed["return (3) * number"]


def test_a_check_that_sees_too_little_is_found(toy_course):
    script = toy_course.root / "exercises" / "part9.py"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("assert result == 42", "assert result"), encoding="utf-8")
    judged = list(mutation.judge(toy_course, toy_course.holes["9.2"]))
    assert "return 2 / number" in {one.mutant.after for one in judged if not one.noticed}


def test_what_is_listed_as_harmless_is_still_made_and_has_a_reason():
    listed = mutation.harmless()
    made = {one.key for hole in COURSE.holes.values() for one in mutation.of_hole(COURSE, hole)}
    assert set(listed) - made == set()
    assert all(listed.values())


def test_an_answer_of_ours_that_is_rejected_is_no_proof(toy_course):
    hole = toy_course.holes["9.2"]
    script = toy_course.solutions / hole.part / hole.file
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("return 2 *", "return 3 *"), encoding="utf-8")
    with pytest.raises(WorkshopError, match=r"9\.2 is rejected: double"):
        list(mutation.judge(toy_course, hole))
