"""`workshop watch`: every save is checked at once, and nothing that an answer does disturbs it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from watching import PATIENCE, filled, idle, replace_whole, until, watched

from workshop import checks
from workshop.watch.client import FORK
from workshop.watch.listener import NoEvents
from workshop.watch.state import Told

RIGHT = "return 2 * number"


def states(state) -> dict[str, str]:
    return {id: verdict.state for id, verdict in state.verdicts.items()}


def test_a_save_is_checked_and_the_verdict_comes_with_the_line_and_what_was_expected(toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", "return number")
            path.write_text(text, encoding="utf-8")
            state = await until(session, front, lambda s: s.verdicts["9.2"].state == "wrong")
            assert state.hole == "9.2", "what was saved is shown"
            return front.said

    said = "\n".join(asyncio.run(sit()))
    assert "checking TODO 9.2 ...\nTODO 9.2 wrong" in said
    assert "\n  part9_toy/train.py:9\n  double(21) is 21; expected 42" in said


def test_it_never_moves_on_by_itself(toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", RIGHT)
            path.write_text(text, encoding="utf-8")
            state = await until(session, front, lambda s: s.verdicts["9.2"].state == "done")
            assert (await until(session, front, idle)).hole == "9.2"
            session.press("n")
            assert session.state.hole == "9.3"
            return state

    asyncio.run(sit())


DISTURBING = {
    "exit": "exit()",
    "the end of the process": "import os\nos._exit(7)",
    "a crash of the interpreter": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "a loop": "while True:\n    pass",
    "another folder": "import os\nos.chdir('/')\nos.rmdir('nowhere')",
    "no environment": "import os\nos.environ.clear()\nreturn number",
    "closed files": "import os\nos.closerange(0, 256)\nreturn number",
    "threads": (
        "import threading, time\nfor _ in range(20):\n"
        "    threading.Thread(target=time.sleep, args=(1000,)).start()\nreturn number"
    ),
    "a fork": "import os\nos.fork()\nreturn number",
    "a process that stays": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\nreturn number"
    ),
    "much that it prints": (
        "print('x' * 10_000_000)\nimport os\nos.write(1, b'y' * 9_999)\nreturn number"
    ),
    "a question": "return int(input('?'))",
    "Ctrl+C": "raise KeyboardInterrupt",
}


@pytest.mark.skipif(not FORK, reason="processes take seconds to start here")
def test_whatever_an_answer_does_it_is_wrong_and_the_next_save_is_checked_as_ever(toy_course):
    async def sit():
        async with watched(toy_course, limit=10) as (session, front):
            path, _ = filled(toy_course, "9.2", RIGHT)
            for what, body in DISTURBING.items():
                path.write_text(filled(toy_course, "9.2", body)[1], encoding="utf-8")
                state = await until(
                    session, front, lambda s: idle(s) and s.verdicts["9.2"].state == "wrong"
                )
                assert state.verdicts["9.2"].message, what
                path.write_text(filled(toy_course, "9.2", RIGHT)[1], encoding="utf-8")
                await until(session, front, lambda s: idle(s) and s.verdicts["9.2"].state == "done")
            return front.said

    said = "\n".join(asyncio.run(sit()))
    assert "SIGSEGV" in said and "with status 7" in said and "does not end" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("fork", [True, False])
def test_the_verdicts_are_those_of_check(fork, toy_course):
    if fork and not FORK:
        pytest.skip("no fork here")
    bodies = {"9.1": "number: 5", "9.2": "return number", "9.4": "x = 1"}

    async def sit():
        async with watched(toy_course, fork=fork) as (session, front):
            for id, body in bodies.items():
                path, text = filled(toy_course, id, body)
                path.write_text(text, encoding="utf-8")
                await until(
                    session, front,
                    lambda s, id=id: idle(s) and s.verdicts[id].state not in ("open", "unknown"),
                )  # fmt: skip
            return session.state

    state = asyncio.run(sit())
    found = {r.hole.id: r for r in checks.results(toy_course, list(toy_course.holes.values()))}
    for id, result in found.items():
        assert state.verdicts[id].state == result.state
        assert state.verdicts[id].message == result.message


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("in place of the file", "done"),
        ("in two halves", "done"),
        ("twice", "done"),
        ("with line ends of Windows", "done"),
        ("with a swap file beside it", "done"),
        ("with a syntax error", "wrong"),
    ],
)
def test_every_way_of_saving_gives_one_verdict(how, expected, toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", RIGHT)
            before = len(front.said)
            match how:
                case "in place of the file":
                    replace_whole(path, text)
                case "in two halves":
                    path.write_bytes(text[: len(text) // 2].encode())
                    await asyncio.sleep(0.2)
                    path.write_bytes(text.encode())
                case "twice":
                    path.write_bytes(filled(toy_course, "9.2", "return 7")[1].encode())
                    await asyncio.sleep(0.01)
                    path.write_bytes(text.encode())
                case "with line ends of Windows":
                    path.write_bytes(text.replace("\n", "\r\n").encode())
                case "with a swap file beside it":
                    for name in (".train.py.swp", "4913", "train.py~", "#train.py#"):
                        path.with_name(name).write_bytes(b"b0VIM \xff")
                    path.write_bytes(text.encode())
                case "with a syntax error":
                    path.write_bytes(filled(toy_course, "9.2", "return 2 *")[1].encode())
            await until(session, front, lambda s: idle(s) and s.verdicts["9.2"].state == expected)
            return front.said[before:]

    said = asyncio.run(sit())
    verdicts = [line for line in said if line.startswith("TODO 9.2")]
    assert len(verdicts) == 1 and verdicts[0].startswith(f"TODO 9.2 {expected}")
    assert "Traceback" not in "\n".join(said)


@pytest.mark.parametrize("how", ["deleted", "a marker lost", "not UTF-8", "empty"])
def test_a_file_that_cannot_be_checked_is_one_message_and_it_goes_on_when_it_is_back(
    how, toy_course
):
    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", RIGHT)
            before = path.read_bytes()
            match how:
                case "deleted":
                    path.unlink()
                case "a marker lost":
                    path.write_bytes(before.replace(b"##END##", b"", 1))
                case "not UTF-8":
                    path.write_bytes(before + b"# \xe9\n")
                case "empty":
                    path.write_bytes(b"")
            state = await until(session, front, lambda s: s.broken != "")
            said = state.broken
            assert front.said.count(said) == 1
            path.write_bytes(text.encode())
            await until(session, front, lambda s: idle(s) and s.verdicts["9.2"].state == "done")
            return said

    said = asyncio.run(sit())
    assert "train.py" in said and "Traceback" not in said
    if how == "deleted":
        assert "git restore part9_toy/train.py" in said
    if how == "empty":
        assert "lost its markers" in said
    if how == "a marker lost":
        assert "has no ##END##" in said


def test_a_save_during_a_check_takes_its_place(toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", "import time\ntime.sleep(1000)")
            path.write_text(text, encoding="utf-8")
            await until(session, front, lambda s: s.running == ("9.2",) and s.warm)
            path.write_text(filled(toy_course, "9.2", RIGHT)[1], encoding="utf-8")
            await until(session, front, lambda s: idle(s) and s.verdicts["9.2"].state == "done")
            return front.said

    assert not any("9.2 wrong" in line for line in asyncio.run(sit()))


def test_where_no_events_come_the_files_are_looked_at_and_it_is_said(toy_course):
    async def sit():
        async with watched(toy_course, events=False) as (session, front):
            await until(session, front, lambda s: s.polling)
            path, text = filled(toy_course, "9.2", RIGHT)
            path.write_text(text, encoding="utf-8")
            await until(session, front, lambda s: s.verdicts["9.2"].state == "done")
            return front

    front = asyncio.run(sit())
    assert NoEvents() in front.events
    assert any("looked at" in line for line in front.said)


def test_events_that_stay_away_are_noticed(toy_course, monkeypatch):
    import watchfiles

    watch = watchfiles.awatch

    async def deaf(*folders, force_polling, **options):
        if force_polling:
            async for found in watch(*folders, force_polling=True, **options):
                yield found
        await asyncio.sleep(1000)

    monkeypatch.setattr(watchfiles, "awatch", deaf)

    async def sit():
        async with watched(toy_course) as (session, front):
            await until(session, front, lambda s: s.warm)  # it has long looked at the files
            for body, expected in ((RIGHT, "done"), ("return 1", "wrong"), (RIGHT, "done")):
                path, text = filled(toy_course, "9.2", body)
                path.write_text(text, encoding="utf-8")
                await until(
                    session, front,
                    lambda s, expected=expected: s.verdicts["9.2"].state == expected,
                )  # fmt: skip
            assert session.state.polling

    asyncio.run(sit())


def test_it_goes_on_where_one_stopped_and_no_hint_comes_twice(toy_course):
    async def sit(*keys):
        async with watched(toy_course) as (session, front):
            for key in keys:
                session.press(key)
            return front.said

    first = asyncio.run(sit("h", "n"))
    assert first[-3].startswith("TODO 9.2")
    second = asyncio.run(sit("b", "hint"))
    assert second[2].startswith("TODO 9.2"), "that is where one was"
    assert "hint 1 of 2: Any number will do." in first
    assert second[-1] == "hint 2 of 2: number: 3"


def test_reset_asks_once_and_keeps_what_was_written(toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", "return number")
            path.write_text(text, encoding="utf-8")
            await until(session, front, lambda s: idle(s) and s.verdicts["9.2"].state == "wrong")
            session.press("r")
            assert path.read_text(encoding="utf-8") == text
            session.press("r")
            await until(session, front, lambda s: s.verdicts["9.2"].state == "open")
            return text, front.said

    text, said = asyncio.run(sit())
    (kept,) = (toy_course.root / "outputs" / "replaced").rglob("train.py")
    assert kept.read_text(encoding="utf-8") == text
    assert any("is kept in outputs/replaced" in line for line in said)


def test_our_answer_is_shown_beside_ones_own_once_that_is_done(toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            session.press("n")
            session.press("d")
            assert "once yours is done" in front.said[-2]
            path, text = filled(toy_course, "9.2", "return number + number")
            path.write_text(text, encoding="utf-8")
            await until(session, front, lambda s: s.verdicts["9.2"].state == "done")
            session.press("d")
            await until(session, front, lambda s: isinstance(front.events[-1], Told))
            return front.said[-3:]

    assert {"-return number + number", "+return 2 * number"} <= set(asyncio.run(sit()))


def test_a_command_that_is_none_is_answered_with_those_there_are(toy_course):
    async def sit():
        async with watched(toy_course) as (session, front):
            session.press("jump")
            return front.said[-1]

    assert "'jump' is no command. There are: next, back, hint" in asyncio.run(sit())


def test_checks_that_cannot_be_loaded_are_one_message(toy_course):
    script = toy_course.root / "exercises" / "part9.py"
    script.write_text("import no_such_module\n", encoding="utf-8")

    async def sit():
        async with watched(toy_course) as (session, front):
            state = await until(session, front, lambda s: s.failed != "")
            return state.failed

    assert "no_such_module" in asyncio.run(sit())


def test_nothing_is_left_when_it_has_ended(toy_course, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(scratch))

    async def sit():
        async with watched(toy_course) as (session, front):
            path, text = filled(toy_course, "9.2", "import time\ntime.sleep(1000)")
            path.write_text(text, encoding="utf-8")
            await until(session, front, lambda s: s.running == ("9.2",) and s.warm)

    asyncio.run(sit())
    assert list(scratch.iterdir()) == []


SIT = """
import sys
from pathlib import Path
from workshop import course
from workshop.watch import command
root = Path(sys.argv[1])
sys.exit(command.watch(course.load(root, root / "exercises"), None))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["quit", "Ctrl+C"])
def test_as_a_command_it_reads_lines_and_ends_in_order(end, toy_course):
    if end == "Ctrl+C" and sys.platform == "win32":
        pytest.skip("no such signal")
    process = subprocess.Popen(
        [sys.executable, "-c", SIT, str(toy_course.root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, cwd=toy_course.root,
    )  # fmt: skip
    give_up = threading.Timer(PATIENCE, process.kill)
    give_up.start()
    try:
        said = [process.stdout.readline() for _ in range(5)]
        process.stdin.write("hint\nnöch\n".encode())
        process.stdin.flush()
        said += [process.stdout.readline() for _ in range(2)]
        if end == "quit":
            process.stdin.write(b"q\n")
            process.stdin.flush()
        else:
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    finally:
        give_up.cancel()
        process.kill()
    text = b"".join([*said, rest]).decode("ascii")
    assert process.returncode == 0
    assert "hint 1 of 2: Any number will do." in text
    assert "is no command" in text
    assert "Traceback" not in text


def test_the_place_of_a_file_is_relative_to_where_one_is(toy_course):
    from workshop.watch import view
    from workshop.watch.listener import snapshot
    from workshop.watch.state import begin

    part = toy_course.parts[0]
    state, _ = begin(part, snapshot(toy_course, part))
    look = view.Look(here=toy_course.root / "part9_toy")
    assert view.place(state, "9.2", look) == "train.py:9"
    assert view.place(state, "9.4", look) == "notes.ipynb, cell 2, line 1"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("end", [b"q", b"\x03"], ids=["q", "Ctrl+C"])
def test_on_a_terminal_it_draws_and_leaves_the_terminal_as_it_was(end, toy_course):
    import fcntl
    import pty
    import select
    import struct
    import termios
    import time

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    before = termios.tcgetattr(theirs)
    variables = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    variables |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [sys.executable, "-c", SIT, str(toy_course.root)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=variables, cwd=toy_course.root,
        start_new_session=True,
    )  # fmt: skip
    shown = b""
    give_up = time.monotonic() + PATIENCE

    def read_until(words: bytes) -> None:
        nonlocal shown
        while words not in shown:
            assert time.monotonic() < give_up, shown[-2000:]
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65536)

    try:
        read_until(b"TODO 9.1")
        path, text = filled(toy_course, "9.2", RIGHT)
        path.write_text(text, encoding="utf-8")
        read_until("✓".encode())
        os.write(ours, end)
        read_until(b"1 of 4 are known to be done; you were at TODO 9.2")
        assert process.wait(PATIENCE) == 0
        assert termios.tcgetattr(theirs) == before
        assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"\x1b[?1049h"), "the screen before"
        assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor"
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)


