"""What `workshop watch` does and shows at each event: without files, processes or a terminal."""

import asyncio
import dataclasses
import re
import shlex
import sys
from pathlib import Path

import pytest
from prompt_toolkit.data_structures import Size
from rich.cells import cell_len

from workshop.course import ROOT, load
from workshop.watch import command, editor, memory, screen, view
from workshop.watch.client import Ended, Failed, Judged, Ready
from workshop.watch.listener import NoEvents, Saved, Snapshot, change, snapshot
from workshop.watch.state import Cancel, Check, Do, Pressed, Told, Verdict, begin, step

REAL = load()
LOOK = view.Look(here=ROOT)


@pytest.fixture
def part(toy_course):
    return toy_course.parts[0]


@pytest.fixture
def untouched(toy_course, part):
    return snapshot(toy_course, part)


def saved(seen: Snapshot, **bodies: str) -> Saved:
    """Return that regions were saved with these bodies: `saved(seen, h92="...")`."""
    found = dict(seen.regions)
    for name, body in bodies.items():
        id = f"{name[1]}.{name[2:]}"
        file, region = found[id]
        found[id] = (file, dataclasses.replace(region, body=body))
    return Saved(dataclasses.replace(seen, regions=found))


def after(state, *events):
    """Return the state after events, and all that was to be done."""
    done = []
    for event in events:
        state, effects = step(state, event)
        done += effects
    return state, done


def test_an_untouched_part_is_open_without_a_check(part, untouched):
    state, effects = begin(part, untouched)
    assert {verdict.state for verdict in state.verdicts.values()} == {"open"}
    assert effects == [] and state.hole == "9.1"


def test_a_changed_hole_is_checked_first_and_those_that_need_it_afterwards(part, untouched):
    state, _ = begin(part, saved(untouched, h93="print(number)").snapshot)
    state, _ = after(state, Judged(1, "9.3", "waiting", "for 9.2"), Ended(1, ""))
    event = saved(state.seen, h92="return 4")
    state, effects = after(state, event, Judged(2, "9.2", "done", ""), Ended(2, ""))
    assert effects == [Check(2, ("9.2",)), Check(3, ("9.3",))]


def test_a_hole_that_is_not_touched_is_not_checked(part, untouched):
    state, _ = begin(part, saved(untouched, h91="number: 5").snapshot)
    state, _ = after(state, Judged(1, "9.1", "done", ""), Ended(1, ""))
    _, effects = after(state, saved(state.seen, h94="answer = 42"))
    assert effects == [Check(2, ("9.4",))]


def test_other_code_of_the_part_lets_all_be_checked_again(part, untouched):
    state, _ = begin(part, saved(untouched, h91="number: 5", h94="answer = 42").snapshot)
    state, _ = after(
        state, Judged(1, "9.1", "done", ""), Judged(1, "9.4", "done", ""), Ended(1, "")
    )
    seen = dataclasses.replace(state.seen, around="something else")
    _, effects = after(state, Saved(seen))
    assert effects == [Check(2, ("9.1", "9.4"))]


def test_lines_that_only_moved_let_nothing_be_checked(part, untouched):
    state, _ = begin(part, untouched)
    file, region = untouched.regions["9.2"]
    moved = dataclasses.replace(region, line=region.line + 3, end=region.end + 3)
    state, effects = after(
        state,
        Saved(dataclasses.replace(untouched, regions=untouched.regions | {"9.2": (file, moved)})),
    )
    assert effects == [] and view.place(state, "9.2", view.Look()).endswith(f":{region.line + 3}")


def test_a_hole_that_is_a_stub_again_is_open_at_once(part, untouched):
    state, _ = begin(part, saved(untouched, h92="return 4").snapshot)
    state, effects = after(state, Judged(1, "9.2", "wrong", "no"), Ended(1, ""), Saved(untouched))
    assert state.verdicts["9.2"].state == "open" and effects == []


def test_a_save_during_a_check_cancels_it_and_its_verdict_counts_no_more(part, untouched):
    state, _ = begin(part, saved(untouched, h92="return 4").snapshot)
    state, effects = after(state, saved(state.seen, h92="return 5"))
    assert effects == [Cancel()]
    state, _ = after(state, Judged(1, "9.2", "done", ""))
    assert state.verdicts["9.2"].stale
    _, effects = after(state, Ended(1, "cancelled"))
    assert effects == [Check(2, ("9.2",))]


def test_a_save_between_a_verdict_and_the_end_of_its_process_waits_for_that(part, untouched):
    state, _ = begin(part, saved(untouched, h92="return 4").snapshot)
    state, effects = after(state, Judged(1, "9.2", "done", ""), saved(state.seen, h92="return 5"))
    assert effects == []
    assert after(state, Ended(1, ""))[1] == [Check(2, ("9.2",))]


