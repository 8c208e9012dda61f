"""The command `workshop`: what it prints and its exit status."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from workshop import cli, course


@pytest.fixture
def toy(toy_course, monkeypatch):
    """Let the command find the toy course in place of the real one."""
    monkeypatch.setattr(course, "load", lambda: toy_course)
    return toy_course


def test_help_does_not_wait_for_slow_imports():
    code = "import sys; from workshop import cli; cli._parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"mlflow", "torch", "sklearn", "hydra", "rich"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("command", "status"), [(["hint", "2.3"], 0), (["check", "2.3"], 1), (["check", "part1"], 1)]
)
def test_what_runs_no_answer_does_not_wait_for_the_libraries(command, status):
    code = "import sys; from workshop import cli; code = cli.main(sys.argv[1:]); "
    code += "print(code, *sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    *_, (said, *loaded) = (line.split() for line in done.stderr.splitlines())
    assert said == str(status)
    assert not {"mlflow", "numpy", "torch", "sklearn", "hydra", "omegaconf"} & set(loaded)


def test_check_fails_while_a_hole_is_open(toy, solve, capsys):
    solve(toy, "9.1", "number: 5")
    assert cli.main(["check"]) == 1
    assert "1 of 4 done" in capsys.readouterr().out


def test_check_succeeds_when_all_is_done(toy, capsys):
    assert cli.main(["check", "--tree", str(toy.solutions)]) == 0
    assert "All 4 done" in capsys.readouterr().out


def test_an_unknown_todo_is_one_message_and_another_status(toy, capsys):
    assert cli.main(["check", "7.7"]) == 2
    assert "'7.7' is no part and no TODO" in capsys.readouterr().err
    assert cli.main(["hint", "7.7"]) == 2
    assert "There is no TODO '7.7'. There are: 9.1, 9.2" in capsys.readouterr().err


def test_a_tree_that_is_none_is_named(toy, capsys, tmp_path):
    assert cli.main(["check", "--tree", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_hint_prints_the_first_rung(toy, capsys):
    assert cli.main(["hint", "9.1"]) == 0
    assert "Any number will do." in capsys.readouterr().out


def test_trace_of_an_unknown_run_is_one_message(mlflow_store, capsys):
    assert cli.main(["trace", "0123"]) == 2
    assert capsys.readouterr().err.startswith("error: There is no run '0123'")


def test_a_trace_ends_in_the_command_of_the_course_that_repeats_the_run(monkeypatch):
    run, shown = SimpleNamespace(info=SimpleNamespace(run_id="0123abcd" * 4)), []
    monkeypatch.setattr("samerun.cli.picked", lambda options: run)
    monkeypatch.setattr(
        "samerun.display.screen.show", lambda run_id, reproduce: shown.append(reproduce)
    )
    assert cli.main(["trace", "latest"]) == 0
    assert shown == ["uv run workshop reproduce 0123abcd"]


def test_derive_check_reports_drift_by_its_exit_status(toy, solve, capsys):
    assert cli.main(["derive", "--check"]) == 0
    solve(toy, "9.2", "return 3")
    assert cli.main(["derive", "--check"]) == 1
    assert "part9_toy/train.py differs from the solutions" in capsys.readouterr().out


def test_derive_writes_the_parts_and_says_where_the_old_files_are(toy, solve, capsys):
    solve(toy, "9.2", "return 3")
    assert cli.main(["derive"]) == 0
    assert "is kept in" in capsys.readouterr().out
    assert cli.main(["derive", "--check"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_utf8_gets_the_table_all_the_same(encoding):
    done = subprocess.run(
        [sys.executable, "-m", "workshop.cli", "check", "1.1", "--tree", "solutions"],
        cwd=course.ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"1.1" in done.stdout
