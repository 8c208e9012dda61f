"""A part becomes a project of one's own that stands alone: `workshop lift`."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import warm
from commands import ROOT, call

from workshop import cli, course, lift, regions
from workshop.drive import Crash
from workshop.errors import WorkshopError

PARTS = ("part1", "part2", "part3")
# Of the licence the names of its owners are a part.
COURSE = re.compile(
    r"workshop|participant|\bTODO|##END##|leaderboard|solutions|competition|fashion|\bpart ?\d",
    re.I,
)
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Tester"), ("EMAIL", "tester@example.org"))
}


@pytest.fixture(autouse=True)
def identity(monkeypatch):
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def quick(monkeypatch):
    """Lock nothing: that is uv's own work, and takes seconds."""
    monkeypatch.setattr(lift, "_lock", lambda checkout, folder: [])


@pytest.fixture
def checkout(tmp_path):
    """A course whose participant has filled in everything."""
    read = course.load()
    root = tmp_path / "course"
    ignored = shutil.ignore_patterns("__pycache__", "outputs", "multirun", ".ipynb_checkpoints")
    for part in read.parts:
        shutil.copytree(read.solutions / part.folder, root / part.folder, ignore=ignored)
        shutil.copytree(read.solutions / part.folder, root / "solutions" / part.folder)
    shutil.copytree(ROOT / "packages", root / "packages", ignore=ignored)
    for name in ("LICENSE", "pyproject.toml", "uv.lock", ".python-version"):
        shutil.copy(ROOT / name, root / name)
    return replace(read, root=root)


def open_hole(read, id):
    hole = read.holes[id]
    path = read.root / hole.part / hole.file
    path.write_text(regions.fill(path.read_text("utf-8"), {id: hole.stub}), encoding="utf-8")


def make(read, part, folder, origin="auto"):
    return lift.lift(read, read.part(part), folder, origin)


def texts(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".git" not in path.relative_to(folder).parts:
            yield path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("part", PARTS)
def test_nothing_in_the_project_speaks_of_the_course(part, tmp_path, quick):
    make(course.load(), part, tmp_path / "mine", "solutions")
    for name, text in texts(tmp_path / "mine"):
        if not name.endswith("LICENSE"):
            found = COURSE.search(text)
            assert not found, f"{name}: {text[max(0, found.start() - 60) : found.end() + 30]}"


@pytest.mark.parametrize("part", PARTS)
def test_the_first_commit_holds_everything_and_leaves_out_what_runs_leave(part, tmp_path, quick):
    folder = tmp_path / "mine"
    make(course.load(), part, folder, "solutions")
    for left in ("mlflow.db", "mlartifacts/a", "outputs/b", "multirun/c", "data/d", ".venv/e"):
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).write_text("x", encoding="utf-8")
    git = ["git", "-C", str(folder)]
    said = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    assert said.stdout == ""
    said = subprocess.run([*git, "ls-files"], capture_output=True, text=True)
    expected = {
        "train.py", "data_source.py", "conf/config.yaml", "conf/data/digits.yaml", "pyproject.toml",
        ".python-version", ".gitignore", "README.md", "tests/test_repeats.py",
        "packages/samerun/src/samerun/run.py", "packages/samerun/LICENSE",
    }  # fmt: skip
    assert expected <= set(said.stdout.splitlines())
    assert "packages/samerun/tests" not in said.stdout


@pytest.mark.parametrize("part", PARTS)
def test_the_readme_says_what_every_script_is_for(part, tmp_path, quick):
    folder = tmp_path / "mine"
    make(course.load(), part, folder, "solutions")
    table = "\n".join(
        line for line in (folder / "README.md").read_text("utf-8").splitlines() if line[:1] == "|"
    )
    assert [path.name for path in folder.glob("*.py") if f"`{path.name}`" not in table] == []


@pytest.mark.parametrize("part", PARTS)
def test_the_code_has_no_import_too_many_and_none_too_few(part, tmp_path, quick):
    if shutil.which("ruff") is None:
        pytest.skip("ruff is not installed")
    make(course.load(), part, tmp_path / "mine", "solutions")
    check = ["ruff", "check", "--isolated", "--select", "F", "--line-length", "100", "."]
    done = subprocess.run(check, cwd=tmp_path / "mine", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dependencies_are_those_of_the_part(tmp_path, quick):
    for part in PARTS:
        make(course.load(), part, tmp_path / part, "solutions")
    listed = {part: (tmp_path / part / "pyproject.toml").read_text("utf-8") for part in PARTS}
    assert all('"samerun"' in text and '"hydra-core' in text for text in listed.values())
    assert {part for part in PARTS if '"torch' in listed[part]} == {"part2", "part3"}
    assert {part for part in PARTS if '"optuna' in listed[part]} == {"part3"}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my-project", "my-project"),
        ("Mön Projekt_2", "mon-projekt-2"),
        ("数据", "my-project"),
        ("torch", "torch-project"),
        ("samerun", "samerun-project"),
        ("-x-", "x"),
    ],
)
def test_any_folder_makes_a_name_that_a_package_may_have(folder, name, tmp_path, quick):
    make(course.load(), "part2", tmp_path / folder, "solutions")
    assert f'\nname = "{name}"\n' in (tmp_path / folder / "pyproject.toml").read_text("utf-8")
    assert f"\nexperiment: {name} #" in (tmp_path / folder / "conf/config.yaml").read_text("utf-8")


