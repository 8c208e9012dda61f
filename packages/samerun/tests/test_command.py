"""The command that repeats a run: that run alone, and in every shell."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from omegaconf import OmegaConf
from record_fixtures import FakeDataset, git
from rich.console import Console

from samerun.command import repeat
from samerun.command.quoting import command_line, fits_every_shell, quoted
from samerun.command.repeat import Command, command_for, repeating
from samerun.display import screen as view
from samerun.run import continue_run, start_run

WORDS = [
    "lr=0.1",
    "model.channels=[64, 32]",
    "seed=0,1",
    "x={a: 1}",
    "~model.dropout",
    "rate=${oc.env:RATE,1}",
    'name="two words"',
    "name=it's",
    "a=b*c?",
    "a\\b",
    "--a.b=1",
    "%x",
    "a!b",
    "é",
    "a`b",
    "=ls",
    "#x",
    "a&b;c|d>e<f",
    "",
]


pytestmark = pytest.mark.usefixtures("own_root")


# Quoting


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_command_can_be_pasted_into_a_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    line = command_line([sys.executable, "-c", show, *WORDS])
    done = subprocess.run([shell, "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert json.loads(done.stdout) == WORDS, done.stderr


@pytest.mark.parametrize("word", [word for word in WORDS if word != "é"])
def test_no_word_is_left_bare_that_powershell_or_zsh_would_change(word: str) -> None:
    bare = {"lr=0.1"}
    assert (quoted(word) == word) == (word in bare)
    if quoted(word).startswith('"'):
        assert not set(word) & set('$`"\\!')


def test_a_word_with_all_quotes_is_said_to_be_for_some_shells_only() -> None:
    assert fits_every_shell("it's") and fits_every_shell('"x"') and fits_every_shell("$x")
    assert not fits_every_shell("it's $x")


@pytest.mark.parametrize("typed", ["experiment=12e4", "+experiment=12e4"])
def test_a_name_that_hydra_takes_for_a_number_is_taken_as_typed(
    typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat, "hydra_overrides", lambda: ("seed=1", typed))
    assert repeat.typed_for("experiment", 120000.0) == "12e4"
    assert repeat.typed_for("experiment", "a name") == "a name"
    assert repeat.typed_for("group", 2024) == "2024"


def test_every_job_of_a_sweep_gets_the_name_that_was_typed() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    from hydra.core.override_parser.overrides_parser import OverridesParser

    typed = ["+a.study=12e4", "seed=0012", "study/kind=7", "b.study=1,2", "study=mine"]
    cfg = omegaconf.OmegaConf.create(
        {
            "a": {"study": 120000.0},
            "b": {"study": "default"},
            "seed": 10,
            "study": "mine",
            "hydra": {"overrides": {"task": typed}},
        }
    )
    omegaconf.OmegaConf.set_readonly(cfg.hydra, True)
    repeat.keep_as_typed(cfg, ["study"])
    assert cfg.a.study == "12e4" and cfg.seed == 10 and cfg.b.study == "default"
    first, *others = cfg.hydra.overrides.task
    assert OverridesParser.create().parse_override(first).value() == "12e4"
    assert others == typed[1:]


# What a plain script was given


def seen(cfg: dict, root: Path, **more: object) -> Command:
    return repeating(cfg, root, **more)


def test_a_plain_script_is_repeated_with_its_arguments_from_the_folder_it_was_typed_in(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "part").mkdir()
    monkeypatch.setattr(sys, "argv", ["../train.py", "--data", "x y.csv", "--token", "hunter2"])
    monkeypatch.chdir(checkout / "part")
    found = seen({}, checkout)
    assert found.directory == "part"
    assert found.words == ("uv", "run", "../train.py", "--data", "x y.csv", "--token", "***")
    assert found.notes == ("Put the secrets back where it says ***.",)


def test_outside_of_the_project_the_command_is_that_of_its_root(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py"), "--data", "x.csv"])
    monkeypatch.chdir(tmp_path)
    found = seen({}, checkout)
    assert (found.directory, found.words[2]) == (".", "train.py")
    assert str(tmp_path) in found.notes[0] and "relative paths" in found.notes[0]


def test_a_project_without_uv_is_repeated_by_python(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "uv.lock").unlink()
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(checkout)
    assert seen({}, checkout).words == ("python", "train.py")


def test_a_trial_is_repeated_by_the_script_that_trains(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "tune.py").touch()
    monkeypatch.setattr(sys, "argv", ["tune.py", "-m", "trials=9"])
    monkeypatch.chdir(checkout)
    found = seen({}, checkout, overrides=["lr=0.1"], script="train.py")
    assert found.words == ("uv", "run", "train.py", "lr=0.1")


def test_what_was_typed_into_python_says_so(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    found = seen({}, checkout)
    assert not found.words and "no file holds it" in found.notes[0]


def test_a_notebook_says_so(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        history_manager = SimpleNamespace(input_hist_raw=[""])
        get_ipython = staticmethod(
            lambda: SimpleNamespace(user_ns={}, history_manager=Shell.history_manager)
        )

    monkeypatch.setitem(sys.modules, "IPython", Shell)
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/explore.ipynb")
    launcher = Path(sys.prefix) / "lib" / "ipykernel_launcher.py"
    monkeypatch.setattr(sys, "argv", [str(launcher), "-f", "kernel.json"])
    found = seen({}, checkout)
    assert not found.words and "the notebook explore.ipynb" in found.notes[0]


def test_values_from_the_environment_are_named_with_their_variable(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("RATE", "0.5")
    monkeypatch.setenv("TOKEN", "hunter2")
    cfg = OmegaConf.create(
        {"lr": "${oc.env:RATE}", "seed": "${oc.env:SEED,3}", "api_key": "${oc.env:TOKEN}"}
    )
    assert seen(cfg, checkout).notes == (
        "Set RATE as it was: lr = 0.5.",
        "Set SEED as it was: seed = 3 (SEED was not set).",
        "Set TOKEN as it was: api_key = ***.",
    )


def test_the_line_that_runs_a_neighbour_is_right_where_it_is_read(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (checkout / "part").mkdir()
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py")])
    for folder, path in ((".", "evaluate.py"), ("part", "../evaluate.py")):
        monkeypatch.chdir(checkout / folder)
        assert command_for("evaluate.py", "run_id=0") == f"uv run {path} run_id=0"
    monkeypatch.chdir(tmp_path)
    words = ["uv", "run", "--project", str(checkout), f"{checkout}/evaluate.py"]
    assert command_for("evaluate.py") == command_line(words)


# Under Hydra

SCRIPT = """
import hydra, json, sys
from pathlib import Path
from samerun.command.repeat import repeating
@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    found = repeating(cfg, Path(__file__).parent)
    print("SEEN", json.dumps([found.directory, found.words, str(cfg.lr)]))
