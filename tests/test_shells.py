"""Whatever the project shows can be pasted into the shells that people have."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from commands import ROOT
from shown import BLOCK, MARKDOWN, PROGRAMS, Shown, shown

from samerun.command.quoting import quoted

SHOWN = shown()
ON_WINDOWS = os.name == "nt"  # where bash may be a stub, and people have PowerShell
BEGIN, END, WORD = "\x02", "\x03", "\x04"  # around the words that a shell made of a line

# Each program is replaced by one that prints what it was given. The shells are interactive, as for
# whoever pastes: only then zsh takes # for a word like any other, and ! for the history.
POSIX = r"""{}() {{ printf '\002'; printf '\004%s' {} "$@"; printf '\003'; }}"""
FISH = r"function {}; printf '\002'; printf '\004%s' {} $argv; printf '\003'; end"
SHELLS = {
    "bash": (POSIX, ["bash", "--norc", "--noprofile", "-i"]),
    "zsh": (POSIX, ["zsh", "-f", "-i"]),
    "fish": (FISH, ["fish", "--no-config"]),
}


def meant(command: Shown) -> list[str]:
    return shlex.split(command.text)


def needs(shell: str) -> None:
    if ON_WINDOWS or shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")


def pasted(shell: str, lines: list[str], folder) -> list[list[str]]:
    """Paste lines into a shell and return the words that it made of each; [] where it made none."""
    define, start = SHELLS[shell]
    typed = [define.format(program, program) for program in PROGRAMS]
    for line in lines:
        typed += [line, "printf '\\n'"]
    done = subprocess.run(
        start,
        input="\n".join([*typed, "exit", ""]),
        cwd=folder,
        env={**os.environ, "PS1": "", "PS2": "", "HISTFILE": "", "TERM": "dumb"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    said = done.stdout.split("\n")
    found = [
        [call.split(WORD)[1:] for call in re.findall(f"{BEGIN}(.*?){END}", line)] for line in said
    ]
    return [calls[0] if len(calls) == 1 else [] for calls in found[: len(lines)]]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_taken_as_it_is_meant(shell, tmp_path):
    needs(shell)
    taken = pasted(shell, [command.text for command in SHOWN], tmp_path)
    assert len(taken) == len(SHOWN)
    otherwise = {
        f"{command.file}: {command.text}": words
        for command, words in zip(SHOWN, taken, strict=True)
        if words != meant(command)
    }
    assert otherwise == {}


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "uv run train.py hidden=[1,2]"),
        ("zsh", "uv run train.py hidden=[1,2]"),
        ("fish", "uv run train.py hidden={1,2}"),
    ],
)
def test_what_a_shell_reads_in_its_own_way_is_noticed(shell, line, tmp_path):
    needs(shell)
    (tmp_path / "hidden=1").touch()  # without it, bash leaves brackets alone
    taken, following = pasted(shell, [line, "uv run a"], tmp_path)
    assert taken != shlex.split(line)
    assert following == ["uv", "run", "a"]


def test_no_word_is_bare_that_powershell_splits():
    """By rule, where there is no PowerShell to ask: it splits words at commas, for one."""
    bare = {}
    for command in SHOWN:
        if command.everywhere:
            words = shlex.shlex(command.text, posix=False, punctuation_chars=False)
            words.whitespace_split, words.commenters = True, ""
            wrong = [word for word in words if word[0] not in "\"'" and quoted(word) != word]
            if wrong:
                bare[f"{command.file}: {command.text}"] = wrong
    assert bare == {}


def test_no_line_for_every_shell_is_for_unix_alone():
    """Old PowerShells know no &&, and none knows NAME=value before a command or \\ at an end."""
    unix = re.compile(r"^\w+=\S* \w|\\$|&&")
    assert unix.search("A=1 uv run x") and unix.search("uv run \\") and unix.search("cd x && ls")
    found = [
        line
        for pattern in MARKDOWN
        for path in ROOT.glob(pattern)
        for language, block in BLOCK.findall(path.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if not language and unix.search(line)
    ]
    assert found == []


def test_powershell_takes_every_command_as_it_is_meant(tmp_path):
    shell = shutil.which("pwsh")
    if shell is None:
        pytest.skip("there is no PowerShell here")
    commands = [command for command in SHOWN if command.everywhere]
    show = tmp_path / "show.py"
    show.write_text("import json, sys; print(json.dumps(sys.argv[1:]))", encoding="utf-8")
    script = tmp_path / "pasted.ps1"
    call = f"& '{sys.executable}' '{show}' "
    # In PowerShell a program is called the same as a command, so its arguments are passed the same.
    script.write_text("\n".join(call + command.text for command in commands), "utf-8-sig")
    done = subprocess.run(
        [shell, "-NoProfile", "-NonInteractive", "-File", str(script)],
        capture_output=True,
        encoding="utf-8",
    )
    taken = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(taken) == len(commands), done.stderr
    for command, words in zip(commands, taken, strict=True):
        assert words == meant(command), command


REALLY = 'part2_mlp_cnn/train.py data=digits model=cnn "model.channels=[8,16,32]"'


@pytest.mark.slow
@pytest.mark.parametrize("shell", [*SHELLS, "pwsh"])
def test_a_command_is_really_run_from_a_shell(shell):
    (line,) = {c.text for c in SHOWN if REALLY in c.text and c.file.startswith("solutions")}
    line = line.replace("uv run ", "uv run --no-sync solutions/") + " --cfg job"
    if shell == "pwsh" and shutil.which(shell) is None:
        pytest.skip("there is no PowerShell here")
    if shell != "pwsh":
        needs(shell)
    done = subprocess.run([shell, "-c", line], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert "channels:\n  - 8\n  - 16\n  - 32\n" in done.stdout, done.stderr


def test_no_explanation_stands_in_a_block_that_can_be_copied():
    mixed = [c for c in SHOWN if c.kind == "block" and re.search(r"\s{2,}|\s#\s", c.text)]
    assert mixed == []


def test_commands_are_found_wherever_they_are_shown():
    places = {".md", ".typ", ".py", ".yaml", ".ipynb", ".toml"}
    assert {os.path.splitext(command.file)[1] for command in SHOWN} == places
    assert len([command for command in SHOWN if command.kind == "block"]) > 100
    readmes = sorted((ROOT / "solutions").glob("*/README.md"))
    assert {path.relative_to(ROOT).as_posix() for path in readmes} <= {c.file for c in SHOWN}
