"""What a message tells people to type works where they read it."""

import ast
import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ROOT, call

from samerun import cli as samerun_cli
from workshop import advice, cli

PART = "part3_competition"
SOURCES = [
    # What is lifted is rewritten by patterns, which look like commands and are none.
    *(path for path in sorted((ROOT / "workshop").rglob("*.py")) if path.name != "rewrite.py"),
    *sorted((ROOT / "packages/samerun/src").rglob("*.py")),
    *sorted((ROOT / "solutions").glob("*/*.py")),
]
OURS = re.compile(r"uv run (?:--group \w+ )?(workshop|samerun) ([^\n`\"'()]+)")


def messages(path: Path) -> Iterator[str]:
    """Yield the texts of a file that are no docstrings, with X for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            yield "".join(
                str(value.value) if isinstance(value, ast.Constant) else "X"
                for value in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in documentation | inside:
            yield str(node.value)


MESSAGES = [(path, text) for path in SOURCES for text in messages(path) if "uv run" in text]
COMMANDS = sorted({found for _, text in MESSAGES for found in OURS.findall(text)})


def is_taken(program: str, words: list[str]) -> bool:
    parser = {"workshop": cli._parser, "samerun": samerun_cli._parser}[program]()
    with contextlib.suppress(SystemExit):
        parser.parse_args(words)
        return True
    return False


@pytest.mark.parametrize(("program", "words"), COMMANDS)
def test_a_command_in_a_message_is_one_that_there_is(program, words):
    # Behind the command a sentence may go on: some beginning of it must be all that is asked.
    given = re.split(r"[,.:] ", words + " ")[0].split()
    assert any(is_taken(program, given[:count]) for count in range(len(given), 0, -1))


def test_commands_are_found_in_messages():
    assert len(COMMANDS) > 20
    assert not is_taken("workshop", ["hind", "1.3"])


def test_no_message_names_the_script_of_a_part_by_a_path_that_counts_from_the_root():
    fixed = [
        f"{path.relative_to(ROOT)}: {text}"
        for path, text in MESSAGES
        if re.search(r"uv run (solutions/)?part\d_", text)
    ]
    assert fixed == []


@pytest.fixture
def typed_in(monkeypatch):
    """Let a script run that is typed in a folder."""

    def typed(folder: Path, running: Path | None = None) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(advice, "script_path", lambda: running)

    return typed


@pytest.mark.parametrize("folder", [".", PART, "part1_logistic_regression", "solutions", "tests"])
def test_a_script_of_a_part_is_named_from_every_folder_of_the_course(folder, typed_in):
    typed_in(ROOT / folder)
    _, _, path, argument = shlex.split(advice.part_command(PART, "submit.py", "run_id=best"))
    assert (ROOT / folder / path).resolve() == ROOT / PART / "submit.py"
    assert argument == "run_id=best"


def test_outside_of_the_course_the_command_names_the_project_too(typed_in, tmp_path):
    typed_in(tmp_path)
    words = shlex.split(advice.part_command(PART, "submit.py"))
    assert words == ["uv", "run", "--project", str(ROOT), str(ROOT / PART / "submit.py")]


@pytest.mark.parametrize("folder", [".", f"solutions/{PART}"])
def test_a_script_of_the_solutions_names_those_of_the_solutions(folder, typed_in):
    solved = ROOT / "solutions" / PART
    typed_in(ROOT / folder, running=solved / "train.py")
    path = shlex.split(advice.part_command(PART, "submit.py"))[2]
    assert (ROOT / folder / path).resolve() == solved / "submit.py"


def test_what_a_run_of_the_solutions_prints_is_right_in_the_folder_of_the_part(mlflow_store):
    folder = ROOT / "solutions" / "part2_mlp_cnn"
    said = call(folder / "train.py", "data=digits", "training.epochs=1", cwd=folder)
    (path,) = re.findall(r"uv run (\S+\.py) run_id=", said)
    assert (folder / path).resolve() == folder / "evaluate.py"
