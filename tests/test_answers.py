"""Beginning a TODO again, comparing an answer with ours, catching up: nothing is lost by it."""

import sys
from datetime import datetime
from pathlib import Path

import pytest

from workshop import answers, checks, cli, course


@pytest.fixture
def toy(toy_course, monkeypatch):
    monkeypatch.setattr(course, "load", lambda: toy_course)
    return toy_course


def body(read, id: str) -> str:
    return checks.region_of(read, read.holes[id])[1].body


def text(read, file: str) -> bytes:
    return (read.root / "part9_toy" / file).read_bytes()


def kept(read) -> list[Path]:
    folder = read.root / "outputs" / "replaced"
    return sorted(path for path in folder.rglob("*") if path.is_file())


def states(read) -> dict[str, str]:
    return {r.hole.id: r.state for r in checks.results(read, read.select(None))}


# reset


def test_reset_puts_one_stub_back_and_keeps_the_answer(toy, solve, capsys):
    before = text(toy, "train.py")
    solve(toy, "9.2", "return 3 * number")
    answered = text(toy, "train.py")
    assert cli.main(["reset", "9.2"]) == 0
    assert text(toy, "train.py") == before
    (copy,) = kept(toy)
    assert copy.read_bytes() == answered and copy.name == "train.py"
    out = capsys.readouterr().out
    assert "TODO 9.2 is open again" in out
    assert copy.parents[1].relative_to(toy.root).as_posix() in out


def test_reset_leaves_the_other_holes_and_the_code_around_them(toy, solve):
    solve(toy, "9.2", "return 2 * number")
    solve(toy, "9.3", "print(double(cfg.number))")
    path = toy.root / "part9_toy" / "train.py"
    path.write_bytes(path.read_bytes() + b"# a note of mine\n")
    cli.main(["reset", "9.2"])
    assert body(toy, "9.3") == "print(double(cfg.number))\n"
    assert text(toy, "train.py").endswith(b"# a note of mine\n")


@pytest.mark.parametrize("id, answer", [("9.1", "number: 4"), ("9.4", "answer = 42")])
def test_reset_works_in_yaml_and_in_notebooks(id, answer, toy, solve):
    file = toy.root / "part9_toy" / toy.holes[id].file
    before = file.read_bytes()
    solve(toy, id, answer)
    assert file.read_bytes() != before
    cli.main(["reset", id])
    assert file.read_bytes() == before


def test_an_open_hole_has_nothing_to_reset(toy, capsys):
    assert cli.main(["reset", "9.2"]) == 0
    assert "nothing to reset" in capsys.readouterr().out
    assert kept(toy) == []


def test_line_ends_of_windows_stay(toy, solve):
    solve(toy, "9.2", "return 5")
    path = toy.root / "part9_toy" / "train.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert cli.main(["reset", "9.2"]) == 0
    assert course.is_open(toy.holes["9.2"], body(toy, "9.2"))
    assert cli.main(["catch-up", "9"]) == 0
    assert set(states(toy).values()) == {"done"}
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n") > 0
    assert b"\r\r" not in path.read_bytes()


def test_several_resets_within_one_second_keep_every_answer(toy, solve, monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 1, 12, 0, 0)

    monkeypatch.setattr(answers, "datetime", Stopped)
    for answer in ("return 1", "return 2", "return 3"):
        solve(toy, "9.2", answer)
        cli.main(["reset", "9.2"])
    copies = [path.read_text("utf-8") for path in kept(toy)]
    assert [f"return {n}" in copy for n, copy in enumerate(copies, 1)] == [True, True, True]


@pytest.mark.skipif(sys.platform == "win32", reason="has no permissions of this kind")
def test_a_file_keeps_its_permissions(toy, solve):
    solve(toy, "9.2", "return 5")
    path = toy.root / "part9_toy" / "train.py"
    path.chmod(0o741)
    cli.main(["reset", "9.2"])
    assert path.stat().st_mode & 0o777 == 0o741


def test_lost_markers_are_told_and_nothing_is_written(toy, capsys):
    path = toy.root / "part9_toy" / "train.py"
    path.write_text(path.read_text("utf-8").replace("##TODO 9.2##", "# 9.2"), encoding="utf-8")
    before = path.read_bytes()
    for command in ("reset", "diff", "catch-up"):
        assert cli.main([command, "9.2" if command != "catch-up" else "9"]) == 2
        assert "9.2" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_file_as_it_was(toy, solve, monkeypatch):
    solve(toy, "9.2", "return 5")
    before = text(toy, "train.py")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answers.os, "replace", full)
    with pytest.raises(OSError):
        answers.reset(toy, toy.holes["9.2"], toy.root / "kept")
    assert text(toy, "train.py") == before
    assert not list((toy.root / "part9_toy").glob(".*unfinished"))


# diff