@pytest.mark.slow
@pytest.mark.skipif(not FORK, reason="each check is a process of its own here")
def test_five_hundred_checks_leave_the_warm_process_as_large_as_it_was(toy_course):
    import psutil

    from workshop.watch.client import Ended, Judged, Warm

    async def sit():
        messages: asyncio.Queue = asyncio.Queue()
        warm = Warm(toy_course, toy_course.parts[0], messages.put_nowait)
        warm.start()
        sizes, states = [], set()
        try:
            for job in range(1, 511):
                warm.submit(job, ["9.2"], 60)
                while not isinstance(
                    message := await asyncio.wait_for(messages.get(), PATIENCE), Ended
                ):
                    if isinstance(message, Judged):
                        states.add(message.state)
                if job in (10, 510):
                    (server,) = [
                        child
                        for child in psutil.Process().children()
                        if "workshop.watch.server" in child.cmdline()
                    ]
                    sizes.append((server.memory_info().rss, server.num_fds()))
        finally:
            await warm.close()
        return sizes, states

    path, text = filled(toy_course, "9.2", RIGHT)
    path.write_text(text, encoding="utf-8")
    ((size, files), (later, files_later)), states = asyncio.run(sit())
    assert states == {"done"}
    assert later - size < 5 * 2**20 and files_later == files


