"""Configuration, data and remote of a run, what it imports later, and where nothing is writable."""

import hashlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from record_fixtures import FakeDataset, git
from test_imported import COLLECT, commit, restored, run, write

from samerun import dataset, trace
from samerun.code import checkout as code
from samerun.code import repository
from samerun.code.known import KnownFile
from samerun.display import screen as view
from samerun.run import start_run

# The configuration


@pytest.fixture
def configured(checkout: Path) -> Path:
    """A project whose train.py is configured by Hydra and collects its trace."""
    write(
        checkout,
        collecting=COLLECT,
        train="""
            from collecting import collected
            import hydra, os
            @hydra.main(version_base=None, config_path="conf", config_name="config")
            def main(cfg):
                exec(os.environ.get("EDIT", ""))
                collected(cfg)
            main()
        """,
    )
    (checkout / "conf" / "model").mkdir(parents=True)
    (checkout / "conf" / "config.yaml").write_bytes(b"defaults: [{model: small}, _self_]\n")
    (checkout / "conf" / "model" / "small.yaml").write_bytes(b"width: 1\n")
    (checkout / ".gitignore").write_bytes(b"outputs\nmultirun\n")
    commit(checkout)
    return checkout


def test_every_file_of_the_configuration_is_known_by_its_digest(configured: Path) -> None:
    (seen,) = run(configured)
    small = seen.file("conf/model/small.yaml")
    digest = hashlib.sha256(b"width: 1\n").hexdigest()
    assert small["kind"] == "configuration" and small["held"] == "commit"
    assert (small["sha256"], small["size"]) == (digest, 9)
    assert seen.file("conf/config.yaml") and seen.trace["code"]["uncertain"] == []
    assert not seen.trace["code"]["dirty"]


@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "to be overlooked"])
def test_a_configuration_that_git_does_not_show_is_in_the_patch(
    configured: Path, tmp_path: Path, ignored: bool
) -> None:
    if ignored:
        (configured / ".git" / "info" / "exclude").write_text("local.yaml\n")
        file = configured / "conf" / "model" / "local.yaml"
    else:
        git(configured, "update-index", "--skip-worktree", "conf/model/small.yaml")
        file = configured / "conf" / "model" / "small.yaml"
    file.write_bytes(b"width: 3\n")
    (seen,) = run(configured, "train.py", f"model={file.stem}")
    assert seen.trace["config"] == {"model": {"width": 3}} and seen.trace["code"]["dirty"]
    again = restored(configured, tmp_path, seen)
    assert (again / file.relative_to(configured)).read_bytes() == b"width: 3\n"


def test_a_secret_of_an_ignored_configuration_is_not_stored(configured: Path) -> None:
    (configured / ".git" / "info" / "exclude").write_text("credentials.yaml\n")
    (configured / "conf" / "model" / "credentials.yaml").write_bytes(b"token: hunter2\n")
    (seen,) = run(configured)
    assert "hunter2" not in seen.patch + json.dumps(seen.trace)
    assert seen.file("conf/model/credentials.yaml")["held"] == "nowhere"


def test_a_configuration_that_is_edited_after_it_was_composed_is_uncertain(
    configured: Path,
) -> None:
    change = "import time; time.sleep(0.05); open('conf/model/small.yaml', 'w').write('width: 2')"
    (seen,) = run(configured, EDIT=change)
    assert seen.trace["config"] == {"model": {"width": 1}}
    assert seen.trace["code"]["uncertain"] == ["conf/model/small.yaml"]


# The data


def test_the_files_of_the_data_are_named_with_digest_and_size(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    (checkout / "table.csv").write_bytes(b"1,2\n")
    commit(checkout)
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"png")
    data = dataset("both", checkout / "table.csv", images)
    files = trace.collect({}, data, checkout).files
    found = {file.path: file for file in files if file.kind == "data"}
    table = KnownFile("table.csv", "data", hashlib.sha256(b"1,2\n").hexdigest(), 4, "commit")
    assert found["table.csv"] == table
    assert found[str((images / "a.png").resolve())].sha256 == hashlib.sha256(b"png").hexdigest()


def test_a_data_set_may_hand_over_the_digests_that_it_has(checkout: Path) -> None:
    known = KnownFile("/nowhere/huge.bin", "data", "ab" * 32, 10**12)
    data = SimpleNamespace(name="d", digest="0", source="s", files=[known])
    assert known in trace.collect({}, data, checkout).files


