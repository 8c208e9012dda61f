"""A repetition that ends in any way leaves nothing behind, and no command outlives it."""

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from record_fixtures import forked, is_gone, killed, needs_fork

from samerun.reproduce import leftovers, training
from samerun.reproduce.training import Start


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leftovers.PLACE, str(tmp_path / "cäche 1"))
    return leftovers.place()


def test_the_folder_is_gone_at_the_end_also_after_an_error() -> None:
    with leftovers.private_folder("run") as folder:
        (folder / "read-only").mkdir()
        (folder / "read-only" / "file").write_bytes(b"1")
        (folder / "read-only").chmod(0o500)
    with pytest.raises(ZeroDivisionError), leftovers.private_folder("run"):
        _ = 1 / 0
    assert list(leftovers.place().iterdir()) == []


@needs_fork
def test_folders_that_cannot_be_entered_go_and_no_link_in_them_is_followed() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to other users
        base, theirs = Path(name), Path(name, "theirs.txt")

        def work(say: Callable[[bytes], object]) -> None:
            if os.geteuid() == 0:  # whom nothing stops
                os.setuid(65534)
            theirs.write_bytes(b"of the person")
            theirs.chmod(0o600)
            (base / "folder" / "closed" / "inner").mkdir(parents=True)
            (base / "folder" / "read-only").mkdir()
            (base / "folder" / "read-only" / "link").symlink_to(theirs)
            (base / "folder" / "closed").chmod(0)
            (base / "folder" / "read-only").chmod(0o500)
            leftovers.remove(base / "folder")
            left = sorted(path.name for path in base.iterdir())
            say(f"{left} {theirs.stat().st_mode & 0o777:o}".encode())

        base.chmod(0o777)
        pid, said = forked(work)
        os.waitpid(pid, 0)
    assert said == b"['theirs.txt'] 600"


def test_two_folders_of_one_run_are_two() -> None:
    with leftovers.private_folder("run") as one, leftovers.private_folder("run") as other:
        assert one != other
        assert leftovers.remove_leftovers() == []
        assert one.exists() and other.exists()


@needs_fork
def test_what_a_killed_process_left_is_removed_by_the_next() -> None:
    def work(say: Callable[[bytes], object]) -> None:
        with leftovers.private_folder("run") as folder:
            (folder / "file").write_bytes(b"1")
            say(b"here")
            time.sleep(60)

    pid, _ = forked(work)
    (folder,) = [path for path in leftovers.place().iterdir() if path.is_dir()]
    with leftovers.private_folder("mine") as mine:
        assert leftovers.remove_leftovers() == []  # it lasts
        killed(pid)
        assert leftovers.remove_leftovers() == [folder]
        assert mine.exists() and not folder.exists()
    assert list(leftovers.place().iterdir()) == []


def test_a_folder_that_would_not_go_is_tried_again_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as busy:  # something still writes there, or has a file open
        busy.setattr(leftovers, "remove", lambda folder: None)
        with leftovers.private_folder("run") as folder:
            pass
        assert leftovers.remove_leftovers() == [] and folder.exists()
    assert leftovers.remove_leftovers() == [folder]
    assert list(leftovers.place().iterdir()) == []


def start(code: str, folder: Path) -> Start:
    return Start((sys.executable, "-c", code), folder, dict(os.environ))


FOR_EVER = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"


def test_a_command_says_how_it_ended_and_what_it_printed(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    code = (
        "import sys, time\nprint('first')\nprint('läst', flush=True)\ntime.sleep(0.5)\nsys.exit(3)"
    )
    heard: list[str] = []
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    words = (sys.executable, "-c", code)
    assert training.train(Start(words, tmp_path, variables), output, heard=heard.append) == 3
    assert heard == ["läst"]
    assert training.last_lines(output, 2) == "first\nläst"


def test_a_command_that_never_ends_is_stopped_in_time(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    assert training.train(start(FOR_EVER, tmp_path), output, timeout=1.0) is None
    assert is_gone(int(output.read_text()))


def test_a_command_that_started_others_takes_them_along(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {FOR_EVER!r}])\n"
    code += "import time\ntime.sleep(1)"
    assert training.train(start(code, tmp_path), output) == 0
    assert is_gone(int(output.read_text()))


def test_ctrl_c_ends_the_command(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"

    def cancel(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(start(FOR_EVER, tmp_path), output, heard=cancel)
    assert is_gone(int(output.read_text()))


@needs_fork
def test_a_command_ends_when_the_process_that_repeats_is_killed(tmp_path: Path) -> None:
    def work(say: Callable[[bytes], object]) -> None:
        training.train(
            start(FOR_EVER, tmp_path),
            tmp_path / "output.txt",
            heard=lambda line: say(line.encode()),
        )

    pid, said = forked(work)
    killed(pid)
    assert is_gone(int(said))


def test_a_command_reads_nothing_from_the_terminal(tmp_path: Path) -> None:
    code = "import sys\nsys.exit(len(sys.stdin.read()))"
    assert training.train(start(code, tmp_path), tmp_path / "output.txt", timeout=20) == 0


def test_words_of_a_sandbox_come_first(tmp_path: Path) -> None:
    wrapped = (sys.executable, "-c", "import sys; sys.exit(len(sys.argv))")
    found = training.train(start("1", tmp_path), tmp_path / "output.txt", sandbox=wrapped)
    assert found == 4  # "-c" and the three words of the command


def test_the_lifeline_needs_nothing_of_the_environment() -> None:
    from samerun.reproduce import lifeline

    alone = [sys.executable, "-I", "-S", lifeline.__file__, sys.executable, "-c", "exit(7)"]
    with subprocess.Popen(alone, stdin=subprocess.PIPE, env={}) as process:
        assert process.wait(20) == 7


def test_a_place_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(leftovers.PLACE, str(tmp_path / "file"))
    with pytest.raises(OSError) as found, leftovers.private_folder("run"):
        pass
    assert found.value.errno in (errno.ENOTDIR, errno.EEXIST)
