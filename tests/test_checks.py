"""What `workshop check` says of a participant's tree, on a toy course."""

import pytest
from hydra.core.hydra_config import HydraConfig

from workshop import checks, report
from workshop.drive import Driver
from workshop.errors import WorkshopError

ANSWERS = {"9.1": "number: 5", "9.2": "return number + number", "9.3": "print(number)"}


def states(course, what="9"):
    return {r.hole.id: r.state for r in checks.results(course, course.select(what))}


def test_an_untouched_tree_is_all_open(toy_course):
    assert states(toy_course) == dict.fromkeys(["9.1", "9.2", "9.3", "9.4"], "open")


def test_the_solutions_are_all_done(toy_course):
    found = checks.results(toy_course, toy_course.select("9"), tree=toy_course.solutions)
    assert [(r.state, r.message) for r in found] == [("done", "")] * 4


def test_right_answers_of_ones_own_are_done(toy_course, solve):
    for id, body in ANSWERS.items():
        solve(toy_course, id, body)
    assert states(toy_course) == {"9.1": "done", "9.2": "done", "9.3": "done", "9.4": "open"}


def test_a_wrong_answer_is_wrong_and_the_message_states_what_was_expected(toy_course, solve):
    solve(toy_course, "9.2", "return number")
    (result,) = checks.results(toy_course, toy_course.select("9.2"))
    assert (result.state, result.message) == ("wrong", "double(21) is 21; expected 42")


def test_a_hole_that_needs_an_open_one_waits_for_it(toy_course, solve):
    solve(toy_course, "9.3", "print(number)")
    (result,) = checks.results(toy_course, toy_course.select("9.3"))
    assert (result.state, result.message) == (
        "waiting",
        "It can be checked when TODO 9.2 is done.",
    )


def test_an_error_in_one_hole_is_not_blamed_on_another(toy_course, solve):
    solve(toy_course, "9.1", "number: 5")
    solve(toy_course, "9.2", "return numbr")
    solve(toy_course, "9.3", "print(number)")
    found = {r.hole.id: r for r in checks.results(toy_course, toy_course.select("9"))}
    assert found["9.2"].state == "wrong"
    assert "NameError" in found["9.2"].message
    assert found["9.3"].state == "waiting"
    assert found["9.3"].message.startswith("TODO 9.2 stops the run: NameError")


def test_a_config_that_is_no_yaml_is_blamed_on_the_hole_in_it(toy_course, solve):
    solve(toy_course, "9.1", "number = {")
    (result,) = checks.results(toy_course, toy_course.select("9.1"))
    assert result.state == "wrong"


def test_a_syntax_error_is_told_with_its_line(toy_course, solve):
    solve(toy_course, "9.2", "return 2 *")
    (result,) = checks.results(toy_course, toy_course.select("9.2"))
    assert result.state == "wrong"
    assert "SyntaxError" in result.message
    assert "train.py, line 10" in result.message


def test_lost_markers_are_answered_with_the_way_back(toy_course):
    script = toy_course.root / "part9_toy" / "train.py"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("##TODO 9.3##", "#"), encoding="utf-8")
    with pytest.raises(WorkshopError):
        states(toy_course)


def test_a_script_leaves_nothing_behind_in_the_process(toy_course, solve):
    import os
    import sys

    solve(toy_course, "9.2", "return 2 * number")
    before = (dict(os.environ), list(sys.path), os.getcwd())
    states(toy_course, "9.3")
    assert (dict(os.environ), list(sys.path), os.getcwd()) == before


def test_a_command_leaves_no_hydra_job_behind(toy_course):
    said = Driver(toy_course.solutions / "part9_toy").command("train.py", "number=4")
    assert said == "8\n"
    assert not HydraConfig.initialized()


def test_the_table_names_the_first_open_hole_its_file_and_line(toy_course, solve, capsys):
    solve(toy_course, "9.1", "number: 5")
    report.table(list(checks.results(toy_course, toy_course.select("9"))), toy_course)
    said = capsys.readouterr().out
    assert "1 of 4 done. Next: TODO 9.2 in part9_toy/train.py, line 9" in said
    assert "uv run workshop hint 9.2" in said


def test_the_table_of_a_finished_part_points_to_the_answers(toy_course, capsys):
    found = list(checks.results(toy_course, toy_course.select("9.1"), tree=toy_course.solutions))
    report.table(found, toy_course)
    assert "solutions/part9_toy" in capsys.readouterr().out


def test_hints_come_one_by_one(toy_course, capsys):
    hole = toy_course.holes["9.1"]
    report.hint(hole, 1)
    said = capsys.readouterr().out
    assert "Any number will do." in said
    assert "number: 3" not in said
    assert "uv run workshop hint 9.1 2" in said
    report.hint(hole, 2)
    assert "number: 3" in capsys.readouterr().out


def test_a_hint_that_does_not_exist_is_answered_with_those_that_do(toy_course):
    with pytest.raises(WorkshopError, match="hints 1 to 2, not 3"):
        report.hint(toy_course.holes["9.1"], 3)