def test_diff_shows_both_answers(toy, solve, capsys):
    solve(toy, "9.2", "return number + number")
    assert cli.main(["diff", "9.2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "--- part9_toy/train.py"
    assert out[1] == "+++ solutions/part9_toy/train.py"
    assert "-return number + number" in out
    assert "+return 2 * number" in out


def test_the_same_answer_is_said_to_be_the_same(toy, solve, capsys):
    solve(toy, "9.2", checks.region_of(toy, toy.holes["9.2"], toy.solutions)[1].body)
    assert cli.main(["diff", "9.2"]) == 0
    assert "to the letter" in capsys.readouterr().out


def test_an_open_hole_does_not_give_the_answer_away(toy, capsys):
    assert cli.main(["diff", "9.2"]) == 2
    captured = capsys.readouterr()
    assert "workshop hint 9.2" in captured.err
    assert "number" not in captured.out


# catch-up


def test_catching_up_fills_what_is_open_or_wrong_and_keeps_what_is_right(toy, solve, capsys):
    solve(toy, "9.1", "number: 77")
    solve(toy, "9.2", "return number ** 2")  # wrong
    assert cli.main(["catch-up", "9"]) == 0
    assert body(toy, "9.1") == "number: 77\n"
    assert set(states(toy).values()) == {"done"}
    assert "TODO 9.2, 9.3, 9.4" in capsys.readouterr().out
    first = next(path for path in kept(toy) if path.name == "train.py")
    assert "return number ** 2" in first.read_text(encoding="utf-8")
    assert len([path for path in kept(toy) if path.name == "train.py"]) == 1


def test_catching_up_to_a_hole_leaves_it_and_all_after_it_open(toy):
    assert cli.main(["catch-up", "9.3"]) == 0
    assert states(toy) == {"9.1": "done", "9.2": "done", "9.3": "open", "9.4": "open"}


def test_who_is_done_need_not_catch_up(toy, capsys):
    cli.main(["catch-up", "9"])
    before = len(kept(toy))
    capsys.readouterr()
    assert cli.main(["catch-up", "9"]) == 0
    out = capsys.readouterr().out
    assert "all of it is done" in out and "is kept" not in out
    assert len(kept(toy)) == before


def test_before_the_first_hole_there_is_nothing_to_catch_up(toy, capsys):
    assert cli.main(["catch-up", "9.1"]) == 0
    assert states(toy)["9.1"] == "open"


def test_a_syntax_error_does_not_keep_anybody_from_catching_up(toy, solve):
    solve(toy, "9.2", "return (number")
    assert cli.main(["catch-up", "9"]) == 0
    assert set(states(toy).values()) == {"done"}


def test_what_a_participant_added_outside_of_the_holes_stays(toy):
    path = toy.root / "part9_toy" / "train.py"
    path.write_bytes(path.read_bytes() + b"# a note of mine\n")
    cli.main(["catch-up", "9"])
    assert text(toy, "train.py").endswith(b"# a note of mine\n")


def test_what_no_answer_of_ours_mends_is_named(toy, solve, capsys):
    solve(toy, "9.1", "number: 5")
    path = toy.root / "part9_toy" / "train.py"
    broken = path.read_text("utf-8").replace("number = double(cfg.number)", "number = 0")
    path.write_text(broken, encoding="utf-8")
    assert cli.main(["catch-up", "9"]) == 1
    out = capsys.readouterr().out
    assert "Still not done, since something else than these TODOs is wrong: 9.3" in out, out
    assert "workshop check 9.3" in out and "You need not" not in out


def test_a_wrong_answer_that_hides_another_does_not_save_it(toy, solve):
    solve(toy, "9.1", "number: 5")
    solve(toy, "9.2", "return nothing_like_it")
    solve(toy, "9.3", "print(-1)")
    assert cli.main(["catch-up", "9"]) == 0
    assert set(states(toy).values()) == {"done"}


@pytest.mark.parametrize("judged", [0, 1])
def test_who_interrupts_the_check_learns_what_was_replaced(judged, toy, solve, monkeypatch, capsys):
    solve(toy, "9.1", "number: 5")
    solve(toy, "9.2", "return number ** 2")  # wrong
    really = checks.results

    def interrupted(*asked):
        yield from list(really(*asked))[:judged]
        raise KeyboardInterrupt

    monkeypatch.setattr(checks, "results", interrupted)
    assert cli.main(["catch-up", "9"]) == 130
    out = capsys.readouterr().out
    assert "Our answers stand in TODO 9.3, 9.4." in out
    assert "outputs/replaced/" in out and "You need not" not in out and "Still" not in out
    assert body(toy, "9.2") == "return number ** 2\n"
    assert any(path.name == "train.py" for path in kept(toy))  # 9.3, which was open, has ours


def test_what_stood_before_the_first_round_is_kept_once(toy, solve):
    """A second round finds our answers in the file: they do not replace what was kept."""
    solve(toy, "9.1", "number: 5")
    solve(toy, "9.2", "return nothing_like_it")
    solve(toy, "9.3", "print(-1)")
    before = text(toy, "train.py")
    cli.main(["catch-up", "9"])
    (copy,) = [path for path in kept(toy) if path.name == "train.py"]
    assert copy.read_bytes() == before


def test_unknown_names_are_one_message(toy, capsys):
    for command in ("reset", "diff", "catch-up"):
        assert cli.main([command, "7.7"]) == 2
        assert "7.7" in capsys.readouterr().err
