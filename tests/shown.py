"""Every command that the project shows to a person: in documents, slides, docstrings, messages."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from commands import ROOT

# What a line of a console block may begin with.
PROGRAMS = ("uv", "git", "cd", "ssh", "docker", "apt", "apt-get")
MARKDOWN = (
    "*.md",
    "slides/README.md",
    "packages/samerun/README.md",
    "solutions/*/README.md",
    "workshop/lifted/*/README.md",
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(uv (?:run|sync|add|lock) [^`\n]+)`")


@dataclass(frozen=True)
class Shown:
    """A command as it stands in a file.

    kind : "block" where it is the whole line, so that the block can be copied as it is; "beside"
        where an explanation stands beside it; "inline" in the middle of a sentence
    everywhere : whether it is for every shell; else for those of Unix alone, as on a cluster
    """

    text: str
    file: str
    kind: str
    everywhere: bool = True


def shown() -> list[Shown]:
    """Return all of them, each once a file, in the order of the files."""
    found = [*_markdown(), *_slides(), *_docstrings(), *_configuration(), *_notebooks(), *_hints()]
    return list(dict.fromkeys(found))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _command(line: str) -> str:
    """Return a line without the explanation that stands beside the command."""
    return re.split(r"\s{2,}", line.strip())[0]


def _is_command(line: str) -> bool:
    return line.split(" ")[0] in PROGRAMS


def _markdown() -> Iterator[Shown]:
    for pattern in MARKDOWN:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            for language, block in BLOCK.findall(text):
                if language in ("", "bash"):
                    for line in block.splitlines():
                        if _is_command(line):
                            yield Shown(line, _name(path), "block", language == "")
            for inline in INLINE.findall(BLOCK.sub("", text)):
                yield Shown(inline.removesuffix(" …"), _name(path), "inline")


def _slides() -> Iterator[Shown]:
    for path in sorted(ROOT.glob("slides/??/*.typ")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.match(r"uv |git ", line):
                yield Shown(_command(line), _name(path), "beside")


def _docstrings() -> Iterator[Shown]:
    for pattern in ("solutions/*/*.py", "benchmarks/*.py", "slides/figures/*.py", ".ci/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            for line in said.splitlines():
                if line.startswith("uv run "):
                    yield Shown(_command(line), _name(path), "beside")


def _configuration() -> Iterator[Shown]:
    for path in sorted(ROOT.glob("solutions/*/conf/**/*.yaml")):
        for line in re.findall(r"^# (uv .*)", path.read_text(encoding="utf-8"), re.M):
            yield Shown(_command(line), _name(path), "beside")


def _notebooks() -> Iterator[Shown]:
    for path in sorted(ROOT.glob("solutions/*/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for command in re.findall(r"uv run [^\"`\n]+", "".join(cell["source"])):
                yield Shown(_command(command), _name(path), "inline")


def _hints() -> Iterator[Shown]:
    for path in sorted(ROOT.glob("workshop/exercises/part?.toml")):
        for found in re.findall(r"uv run [^\"`\n]+?(?= : |[\"`,]|\.\s|$)", path.read_text("utf-8")):
            yield Shown(found.strip(), _name(path), "inline")