def test_a_check_that_ends_its_process_is_to_blame_and_the_others_are_checked(part, untouched):
    seen = saved(untouched, h91="number: 5", h92="return 4", h94="answer = 42").snapshot
    state, effects = begin(part, seen, "9.1")
    state, more = after(
        state, Judged(1, "9.1", "done", ""), Ended(1, ""), Ended(2, "it ended"), Ended(2, "again")
    )
    assert [*effects, *more] == [
        Check(1, ("9.1",)), Check(2, ("9.2", "9.4")), Check(3, ("9.4",))
    ]  # fmt: skip
    assert state.verdicts["9.2"] == Verdict("wrong", "it ended")


def test_word_of_an_older_job_counts_for_nothing(part, untouched):
    state, _ = begin(part, saved(untouched, h92="return 4").snapshot)
    state, effects = after(
        state,
        Ended(1, "it ended"),
        saved(state.seen, h92="return 5"),
        Judged(1, "9.2", "done", ""),
        Ended(1, "it ended"),
    )
    assert state.verdicts["9.2"].stale and effects == [Check(2, ("9.2",))]


def test_while_a_file_is_broken_nothing_is_checked_and_then_what_was_left(part, untouched):
    seen = saved(untouched, h92="return 4").snapshot
    state, _ = begin(part, seen)
    state, effects = after(state, Saved(Snapshot({}, "", "lost")), Ended(1, "cancelled"))
    assert effects == [Cancel()] and state.broken == "lost"
    state, effects = after(state, Saved(seen))
    assert effects == [Check(2, ("9.2",))] and state.broken == ""


def test_a_part_that_is_broken_at_the_start_is_checked_when_it_is_mended(part, untouched):
    state, effects = begin(part, Snapshot({}, "", "lost"))
    assert effects == []
    _, effects = after(state, saved(untouched, h92="return 4"))
    assert effects == [Check(1, ("9.2",))]


def test_without_a_warm_process_it_says_so_and_tries_again_when_asked(part, untouched):
    state, _ = begin(part, saved(untouched, h92="return 4").snapshot)
    state, _ = after(state, Failed("no torch"))
    assert "No check is possible: no torch" in "\n".join(rows(state, 60))
    state, effects = after(state, Pressed("again"))
    assert effects == [Check(2, ("9.2",))] and state.failed == ""


def test_next_goes_to_what_is_not_done_and_back_to_the_one_before(part, untouched):
    seen = saved(untouched, h91="number: 5", h92="return 4", h93="print()").snapshot
    state, _ = begin(part, seen, "9.1")
    for id in ("9.1", "9.2"):
        state = dataclasses.replace(state, verdicts={**state.verdicts, id: Verdict("done")})
    state, _ = after(state, Pressed("next"))
    assert state.hole == "9.3"
    state, _ = after(state, Pressed("back"))
    assert state.hole == "9.2"
    state = dataclasses.replace(state, verdicts=dict.fromkeys(state.holes, Verdict("done")))
    state, _ = after(state, Pressed("next"))
    assert state.hole == "9.2" and state.panel.title == "All 4 are done."


def test_hints_come_one_by_one_and_then_no_more(part, untouched):
    state, _ = begin(part, untouched)
    shown = []
    for _ in range(3):
        before = state
        state, _ = after(state, Pressed("hint"))
        shown += view.lines(before, Pressed("hint"), state, LOOK)
    assert shown == [
        "hint 1 of 2: Any number will do.",
        "hint 2 of 2: number: 3",
        "There are no more hints.",
        "Our answer: solutions/part9_toy/conf/config.yaml",
    ]
    assert sum("Any number" in row for row in rows(state, 60)) == 1


def test_a_hint_stays_while_one_tries(part, untouched):
    state, _ = begin(part, untouched, "9.2")
    state, _ = after(state, Pressed("hint"), saved(untouched, h92="return 4"))
    assert any("Multiply." in row for row in rows(state, 60))


@pytest.mark.parametrize(
    ("verdict", "key", "done"),
    [
        (Verdict("wrong", "no"), "diff", []),
        (Verdict("done", stale=True), "diff", []),
        (Verdict("done"), "diff", [Do("diff", "9.2")]),
        (Verdict("wrong", "no"), "reset", []),
        (Verdict("wrong", "no"), "edit", [Do("edit", "9.2")]),
        (Verdict("wrong", "no"), "mlflow", [Do("mlflow", "9.2")]),
        (Verdict("wrong", "no"), "quit", [Do("quit", "9.2")]),
    ],
)
def test_a_key_does_what_it_says(verdict, key, done, part, untouched):
    state, _ = begin(part, untouched, "9.2")
    state = dataclasses.replace(state, verdicts={**state.verdicts, "9.2": verdict})
    assert after(state, Pressed(key))[1] == done


