"""The commands that the documents show are commands that work."""

import re
import shlex

import pytest
from commands import CONFIGS, ROOT, composed, documented

from workshop import cli, course

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("solutions/*/README.md"))]
COMMANDS = sorted({" ".join(command) for path in DOCUMENTS for command in documented(path)})
SCRIPTS = [command for command in COMMANDS if any(f"/{name}" in command for name in CONFIGS)]


@pytest.mark.parametrize("command", SCRIPTS)
def test_the_configuration_of_a_documented_command_can_be_composed(command):
    assert composed(command)


def test_the_documents_show_commands_of_every_part():
    for part in course.load().parts:
        assert sum(part.folder in command for command in SCRIPTS) >= 10


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("uv run workshop ")])
def test_a_documented_command_of_the_workshop_is_one(command):
    words = shlex.split(command.removeprefix("uv run workshop "))
    assert cli._parser().parse_args(words).command


def test_every_todo_that_a_readme_names_exists():
    for part in course.load().parts:
        text = (ROOT / part.folder / "README.md").read_text(encoding="utf-8")
        named = set(re.findall(r"\*\*(\d\.\d+)\*\*", text))
        assert named == {hole.id for hole in part.holes}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
