"""What `workshop check` says of a participant's tree, on a toy course."""

import io
import os
import re
import shutil
import subprocess
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from workshop import checks, course, data, made_up, report
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


def test_one_syntax_error_is_one_wrong_hole(toy_course, solve):
    solve(toy_course, "9.1", "number: 5")
    solve(toy_course, "9.2", "return max(2 * number")  # noticed only below the region
    solve(toy_course, "9.3", "print(number)")
    found = list(checks.results(toy_course, toy_course.select("9")))
    said = {r.hole.id: r.state for r in found}
    assert said == {"9.1": "waiting", "9.2": "wrong", "9.3": "waiting", "9.4": "open"}


def test_what_stops_several_holes_is_said_once(toy_course, solve, capsys):
    solve(toy_course, "9.1", "number: 5")
    solve(toy_course, "9.2", "return 2 *")
    solve(toy_course, "9.3", "print(number)")
    report.table(list(checks.results(toy_course, toy_course.select("9"))), toy_course)
    said = capsys.readouterr().out
    assert said.count("A syntax error stops every run") == 1
    assert "TODO 9.1, 9.3 A syntax error stops every run" in said
    assert "Next: TODO 9.2" in said


ENDLESS = {
    "a loop": "while True:\n    pass",
    "a loop that catches what it can": (
        "while True:\n    try:\n        number += 1\n    except Exception:\n        pass"
    ),
    "a sleep": "import time\ntime.sleep(1000)",
}


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_does_not_end_is_stopped_and_its_line_named(
    body, toy_course, solve, monkeypatch
):
    monkeypatch.setattr(checks, "LIMIT", 0.5)
    solve(toy_course, "9.2", body)
    (result,) = checks.results(toy_course, toy_course.select("9.2"))
    assert result.state == "wrong"
    assert re.search(r"does not end.*\(train\.py, line \d+\)", result.message)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signal masks")