def test_reset_is_asked_for_twice_in_a_row(part, untouched):
    state, _ = begin(part, untouched, "9.2")
    state = dataclasses.replace(state, verdicts={**state.verdicts, "9.2": Verdict("wrong", "no")})
    assert after(state, Pressed("reset"), Pressed("hint"), Pressed("reset"))[1] == []
    assert after(state, Pressed("reset"), Pressed("reset"))[1] == [Do("reset", "9.2")]
    moved = after(state, Pressed("reset"), Pressed("back"), Pressed("next"), Pressed("reset"))
    assert Do("reset", "9.2") not in moved[1]


def test_where_a_reset_keeps_the_answer_stays_to_be_read(part, untouched):
    answered = dataclasses.replace(
        untouched,
        regions={
            **untouched.regions,
            "9.2": (
                untouched.regions["9.2"][0],
                dataclasses.replace(untouched.regions["9.2"][1], body="return 5\n"),
            ),
        },
    )
    state, _ = begin(part, answered, "9.2")
    told = dataclasses.replace(state, panel="kept in a folder", panel_key="reset")
    after_it, _ = after(told, Saved(untouched))
    assert after_it.panel == "kept in a folder"
    _, effects = after(after_it, Pressed("reset"))
    assert Do("reset", "9.2") not in effects


# What is shown


def rows(state, width: int, height: int = 30, signs=view.UNICODE) -> list[str]:
    drawn = screen.draw(state, Size(height, width), view.Look(signs, ROOT))
    return [row.plain.replace("\N{NO-BREAK SPACE}", " ") for row in drawn]


def every_state():
    """Yield a state for each hole of the course and each thing that is shown of it."""
    for part in REAL.parts:
        seen = snapshot(dataclasses.replace(REAL, root=ROOT), part)
        state, _ = begin(part, seen, hints={hole.id: len(hole.hints) for hole in part.holes})
        kinds = ["done", "wrong", "open", "waiting"]
        verdicts = {
            hole.id: Verdict(kinds[number % 4], "expected 3, from cfg.model " * 9, number % 5 == 4)
            for number, hole in enumerate(part.holes)
        }
        for hole in part.holes:
            shown = dataclasses.replace(state, verdicts=verdicts, hole=hole.id, polling=True)
            yield shown
            yield after(shown, Pressed("hint"))[0]
            yield after(shown, Pressed("help"))[0]
            yield after(shown, Told("A diff", ("-" + "x" * 300, "+short")))[0]
            yield after(shown, Failed("ModuleNotFoundError: no module named torch"))[0]


@pytest.mark.parametrize("signs", [view.UNICODE, view.ASCII])
def test_everything_fits_in_sixty_columns_and_twenty_four_rows(signs):
    for state in every_state():
        drawn = rows(state, 60, 24, signs)
        assert len(drawn) == 24
        assert max(cell_len(row) for row in drawn) <= 60
        assert any("quit" in row for row in drawn)
        assert any(f"TODO {state.hole}" in row for row in drawn)
        if signs is view.ASCII:
            own = "".join([*drawn[:3], *drawn[-4:]])  # the rest are the words of the course
            assert own.isascii()


def test_what_does_not_fit_can_be_scrolled_to():
    state = next(every_state())
    state, _ = after(state, Told("long", tuple(f"row {number}" for number in range(60))))
    assert not any("row 59" in row for row in rows(state, 60, 24))
    state, _ = after(state, *[Pressed("down")] * 30)
    assert any("row 59" in row for row in rows(state, 60, 24))
    state, _ = after(state, *[Pressed("up")] * 30)
    assert any(f"TODO {state.hole}" in row for row in rows(state, 60, 24))


def test_without_colours_nothing_is_lost():
    for state in every_state():
        text = "\n".join(rows(state, 100, 60))
        shown = view.word(state.verdicts[state.hole])
        assert re.search(rf"^. {'not checked' if state.failed and shown == 'checking' else shown}",
                         text, re.M)  # fmt: skip
        row = " ".join(rows(state, 100, 60)[2:4])
        for id, verdict in state.verdicts.items():
            assert f"{getattr(view.UNICODE, view.word(verdict))}{id}" in row


def test_only_colours_that_can_be_read_on_light_and_on_dark_are_used():
    for state in every_state():
        drawn = screen.ansi(screen.draw(state, Size(40, 100), LOOK), 100)
        codes = {
            code for found in re.findall(r"\x1b\[([\d;]*)m", drawn) for code in found.split(";")
        }
        assert codes <= {"0", "1", "2", "4", "31", "32"}


def test_every_key_is_explained():
    state, _ = after(next(every_state()), Pressed("help"))
    text = "\n".join(rows(state, 80, 80))
    for key, (name, _) in view.KEYS.items():
        assert f"{key}  {view.HELP[name]}"[:70] in text