# ------------------------------------------------------------------------------------ whose code


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_filled_in_is_lifted_as_it_is(part, checkout, tmp_path, quick):
    mine = checkout.root / checkout.part(part).folder / "train.py"
    text = mine.read_text("utf-8").replace("log = logging", "# my own words\nlog = logging")
    mine.write_text(text, encoding="utf-8")
    made = make(checkout, part, tmp_path / "mine")
    assert made.own and not made.notes
    assert "# my own words" in (tmp_path / "mine" / "train.py").read_text("utf-8")


@pytest.mark.parametrize(("part", "hole"), [("part1", "1.3"), ("part2", "2.5"), ("part3", "3.1")])
def test_with_an_open_todo_the_solutions_are_taken_and_that_is_said(
    part, hole, checkout, tmp_path, quick
):
    open_hole(checkout, hole)
    made = make(checkout, part, tmp_path / "mine")
    assert not made.own
    assert made.notes == (
        f"It is made of our solutions, since in your {checkout.part(part).folder} these TODOs are "
        f"open: {hole}.",
    )
    with pytest.raises(WorkshopError, match=rf"TODOs are open: {hole}\. .*--from solutions"):
        make(checkout, part, tmp_path / "other", "own")


@pytest.mark.parametrize("hole", ["3.8", "3.9", "3.10"])
def test_what_stays_here_need_not_be_done(hole, checkout, tmp_path, quick):
    open_hole(checkout, hole)
    assert make(checkout, "part3", tmp_path / "mine").own