@pytest.mark.slow
@pytest.mark.skipif(not FORK, reason="each check is a process of its own here")
def test_the_wrong_answers_of_real_holes_get_the_verdicts_of_check(tmp_path):
    import dataclasses
    import shutil

    from workshop import course

    real = course.load()
    ignored = shutil.ignore_patterns(*course.LEFT_BEHIND)
    shutil.copytree(real.solutions, tmp_path / "solutions", ignore=ignored)
    for part in real.parts:
        solved = real.solutions / part.folder
        shutil.copytree(solved, tmp_path / part.folder, ignore=ignored)
    read = dataclasses.replace(real, root=tmp_path, parts=(real.part("2"),))
    answers = [
        (id, answer.body) for id in ("2.3", "2.6", "2.11") for answer in read.holes[id].wrong
    ]

    async def sit():
        async with watched(read) as (session, front):
            state = await until(session, front, idle)
            assert state.done == len(state.holes)
            for id, body in answers:
                seen = session.state.seen
                path, text = filled(read, id, body)
                ours = path.read_text(encoding="utf-8")
                path.write_text(text, encoding="utf-8")
                state = await until(
                    session, front, lambda s, seen=seen: s.seen is not seen and idle(s)
                )
                (alone,) = checks.results(read, [read.holes[id]])
                found = state.verdicts[id]
                assert (found.state, found.message) == (alone.state, alone.message)
                assert found.state != "done", body
                path.write_text(ours, encoding="utf-8")
                await until(
                    session, front,
                    lambda s, id=id: idle(s) and s.verdicts[id].state == "done",
                )  # fmt: skip

    asyncio.run(sit())


def test_a_job_that_is_ended_before_the_libraries_are_loaded_is_no_failure(toy_course):
    from workshop.watch.client import Ended, Warm

    async def sit():
        messages: asyncio.Queue = asyncio.Queue()
        warm = Warm(toy_course, toy_course.parts[0], messages.put_nowait, fork=False)
        warm.start()
        try:
            warm.submit(1, ["9.2"], 60)
            while warm._busy._process is None:
                await asyncio.sleep(0.01)
            warm.cancel()
            return await asyncio.wait_for(messages.get(), PATIENCE)
        finally:
            await warm.close()

    assert isinstance(asyncio.run(sit()), Ended)