def test_the_line_of_the_error_is_where_one_is_sent(part, untouched):
    state, _ = begin(part, untouched, "9.2")
    wrong = Verdict("wrong", "NameError: numbr (train.py, line 12)")
    state = dataclasses.replace(state, verdicts={**state.verdicts, "9.2": wrong})
    assert view.place(state, "9.2", LOOK).endswith("train.py:12")
    other = Verdict("wrong", "NameError: numbr (models.py, line 12)")
    state = dataclasses.replace(state, verdicts={**state.verdicts, "9.2": other})
    assert view.place(state, "9.2", LOOK).endswith("train.py:9")


def test_that_it_warms_up_is_said_until_it_has(part, untouched):
    state, _ = begin(part, saved(untouched, h92="return 4").snapshot, "9.2")
    assert any("as soon as the libraries are loaded" in row for row in rows(state, 80))
    state, _ = after(state, Ready())
    assert any(row.endswith("checking…") for row in rows(state, 80))


def test_a_folder_without_events_is_told(part, untouched):
    state, _ = begin(part, untouched)
    state, _ = after(state, NoEvents())
    assert any("looked at" in row for row in rows(state, 100))


# Keys, on a terminal that is none


def test_a_key_is_enough(toy_course):
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    from workshop.watch.session import Options, Session

    async def sit(keys: str):
        with create_pipe_input() as pipe:
            front = screen.Screen(LOOK, pipe, DummyOutput())
            session = Session(toy_course, toy_course.parts[0], front, Options())
            pipe.send_text(keys)
            await asyncio.wait_for(session.run(), 60)
            return session.state

    state = asyncio.run(sit("nhq"))
    assert state.hole == "9.2" and state.hints == {"9.2": 1}
    state = asyncio.run(sit("n\x03"))
    assert state.hole == "9.3"


# Around it


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_lines_for_whoever_asks_for_no_colour(variables, expected, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert command.drawable() is expected
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert command.drawable() is False


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", view.UNICODE), ("cp1252", view.ASCII), ("ascii", view.ASCII), (None, view.ASCII)],
)
def test_a_console_gets_signs_that_it_has(encoding, expected):
    assert command.signs(encoding) is expected


@pytest.mark.parametrize(
    ("asked", "words", "in_terminal"),
    [
        ("code --wait", ["--wait", "-g", "{file}:7"], False),
        ("vim", ["+7", "{file}"], True),
        ("emacs -nw", ["-nw", "+7", "{file}"], True),
        ("emacs", ["+7", "{file}"], False),
        ("pycharm", ["--line", "7", "{file}"], False),
        ("hx", ["{file}:7"], True),
        ("ed", ["{file}"], False),
    ],
)
def test_an_editor_is_told_the_line_in_its_own_way(asked, words, in_terminal, monkeypatch):
    monkeypatch.setattr(editor.shutil, "which", lambda name: f"/bin/{name}")
    file = Path("part 1/train.py")
    found = editor.at(file, 7, {"EDITOR": asked})
    assert list(found.words) == [
        f"/bin/{shlex.split(asked)[0]}",
        *(w.format(file=file) for w in words),
    ]
    assert found.in_terminal is in_terminal


def test_an_editor_that_is_not_there_is_none(monkeypatch):
    assert editor.at(Path("train.py"), 7, {"EDITOR": "no-such-editor"}) is None


def test_a_damaged_memory_is_none(toy_course):
    file = toy_course.root / memory.FILE
    memory.keep(toy_course, "part9_toy", "9.2", {"9.1": 1})
    assert memory.recall(toy_course) == memory.Memory("part9_toy", {"part9_toy": "9.2"}, {"9.1": 1})
    memory.keep(toy_course, "part9_toy", "9.3", {"9.2": 1})
    assert memory.recall(toy_course).hints == {"9.1": 1, "9.2": 1}
    for text in ("", "[]", "{}", '{"part": 1, "holes": 3, "hints": {}}', "{", '{"part": "9"}'):
        file.write_text(text, encoding="utf-8")
        assert memory.recall(toy_course) == memory.Memory()
    file.write_text('{"part": "x", "holes": {"x": "7.7"}, "hints": {"9.1": 99, "8.8": 1}}')
    assert memory.recall(toy_course) == memory.Memory("x", {}, {"9.1": 2})


def test_how_lines_end_makes_no_difference(toy_course, part, untouched):
    path = toy_course.root / "part9_toy" / "train.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    found = change(untouched, snapshot(toy_course, part))
    assert not found.holes and not found.around


def test_what_the_parts_import_is_known_to_the_warm_process():
    from workshop.watch.server import imported

    assert {"mlflow", "torch", "hydra"} <= set(imported(ROOT / "solutions/part2_mlp_cnn"))
    assert "models" not in imported(ROOT / "solutions/part2_mlp_cnn")