def test_a_tree_that_was_changed_where_it_matters_is_named(checkout, tmp_path, quick):
    mine = checkout.root / "part3_competition" / "conf" / "config.yaml"
    changed = mine.read_text("utf-8").replace("- tracking: local", "- tracking: shared")
    mine.write_text(changed, encoding="utf-8")
    with pytest.raises(WorkshopError, match=r"(?s)config\.yaml cannot be lifted.*--from solutions"):
        make(checkout, "part3", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


# ----------------------------------------------------------------------------------- bad targets


@pytest.mark.parametrize("kind", ["full", "file", "inside", "checkout", "no part"])
def test_a_target_that_cannot_be_used_is_one_message(kind, tmp_path, quick, capsys):
    target, part = tmp_path / "mine", "part2"
    if kind == "full":
        target.mkdir()
        (target / "thesis.tex").write_text("mine", encoding="utf-8")
    elif kind == "file":
        target.write_text("mine", encoding="utf-8")
    elif kind == "inside":
        target = ROOT / "my-project"
    elif kind == "checkout":
        target = ROOT
    else:
        part = "part7"
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["lift", part, str(target)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    expected = {
        "full": "is not empty", "file": "is no folder", "inside": "outside", "checkout": "outside",
        "no part": "no part of this workshop",
    }  # fmt: skip
    assert expected[kind] in said
    assert sorted(tmp_path.rglob("*")) == before and not (ROOT / "my-project").exists()


def test_an_empty_folder_is_filled(tmp_path, quick):
    (tmp_path / "mine").mkdir()
    make(course.load(), "part1", tmp_path / "mine", "solutions")
    assert (tmp_path / "mine" / "train.py").is_file()


def test_without_git_it_says_so_and_the_project_is_whole(tmp_path, quick, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["lift", "part1", str(tmp_path / "mine"), "--from", "solutions"]) == 0
    assert "Nothing is committed yet: git is not installed" in capsys.readouterr().out
    assert (tmp_path / "mine" / "train.py").is_file()


def test_git_that_does_not_know_its_user_says_what_to_type(tmp_path, quick, monkeypatch, capsys):
    for name in IDENTITY:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert cli.main(["lift", "part1", str(tmp_path / "mine"), "--from", "solutions"]) == 0
    assert "git config --global user.name" in capsys.readouterr().out


def test_packages_that_cannot_be_locked_now_are_locked_later(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    assert cli.main(["lift", "part1", str(tmp_path / "mine"), "--from", "solutions"]) == 0
    assert "not locked yet" in capsys.readouterr().out
    assert not (tmp_path / "mine" / "uv.lock").exists()


# -------------------------------------------------------------------- a model and its data, here


@pytest.mark.parametrize(
    ("script", "override", "message"),
    [
        ("part2_mlp_cnn/train.py", "+model.classes=3", r"\(2, 3\), expected \(2, 10\)"),
        ("part2_mlp_cnn/train.py", "+model.pixels=100", "cannot take the images.*28 x 28 pixels"),
        ("part3_competition/train.py", "+model.classes=12", r"\(2, 12\), expected \(2, 10\)"),
        ("part3_competition/train.py", "+model.side=32", "cannot take the images.*28 x 28 pixels"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_it_is_trained(
    script, override, message, mlflow_store, tmp_path
):
    with pytest.raises(Crash, match=message):
        call(ROOT / "solutions" / script, "data=digits", override, cwd=tmp_path)


# ------------------------------------------------------------------- it runs as its README says


def blocks(readme: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", readme.read_text("utf-8"), re.M | re.S)
    return [block for name, block in found if name == language]


def execute(folder: Path, line: str) -> str:
    """Run a command of the project's README with the packages of the course, samerun its own."""
    words = shlex.split(line)[2:]
    if words[0] == "samerun":
        words = ["-m", "samerun.cli", *words[1:]]
    elif not words[0].endswith(".py"):
        words = ["-m", *words]
    variables = {"PYTHONPATH": str(folder / "packages/samerun/src"), "MLFLOW_TRACKING_URI": ""}
    torch = any("import torch" in path.read_text("utf-8") for path in folder.glob("*.py"))
    done = warm.run(words, cwd=folder, env=os.environ | variables, torch=torch)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_all_that_the_readme_of_the_project_says_is_true(part, tmp_path, quick):
    """Every command, and the three steps to data of one's own, done to the letter."""
    folder = tmp_path / "mön próject"
    make(course.load(), part, folder, "solutions")
    readme = folder / "README.md"
    commands = [line for block in blocks(readme, "") for line in block.splitlines()]
    assert commands[0] == "uv run train.py"
    assert "uv run samerun trace RUN_ID" in commands and "uv run pytest" in commands

    (function,), (configuration,) = blocks(readme, "python"), blocks(readme, "yaml")
    source = folder / "data_source.py"
    reader, _, table = function.partition("\n\n\nREADERS")
    text = source.read_text("utf-8")
    old = re.search(r"^READERS.*\n", text, re.M)[0]
    text = text.replace(old, f"{reader}\n\n\nREADERS{table}")
    run_id, name = "", re.search(r"^name: (\w+)", configuration, re.M)[1]
    for line in commands:
        if "mlflow ui" in line:
            continue
        if f"data={name}" in line:
            source.write_text(text, encoding="utf-8")
            (folder / f"conf/data/{name}.yaml").write_text(configuration, encoding="utf-8")
        said = execute(folder, line.replace("RUN_ID", run_id))
        if found := re.findall(r"samerun trace (\w+)", said):
            run_id = found[-1]
    accuracy = float(re.search(r"test +accuracy (\d\.\d+)", said)[1])
    assert accuracy > 0.7
    trace = execute(folder, f"uv run samerun trace {run_id}")
    assert re.search(rf"dataset +{name}\s", trace)
    assert re.search(r"from +sklearn\.datasets\.load_", trace)
    assert re.search(r"changed +.*data_source.py", trace, re.S)


@pytest.mark.slow
def test_two_commands_lead_from_nothing_to_a_traced_run(tmp_path):
    """The real ones: uv locks, builds the library and installs, for the part without PyTorch."""
    folder = tmp_path / "mön próject"
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "SAMERUN_")) and name != "VIRTUAL_ENV"
    }
    first = [sys.executable, "-m", "workshop.cli", "lift", "part1", str(folder)]
    done = subprocess.run(
        [*first, "--from", "solutions"], cwd=ROOT, capture_output=True, encoding="utf-8", env=clean
    )
    assert done.returncode == 0, done.stderr
    second = done.stdout.splitlines()[-2:]
    assert second == [f'  cd "{folder}"', "  uv run train.py"]
    done = subprocess.run(
        ["uv", "run", "train.py"], cwd=folder, env=clean, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    run_id = re.search(r"uv run samerun trace (\w+)", done.stdout + done.stderr)[1]
    done = subprocess.run(
        ["uv", "run", "samerun", "trace", run_id],
        cwd=folder, env=clean, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert re.search(r"files +as committed", done.stdout)
    assert re.search(r"not as locked +none", done.stdout)