def test_an_answer_that_cannot_be_stopped_ends_the_check_with_a_message(toy_course, solve):
    deaf = "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
    solve(toy_course, "9.2", f"{deaf}while True:\n    time.sleep(1)")
    code = (
        "import sys; from pathlib import Path; from workshop import bounded, checks, course\n"
        "checks.LIMIT, bounded.AGAIN, bounded.GRACE = 0.5, 1, 2\n"
        "root = Path(sys.argv[1]); read = course.load(root, root / 'exercises')\n"
        "list(checks.results(read, read.select('9.2')))"
    )
    command = [sys.executable, "-c", code, str(toy_course.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(r"did not end within 0\.5 s .* in train\.py, line \d+", done.stderr)


@pytest.mark.parametrize(
    ("id", "body"),
    [("9.2", "exit()"), ("9.3", "exit()"), ("9.3", "import sys\nsys.exit(0)"), ("9.2", "quit(3)")],
)
def test_an_answer_that_ends_the_program_is_wrong(id, body, toy_course, solve):
    solve(toy_course, "9.2", "return 2 * number")
    solve(toy_course, "9.3", "print(number)")
    solve(toy_course, id, body)
    found = {r.hole.id: r for r in checks.results(toy_course, toy_course.select("9"))}
    assert found[id].state == "wrong"
    assert re.search(r"exit\(\).*train\.py, line \d+", found[id].message)


@pytest.mark.parametrize("body", ["breakpoint()", "input()", "import pdb\npdb.set_trace()"])
def test_an_answer_that_waits_for_somebody_to_type_is_wrong(body, toy_course, solve, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("7\n"))  # somebody does
    solve(toy_course, "9.2", f"{body}\nreturn 2 * number")
    (result,) = checks.results(toy_course, toy_course.select("9.2"))
    assert result.state == "wrong"
    assert re.search(r"train\.py, line \d+", result.message)


@pytest.mark.parametrize("id", ["9.2", "9.3"])
def test_ctrl_c_interrupts_and_calls_no_answer_wrong(id, toy_course, solve, capsys):
    solve(toy_course, "9.1", "number: 5")
    solve(toy_course, "9.2", "return 2 * number")
    solve(toy_course, "9.3", "print(number)")
    solve(toy_course, id, "raise KeyboardInterrupt")
    found = report.progress(checks.results(toy_course, toy_course.select("9")))
    assert [r.state for r in found] == ["done"] * len(found) and len(found) == int(id[-1]) - 1
    assert f"Interrupted after {len(found)} checks" in capsys.readouterr().err


def test_a_crash_names_the_run_that_the_check_had_asked_for(toy_course, solve):
    solve(toy_course, "9.2", "return 2 * number")
    solve(toy_course, "9.3", "print(numbr)")
    (result,) = checks.results(toy_course, toy_course.select("9.3"))
    assert "the check had run: train.py number=4" in result.message


def test_an_error_inside_a_library_names_the_line_that_called_it(toy_course, solve):
    solve(toy_course, "9.2", "return 2 * number")
    solve(
        toy_course,
        "9.3",
        "from hydra.utils import instantiate\ninstantiate({'_target_': 'json.loads', 's': '{'})",
    )
    (result,) = checks.results(toy_course, toy_course.select("9.3"))
    assert re.search(r"JSONDecodeError.*\(train\.py, line 21\)", result.message)


def test_after_one_check_the_next_open_hole_is_named(toy_course, solve, capsys):
    solve(toy_course, "9.1", "number: 5")
    report.table(list(checks.results(toy_course, toy_course.select("9.1"))), toy_course)
    assert "1 of 1 done. Next: TODO 9.2" in capsys.readouterr().out


def test_a_wrong_hole_comes_before_an_open_one(toy_course, solve, capsys):
    solve(toy_course, "9.2", "return number")
    report.table(list(checks.results(toy_course, toy_course.select("9"))), toy_course)
    assert "Next: TODO 9.2" in capsys.readouterr().out


def test_the_next_hole_comes_with_the_section_of_the_readme(toy_course, capsys):
    readme = toy_course.root / "part9_toy" / "README.md"
    readme.write_text("# Toy\n\n## 1. A number\n\n**9.1** Any.\n\n## 2. Rest\n", encoding="utf-8")
    report.table(list(checks.results(toy_course, toy_course.select("9"))), toy_course)
    assert "part9_toy/README.md, 1. A number" in capsys.readouterr().out


@pytest.mark.parametrize("left", ["nothing", "the end"])
def test_lost_markers_are_answered_with_the_way_back(left, toy_course):
    script = toy_course.root / "part9_toy" / "train.py"
    lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
    begin = next(i for i, line in enumerate(lines) if "##TODO 9.3##" in line)
    end = next(i for i, line in enumerate(lines) if i > begin and "##END##" in line)
    rest = lines[:begin] + lines[end if left == "the end" else end + 1 :]
    script.write_text("".join(rest), encoding="utf-8")
    with pytest.raises(WorkshopError, match=r"TODO 9\.3 .*lost its markers") as told:
        states(toy_course)
    above, region = re.search(
        r"below the line\n    (.*)\n  put\n(.*##END##)\n", str(told.value), re.S
    ).groups()
    rest = lines[:begin] + lines[end + 1 :]
    place = next(i for i, line in enumerate(rest) if line.strip() == above)
    rest.insert(place + 1, f"{region}\n")
    script.write_text("".join(rest), encoding="utf-8")
    assert states(toy_course)["9.3"] == "open"


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
    report.table(found, toy_course, toy_course.solutions)
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


def test_the_data_that_the_checks_make_up_are_unlike_those_of_the_course():
    made, digits = made_up.gratings(), data.load_dataset("digits")
    for kind in ("name", "digest", "mean", "std"):
        assert getattr(made, kind) != getattr(digits, kind)
    assert len(made.classes) not in (len(digits.classes), len(data.CLASSES))
    assert not set(made.classes) & {*digits.classes, *data.CLASSES}
    assert made.train.images.shape[1:] != digits.train.images.shape[1:]
    sizes = [len(getattr(made, name)) for name in ("train", "val", "test")]
    assert len(set(sizes)) == 3 and len(digits.train) not in sizes


def test_the_data_that_the_checks_make_up_can_be_had_in_a_check_alone():
    with made_up.available():
        assert data.load_dataset(made_up.NAME).classes == made_up.CLASSES
    with pytest.raises(WorkshopError, match="no data set 'gratings'"):
        data.load_dataset(made_up.NAME)


def test_a_part_that_computes_portably_is_checked_in_the_same_process(tmp_path, monkeypatch):
    from samerun.machine import portable

    monkeypatch.setattr(portable, "_replace_process", lambda *_: pytest.fail("started again"))
    folder = tmp_path / "part2_mlp_cnn"
    shutil.copytree(course.load().solutions / folder.name, folder)
    conf = folder / "conf/config.yaml"
    text = conf.read_text(encoding="utf-8").replace("portable: false", "portable: true")
    assert "portable: true" in text
    conf.write_text(text, encoding="utf-8")
    part = Driver(folder)
    small = ("data=digits", "training.epochs=1", "training.batch_size=100")
    assert part.run("train.py", *small).run.info.status == "FINISHED"
    assert OmegaConf.create(part.command("train.py", "--cfg", "job")) == part.compose()


def test_an_answer_of_the_same_length_within_the_same_second_is_another_answer(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    models, found = tmp_path / "models.py", []
    for value in (1, 2):
        models.write_text(f"VALUE = {value}\n", encoding="utf-8")
        os.utime(models, (10**9, 10**9))
        found.append(Driver(tmp_path).load("models.py").VALUE)
    assert found == [1, 2]