if __name__ == "__main__":
    main()
"""


def hydra_project(root: Path) -> Path:
    root.mkdir()
    for folder, name in (("conf", "config"), ("conf", "mine"), ("other", "config"), ("more", "m")):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}.yaml").write_text(f"lr: {folder}-{name}\n")
    (root / "train.py").write_text(SCRIPT)
    (root / "uv.lock").touch()
    return root


def said(folder: Path, *words: str) -> list:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [json.loads(line.removeprefix("SEEN ")) for line in lines if line.startswith("SEEN")]


CASES = [
    ([], []),
    (["--config-name", "mine", "lr=1"], ["--config-name", "mine", "lr=1"]),
    (["-cn", "mine.yaml"], ["--config-name", "mine"]),
    (["--config-path", "other"], ["--config-path", "other"]),
    (["--config-dir=more", "-cn=m"], ["--config-dir", "more", "--config-name", "m"]),
    (["hydra.job.chdir=true", "lr=[1, 2]"], ["hydra.job.chdir=true", "lr=[1, 2]"]),
    (["-m", "lr=1", "hydra.sweep.dir=x", "hydra/launcher=basic"], ["lr=1"]),
    (["-m", "-cn", "mine", "lr=1", "hydra/launcher=joblib"], ["--config-name", "mine", "lr=1"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "kept"), CASES, ids=lambda words: " ".join(words) or "nothing")
def test_under_hydra_the_command_repeats_this_run_alone(
    tmp_path: Path, typed: list[str], kept: list[str]
) -> None:
    root = hydra_project(tmp_path / "my project")
    ((directory, words, value),) = said(root, "train.py", *typed)
    assert (directory, words) == (".", ["uv", "run", "train.py", *kept])
    ((_, again, same),) = said(root, *words[2:])
    assert (again, same) == (words, value)


@pytest.mark.slow
def test_from_another_folder_the_command_is_right_there(tmp_path: Path) -> None:
    root = hydra_project(tmp_path / "project")
    (root / "sub").mkdir()
    ((directory, words, _),) = said(root / "sub", "../train.py", "--config-dir", "../more")
    assert (directory, words) == ("sub", ["uv", "run", "../train.py", "--config-dir", "../more"])


@pytest.mark.slow
def test_a_module_is_repeated_as_a_module_and_pythons_options_are_kept(tmp_path: Path) -> None:
    root = hydra_project(tmp_path / "project")
    ((_, words, _),) = said(root, "-X", "utf8", "-O", "-m", "train", "lr=3")
    assert words == ["uv", "run", "python", "-X", "utf8", "-O", "-m", "train", "lr=3"]
    ((_, words, _),) = said(root, "-O", "train.py", "lr=3")
    assert words == ["uv", "run", "python", "-O", "train.py", "lr=3"]


# Showing it


def test_a_continued_run_shows_the_commands_of_its_start_and_its_continuations(
    mlflow_store: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkout)
    cfg = {"experiment": "x"}
    monkeypatch.setattr(sys, "argv", ["train.py", "epochs=3"])
    with pytest.raises(KeyboardInterrupt), start_run(cfg, FakeDataset()) as active:
        raise KeyboardInterrupt
    for number in range(2):
        monkeypatch.setattr(sys, "argv", ["train.py", f"again={number}"])
        with continue_run(mlflow.get_run(active.info.run_id), cfg, FakeDataset()):
            pass
    view.show(active.info.run_id, Console(width=80))
    shown = capsys.readouterr().out
    places = [
        shown.index(f"uv run train.py {what}\n") for what in ("epochs=3", "again=0", "again=1")
    ]
    assert places == sorted(places)
    assert "Continued (2)" in shown and "interrupted and continued" in shown


@pytest.mark.parametrize(("folder", "path"), [(".", ".."), ("part", "../..")])
def test_the_worktree_lies_beside_the_checkout_wherever_one_reads(
    mlflow_store: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, folder: str, path: str
) -> None:
    (checkout / "part").mkdir()
    monkeypatch.chdir(checkout / folder)
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py")])
    with start_run({"experiment": "x"}, FakeDataset()) as active:
        pass
    run = mlflow.get_run(active.info.run_id)
    commands = view.repeat_commands(view.fetch(run), run, Path.cwd())
    name = f"{path}/repeat-{run.info.run_id[:8]}"
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert commands[:3] == [f"git worktree add --detach {name} {commit}", f"cd {name}", "uv sync"]
    script = "../train.py" if folder == "part" else "train.py"
    assert commands[3:] == ([] if folder == "." else ["cd part"]) + [f"uv run {script}"]
    assert subprocess.run(commands[0], shell=True, cwd=checkout / folder).returncode == 0
    assert (checkout.parent / name.rpartition("/")[2] / "train.py").exists()


def test_a_run_without_a_commit_says_what_is_missing(
    mlflow_store: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py")])
    with start_run({"experiment": "x"}, FakeDataset()) as active:
        pass
    run = mlflow.get_run(active.info.run_id)
    trace = view.fetch(run)
    trace = replace(trace, code=replace(trace.code, commit=None))
    assert view.repeat_commands(trace, run, checkout) == []
    assert any("names no commit" in note for note in view.repeat_notes(trace, checkout))


def test_away_from_a_clone_the_commands_begin_with_one(
    mlflow_store: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [str(checkout / "train.py")])
    with start_run({"experiment": "x"}, FakeDataset()) as active:
        pass
    run = mlflow.get_run(active.info.run_id)
    trace, elsewhere = view.fetch(run), tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert any("begin in one that has it" in note for note in view.repeat_notes(trace, elsewhere))
    trace = replace(trace, code=replace(trace.code, remote=checkout.as_posix()))
    commands = view.repeat_commands(trace, run, elsewhere)
    monkeypatch.chdir(elsewhere)
    line = " && ".join(commands[:3])
    assert subprocess.run(line, shell=True, capture_output=True).returncode == 0
    clone = tmp_path / f"repeat-{run.info.run_id[:8]}"
    assert git(clone, "rev-parse", "HEAD").strip() == trace.code.commit
