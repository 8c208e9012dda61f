"""What the code imports is what pyproject.toml declares, by who needs it."""

import ast
import functools
import importlib.metadata
import itertools
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from commands import ROOT

from workshop import course

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LIBRARY = tomllib.loads((ROOT / "packages/samerun/pyproject.toml").read_text(encoding="utf-8"))
# Of a distribution there may be several that bring a module of one name; this is the one meant.
MEANT = {"mlflow": "mlflow", "google": "protobuf"}
# A project of one's own may have them, and samerun looks at them there. It imports none by itself.
OPTIONAL = {"hydra-core", "omegaconf", "scikit-learn", "skops", "submitit", "torch"}
FOR_HYDRA_ALONE = {ROOT / "packages/samerun/src/samerun/sweep.py"}  # a callback: Hydra imports it


def normal(name: str) -> str:
    """Return the name of a distribution as every index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(specifications: Iterable[str]) -> set[str]:
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in specifications}


PARTICIPANTS = names(PROJECT["project"]["dependencies"])
GROUPS = {group: names(lines) for group, lines in PROJECT["dependency-groups"].items()}
RECORD = names(LIBRARY["project"]["dependencies"])
EVERYTHING = PARTICIPANTS.union(*GROUPS.values())


def source(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = (cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    lines = "\n".join("".join(cell) for cell in cells).splitlines()
    return "\n".join(line for line in lines if not line.startswith("%"))


@functools.cache
def imported(path: Path, *, at_once: bool = False) -> tuple[str, ...]:
    """Return the modules that a file imports: all, or those that it cannot be imported without."""
    return tuple(_imported(path, at_once))


def _imported(path: Path, at_once: bool) -> Iterator[str]:

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if at_once and (typing or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(source(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not looked at here"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours."""
    base = {"workshop": ROOT, "samerun": ROOT / "packages/samerun/src"}.get(module.split(".")[0])
    if base is None:
        return None
    path = base.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


brought_by = functools.cache(importlib.metadata.packages_distributions)


def distributions(paths: Iterable[Path], *, at_once: bool = False) -> dict[str, Path]:
    """Return the distributions that files import from, each with a file that does."""
    brought = brought_by()
    found = {}
    for path in paths:
        for module in imported(path, at_once=at_once):
            top = module.split(".")[0]
            if top in brought and file_of(module) is None and top not in ("workshop", "samerun"):
                found.setdefault(normal(MEANT.get(top, brought[top][0])), path)
    return found


def reached(start: Iterable[Path]) -> set[Path]:
    """Return the files of the course that importing these brings along."""
    todo, done = list(start), set()
    while todo:
        path = todo.pop()
        if path not in done:
            done.add(path)
            files = map(file_of, imported(path, at_once=True))
            todo += [file for file in files if file and file.is_relative_to(ROOT / "workshop")]
    return done


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


COURSE = [
    path
    for path in python_files("workshop")
    if not path.is_relative_to(ROOT / "workshop/leaderboard")
    and path.name not in ("slides.py", "announced.py")
    and "tests" not in path.parts  # of a lifted project
]
SERVER = python_files("workshop/leaderboard")
PARTS = {
    part.folder: [
        path
        for path in sorted((ROOT / "solutions" / part.folder).rglob("*"))
        if path.suffix in (".py", ".ipynb") and ".ipynb_checkpoints" not in path.parts
    ]
    for part in course.load().parts
}
WHO = {
    **{part: (files, PARTICIPANTS) for part, files in PARTS.items()},
    "the course's commands": (COURSE, PARTICIPANTS),
    "the server": (SERVER, GROUPS["server"] | GROUPS["s3"]),
    "the slides": (
        [ROOT / "workshop/slides.py", ROOT / "workshop/announced.py", *python_files("slides")],
        PARTICIPANTS | GROUPS["slides"],
    ),
    "the benchmarks": (python_files("benchmarks"), EVERYTHING),
    "the tests": (
        python_files("tests") + python_files("packages/samerun/tests"),
        EVERYTHING | RECORD,
    ),
    "samerun": (python_files("packages/samerun/src"), RECORD | OPTIONAL),
}


@pytest.mark.parametrize("who", WHO)
def test_everything_imported_is_declared_for_those_who_need_it(who):
    files, declared = WHO[who]
    assert files
    lacking = {
        name: path.relative_to(ROOT).as_posix()
        for name, path in distributions(files).items()
        if name not in declared | {"samerun"}
    }
    assert lacking == {}


def test_what_samerun_merely_looks_at_is_not_needed_to_import_it():
    files = set(python_files("packages/samerun/src")) - FOR_HYDRA_ALONE
    assert distributions(files, at_once=True).keys() <= RECORD


def test_what_the_server_takes_from_the_course_is_declared_for_it_too():
    ours = {file_of(module) for path in SERVER for module in imported(path)} - {None}
    files = reached(path for path in ours if path.is_relative_to(ROOT / "workshop"))
    assert not files <= {*SERVER}  # it does take some
    assert distributions(files, at_once=True).keys() <= GROUPS["server"] | {"samerun"}


def test_a_participants_command_begins_without_the_packages_of_others():
    files = reached([ROOT / "workshop/cli.py"])
    assert len(files) > 3
    assert distributions(files, at_once=True).keys() <= PARTICIPANTS


def test_a_dependency_that_no_file_imports_says_what_it_is_for():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    for listed, files in (
        (PARTICIPANTS, [*COURSE, *itertools.chain.from_iterable(PARTS.values())]),
        (GROUPS["server"], SERVER),
    ):
        for name in listed - distributions(files).keys() - {"samerun"}:
            (first, *_) = [line for line in lines if re.match(rf'\s+"{name}[\[<>=]', line)]
            assert "#" in first, name


def test_torchvision_is_for_the_benchmarks_alone():
    assert {name for name, group in GROUPS.items() if "torchvision" in group} == {"maintain"}
    assert "torchvision" not in PARTICIPANTS


@pytest.fixture(scope="module")
def on_the_server() -> set[str]:
    """The packages that the image of the server installs, by the Dockerfile's own words."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (line,) = re.findall(r"uv export (.+?)\s*\\?\n", dockerfile)
    uv = os.environ.get("UV", "uv")
    done = subprocess.run(
        [uv, "export", *line.split(), "--frozen", "--offline", "--no-hashes", "--no-annotate"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return names(line for line in done.stdout.splitlines() if re.match(r"\w", line))


def test_the_servers_image_holds_what_the_server_needs(on_the_server):
    assert (GROUPS["server"] | GROUPS["s3"]) - {"samerun"} <= on_the_server
    assert on_the_server >= RECORD


def test_the_servers_image_holds_neither_jupyter_nor_pytorch(on_the_server):
    unwanted = {"jupyterlab", "ipywidgets", "ipykernel", "notebook", "torch", "torchvision"}
    unwanted |= {"pytest", "hydra-core", "optuna", "triton"}
    assert on_the_server & unwanted == set()


def test_whoever_types_uv_sync_gets_what_a_workshop_may_ask_for():
    defaults = set(PROJECT["tool"]["uv"]["default-groups"])
    assert defaults == GROUPS.keys() - {"maintain", "slides", "s3"}
