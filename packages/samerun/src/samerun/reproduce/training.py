"""Running a command within a time, and ending it with this process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from samerun.reproduce import lifeline

LOOK = 0.2  # seconds between two looks at it
Heard = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """How to start a command: its words, its folder, all of its variables."""

    words: tuple[str, ...]
    folder: Path
    variables: dict[str, str]


def train(
    start: Start,
    output: Path,
    timeout: float | None = None,
    heard: Heard = lambda line: None,
    sandbox: Sequence[str] = (),
) -> int | None:
    """Run a command and return its exit status; None if it did not end in time.

    It ends with this process, even if this one is killed.

    Parameters
    ----------
    output : the file for what it prints
    timeout : in seconds
    heard : called with the last line that it printed, whenever there is a new one
    sandbox : words to put before the command, which lock it in
    """
    # -I -S: the lifeline takes nothing from the variables of the run, and starts at once.
    command = [sys.executable, "-I", "-S", lifeline.__file__, *sandbox, *start.words]
    began, before = time.monotonic(), ""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=start.folder,
            env=start.variables,
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C is for this process alone, which ends that one
        )
        try:
            while True:
                try:
                    return process.wait(LOOK)
                except subprocess.TimeoutExpired:
                    if (line := last_lines(output, 1)) != before:
                        heard(before := line)
                if timeout is not None and time.monotonic() - began > timeout:
                    return None
        finally:
            if process.stdin:
                process.stdin.close()  # the command ends now, if it has not
            process.wait()


def last_lines(output: Path, count: int) -> str:
    """Return the end of what a command printed."""
    with output.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4000))
        text = file.read().decode(errors="replace")
    lines = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return "\n".join(lines[-count:])