def test_a_missing_file_of_the_data_costs_only_its_own_line(checkout: Path) -> None:
    data = SimpleNamespace(name="d", digest="0", source="s", files=[checkout / "gone.csv"])
    seen = trace.collect({}, data, checkout)
    assert "gone.csv" in seen.problems["files of the data"] and seen.data and seen.code.commit


# The remote


@pytest.fixture
def clone(checkout: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(checkout), "a clone")
    return tmp_path / "a clone"


def warnings_of(root: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    code._warn_once.cache_clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        trace.collect({}, None, root)
        trace.collect({}, None, root)
    return [record.message for record in caplog.records]


def test_a_commit_that_others_can_get_is_no_warning(
    clone: Path, checkout: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings_of(clone, caplog) == []
    seen = trace.collect({}, None, clone).code
    assert (seen.remote, seen.pushed) == (str(checkout), True)


def test_a_commit_that_only_this_clone_has_is_warned_of_once(
    clone: Path, checkout: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(clone, train="print(2)\n")
    commit(clone)
    (said,) = warnings_of(clone, caplog)
    head = git(clone, "rev-parse", "HEAD")[:7]
    assert f"Nobody else can get the commit {head}" in said and str(checkout) in said
    assert trace.collect({}, None, clone).code.pushed is False


def test_a_commit_that_was_pushed_to_another_branch_is_no_warning(
    clone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(clone, train="print(2)\n")
    commit(clone)
    git(clone, "push", "-q", "origin", "HEAD:refs/heads/mine")
    assert warnings_of(clone, caplog) == []


def test_a_repository_without_a_remote_is_warned_of(
    checkout: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (said,) = warnings_of(checkout, caplog)
    assert "there is no remote" in said


def test_of_two_remotes_the_one_that_has_the_commit_is_named(clone: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "other")
    write(clone, train="print(2)\n")
    commit(clone)
    git(clone, "remote", "add", "orig", str(tmp_path / "other"))
    git(clone, "push", "-q", "orig", "HEAD:refs/heads/main")
    seen = trace.collect({}, None, clone).code
    assert (seen.remote, seen.pushed) == (str(tmp_path / "other"), True)


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("https://me:hunter2@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://hunter2@example.org/a.git", "https://example.org/a.git"),
        ("https://me:hunt@er2@example.org/a@b.git", "https://example.org/a@b.git"),
        ("https://example.org/a.git?private_token=hunter2", "https://example.org/a.git"),
        ("ssh://git:hunter2@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("../hub.git", "../hub.git"),
    ],
)
def test_the_remote_is_named_without_credentials(clone: Path, address: str, named: str) -> None:
    git(clone, "remote", "set-url", "origin", address)
    seen = trace.collect({}, None, clone)
    assert seen.code.remote == named
    assert "hunter2" not in trace.to_json(seen) and "er2" not in trace.to_json(seen)


def test_the_remote_costs_no_trace(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = repository.git

    def broken(root: Path, *arguments: str, **more: object) -> bytes:
        if arguments[0] == "for-each-ref":
            raise repository.GitError("it took too long")
        return before(root, *arguments, **more)

    monkeypatch.setattr(repository, "git", broken)
    seen = trace.collect({}, None, clone)
    assert seen.code.commit and seen.code.pushed is None


# After the start


def test_what_is_imported_after_the_start_is_stored(
    checkout: Path,
    mlflow_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    monkeypatch.syspath_prepend(str(checkout))
    request.addfinalizer(lambda: sys.modules.pop("imported_lately", None))
    with (
        pytest.raises(ZeroDivisionError),
        start_run({"experiment": "x"}, FakeDataset()) as started,
    ):
        write(checkout, imported_lately="x = 1\n")
        import imported_lately

        write(checkout, imported_lately="x = 2\n")
        with start_run({"experiment": "x"}, parent=started.info.run_id) as inside:
            importlib.reload(imported_lately)
        write(checkout, imported_lately="x = 3\n")
        raise ZeroDivisionError
    stored = f"{started.info.artifact_uri}/trace/later/imported_lately.py"
    assert mlflow.artifacts.load_text(stored) == "x = 2\n"  # what ran last
    stored = f"{inside.info.artifact_uri}/trace/later/imported_lately.py"
    assert mlflow.artifacts.load_text(stored) == "x = 2\n"
    seen = view.read(started.info.run_id)
    late = [file for file in seen.files if file.kind == "imported later"]
    assert [file.path for file in late] == ["imported_lately.py"]
    assert late[0].sha256 == hashlib.sha256(b"x = 2\n").hexdigest()


# Notebooks


def test_the_executed_cells_of_a_notebook_are_stored(
    checkout: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = SimpleNamespace(input_hist_raw=["", "width = 3", "", "width = 4"])
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(history_manager=history))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    with start_run({"experiment": "x"}, FakeDataset()) as started:
        history.input_hist_raw.append("width = 5")
    assert view.read(started.info.run_id).cells == "# In [1]\nwidth = 3\n\n# In [3]\nwidth = 4\n\n"


def test_ipython_keeps_the_cells_where_they_are_looked_for() -> None:
    code = """
from IPython.core.interactiveshell import InteractiveShell
from samerun.code.notebook import cells
InteractiveShell.instance().run_cell("%config a\\nwidth = 3", store_history=True)
print("SEEN", repr(cells()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SEEN '# In [1]\\n%config a\\nwidth = 3\\n\\n'" in done.stdout


# Where nothing can be written


def unprivileged() -> list[str]:
    """Return what to put before a command so that it may not write where nobody may."""
    if not hasattr(os, "geteuid") or os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may write everywhere")
    return ["setpriv", "--bounding-set=-dac_override"]


@pytest.fixture
def read_only(configured: Path, request: pytest.FixtureRequest) -> Path:
    if sys.platform == "win32":
        pytest.skip("folders are never read-only there")
    text = (configured / "train.py").read_text()
    text = text.replace("import hydra, os", "import hydra, os, samerun")
    text = text.replace("    collected(cfg)\n", "    with samerun.start_run(cfg): pass\n")
    text = text.replace("def main", "@samerun.plain_errors\ndef main")
    (configured / "train.py").write_text(text)
    commit(configured)
    paths = [configured, *configured.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    request.addfinalizer(lambda: [path.chmod(path.stat().st_mode | 0o200) for path in paths])
    return configured


def started(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*unprivileged(), sys.executable, "train.py", "+experiment=x", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        command, cwd=root, env=environment | variables, capture_output=True, text=True
    )


def test_a_folder_that_cannot_be_written_to_is_one_message(read_only: Path) -> None:
    done = started(read_only)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{read_only} cannot be written to" in done.stderr
    assert "hydra.run.dir=" in done.stderr
    assert "hydra.sweep.dir=" in started(read_only, "-m").stderr
    shown = started(read_only, "--cfg", "job")
    assert shown.returncode == 0 and "width: 1" in shown.stdout


@pytest.mark.slow
def test_a_checkout_that_cannot_be_written_to_works_with_store_and_outputs_elsewhere(
    read_only: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    outputs = f"hydra.run.dir={elsewhere}/outputs"
    refused = started(read_only, outputs)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "MLFLOW_TRACKING_URI=" in refused.stderr
    elsewhere.mkdir(exist_ok=True)
    uri = f"sqlite:///{elsewhere}/mlflow.db"
    done = started(read_only, outputs, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stderr
    (recorded,) = elsewhere.rglob("trace.json")
    fields = json.loads(recorded.read_text())
    assert fields["code"]["commit"] and not fields["code"]["dirty"] and not fields["problems"]


# Showing it


def test_a_run_without_a_commit_is_repeated_from_its_sources(
    tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "unpacked"
    root.mkdir()
    (root / "pyproject.toml").write_bytes(b"[project]\n")
    write(root, train="print(1)\n")
    monkeypatch.setenv("SAMERUN_ROOT", str(root))
    monkeypatch.setattr(sys, "argv", [str(root / "train.py")])
    with start_run({"experiment": "x"}) as started:
        pass
    found = mlflow.get_run(started.info.run_id)
    seen = view.read(started.info.run_id)
    commands = view.repeat_commands(seen, found, root)
    assert commands[0].startswith("git init -q ../repeat-")
    assert commands[2].startswith("git apply ") and "train.py" in commands[-1]
    assert not any("commit" in note for note in view.repeat_notes(seen, root))


def test_what_was_not_as_the_disk_holds_it_is_shown(checkout: Path) -> None:
    from test_trace import text_of

    seen = trace.collect({}, None, checkout)
    moved = replace(seen.code, moved_on=("a.py",), uncertain=("b.py",), remote="r", pushed=False)
    kept = KnownFile("c.py", "imported", "ab" * 32, 7)
    shown = text_of(view.table(replace(seen, code=moved, files=(kept,), cells="x")))
    for line in ("since edited", "a.py", "uncertain", "b.py", "r did not have the commit"):
        assert line in shown
    assert "c.py" in shown and "7 bytes, sha256 abababab" in shown and "cells.py" in shown
