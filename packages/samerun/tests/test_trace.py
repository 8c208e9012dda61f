"""What a run records of itself, in every state that a checkout can be in."""

import io
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from record_fixtures import LOCK, FakeDataset, git
from rich.console import Console

from samerun import trace
from samerun.display import screen as view
from samerun.errors import RecordError
from samerun.lock import neutral
from samerun.machine import description as machine
from samerun.secrets import masking

LOCK_WITH_ADDRESSES = (
    LOCK.replace('registry = "."', 'registry = "https://mirror.example/simple"')
    .replace('path = "numpy-2.2.0.tar.gz"', 'url = "https://mirror.example/numpy-2.2.0.tar.gz"')
    .replace('"sha256:aa"', '"sha256:aa", size = 20')
)
assert LOCK_WITH_ADDRESSES.count("https://") == 3


def collect(root: Path, **cfg: object) -> trace.Trace:
    return trace.collect(OmegaConf.create({"seed": 7, **cfg}), FakeDataset(), root)


def text_of(renderable: object, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    Console(file=file, width=width, force_terminal=False).print(renderable)
    file.flush()
    return raw.getvalue().decode(encoding)


# The states of a checkout


def test_a_clean_checkout_is_recorded_by_its_commit_alone(checkout: Path) -> None:
    seen = collect(checkout)
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert seen.code == trace.Code(commit, "main", dirty=False, pushed=False)
    assert (seen.patch, seen.problems) == (b"", {})


def test_a_run_in_a_dirty_tree_keeps_the_changes(checkout: Path, tmp_path: Path) -> None:
    (checkout / "train.py").write_bytes("print('é')\r\nno newline at the end".encode("latin-1"))
    (checkout / "old.bin").write_bytes(bytes(reversed(range(256))))
    (checkout / "a new é file.txt").write_bytes(b"new\n")
    (checkout / "[odd]*.txt").write_bytes(b"odd\n")
    (checkout / "empty").touch()
    (checkout / "staged.txt").write_bytes(b"staged\n")
    git(checkout, "add", "staged.txt")
    (checkout / ".gitignore").unlink()
    (checkout / "uv.lock").write_bytes(LOCK_WITH_ADDRESSES.replace("2.2.0", "2.3.0").encode())
    index_before = (checkout / ".git" / "index").read_bytes()

    seen = collect(checkout)

    assert seen.problems == {} and seen.code.dirty
    assert (checkout / ".git" / "index").read_bytes() == index_before
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(checkout), str(clone))
    git(clone, "checkout", "-q", "--detach", str(seen.code.commit))
    patch = tmp_path / "changes.patch"
    patch.write_bytes(seen.patch)
    git(clone, "apply", str(patch))

    def files(root: Path) -> dict[str, bytes]:
        found = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}

    expected = files(checkout) | {"uv.lock": LOCK.replace("2.2.0", "2.3.0").encode()}
    assert files(clone) == expected


def test_the_diff_settings_of_a_person_do_not_spoil_the_patch(checkout: Path) -> None:
    (checkout / "train.py").write_bytes(b"print(2)\n")
    plain = collect(checkout).patch
    for setting in ("diff.noprefix=true", "color.diff=always", "diff.external=false"):
        git(checkout, "config", *setting.split("="))
    assert collect(checkout).patch == plain != b""


def test_untracked_files_that_are_large_binary_or_secret_are_named_not_kept(
    checkout: Path,
) -> None:
    (checkout / "large.csv").write_bytes(b"1,2\n" * 300_000)
    (checkout / "model.pt").write_bytes(b"\0" * 10)
    (checkout / ".env").write_bytes(b"API=hunter2\n")
    (checkout / "ignored").mkdir()
    (checkout / "ignored" / "file").write_bytes(b"ignored\n")
    seen = collect(checkout)
    assert seen.code.dirty
    assert seen.code.not_stored == (".env", "large.csv", "model.pt")
    assert seen.patch == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no such file names")
def test_a_file_named_like_a_pattern_is_taken_by_its_name(checkout: Path) -> None:
    (checkout / "*").write_bytes(b"text\n")
    (checkout / ":(glob)odd").write_bytes(b"odd\n")
    (checkout / ".env").write_bytes(b"API=hunter2\n")
    seen = collect(checkout)
    assert b"+text" in seen.patch and b"+odd" in seen.patch
    assert b"hunter2" not in seen.patch


def test_an_enormous_change_is_not_stored(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "LARGEST_PATCH", 1000)
    (checkout / "train.py").write_bytes(b"x = 1\n" * 1000)
    seen = collect(checkout)
    assert seen.code.dirty and seen.patch == b"" and "not stored" in seen.problems["patch"]


def test_a_lock_rewritten_with_addresses_is_not_dirt(checkout: Path) -> None:
    before = collect(checkout)
    (checkout / "uv.lock").write_bytes(LOCK_WITH_ADDRESSES.encode())
    seen = collect(checkout)
    assert (seen.code.dirty, seen.code.changed, seen.patch) == (False, (), b"")
    assert seen.environment and before.environment
    assert seen.environment.lock == before.environment.lock is not None


def test_a_lock_that_locks_something_else_is_dirt(checkout: Path) -> None:
    (checkout / "uv.lock").write_bytes(LOCK_WITH_ADDRESSES.replace("2.2.0", "2.3.0").encode())
    seen = collect(checkout)
    assert seen.code.dirty
    assert b'-version = "2.2.0"\n+version = "2.3.0"\n' in seen.patch
    assert b"mirror.example" not in seen.patch


def test_a_lock_that_cannot_be_read_does_not_cost_the_commit(checkout: Path) -> None:
    (checkout / "uv.lock").write_bytes(b"\xff\xfe\xff")
    seen = collect(checkout)
    assert "lock" in seen.problems and seen.code.commit
    assert seen.patch == b""


def test_a_detached_head_has_a_commit_and_no_branch(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")
    seen = collect(checkout)
    assert seen.code.commit and seen.code.branch is None and seen.code.dirty is False


def test_a_repository_without_commits_keeps_everything_as_changes(
    checkout: Path, tmp_path: Path
) -> None:
    unborn = tmp_path / "unborn"
    unborn.mkdir()
    git(unborn, "init", "-q", "-b", "main")
    (unborn / "train.py").write_bytes(b"print(1)\n")
    (unborn / "uv.lock").write_bytes(LOCK.encode())
    seen = collect(unborn)
    assert seen.problems == {} and seen.code.commit is None and seen.code.branch == "main"
    assert b"+print(1)" in seen.patch and b"+++ b/uv.lock" in seen.patch


def unpacked(root: Path) -> Path:
    """What a zip of a project holds, and what runs have left in it."""
    files = {
        "pyproject.toml": b"[project]\n",
        ".gitignore": b"ignored.py\n",
        "part/train.py": b"print('\xe9')\r\n",
        "conf/model.yaml": b"width: 2\n",
        "ignored.py": b"1\n",
        "outputs/now/.hydra/config.yaml": b"width: 2\n",
        "large.py": b"x = 1\n" * 300_000,
        "data.csv": b"1,2\n",
        "uv.lock": LOCK.encode(),
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_without_git_s_history_the_sources_are_stored(tmp_path: Path) -> None:
    root = unpacked(tmp_path / "a zip")
    seen = collect(root)
    assert list(seen.problems) == ["commit"] and "not a git repository" in seen.problems["commit"]
    assert (seen.code.commit, seen.code.branch, seen.code.dirty) == (None, None, None)
    assert seen.code.not_stored == ("large.py",)
    assert not (root / ".git").exists()

    again = tmp_path / "again"
    git(tmp_path, "init", "-q", "again")
    (tmp_path / "changes.patch").write_bytes(seen.patch)
    git(again, "apply", str(tmp_path / "changes.patch"))
    files = [path for path in again.rglob("*") if path.is_file() and ".git" not in path.parts]
    names = {path.relative_to(again).as_posix() for path in files}
    kept = {"pyproject.toml", ".gitignore", "part/train.py", "conf/model.yaml", "uv.lock"}
    assert names == kept
    assert all(
        (root / name).read_bytes() == (again / name).read_bytes() for name in kept - {"uv.lock"}
    )


def test_of_a_folder_that_is_no_project_only_what_runs_is_stored(tmp_path: Path) -> None:
    (tmp_path / "diary.py").write_bytes(b"1\n")
    seen = collect(tmp_path)
    assert seen.patch == b"" and "not a git repository" in seen.problems["commit"]


def test_a_download_inside_another_repository_does_not_take_its_commit(checkout: Path) -> None:
    inside = checkout / "downloads" / "workshop"
    inside.mkdir(parents=True)
    (inside / "train.py").touch()
    seen = collect(inside)
    assert "inside another one" in seen.problems["commit"] and seen.code.commit is None


def test_without_git_the_rest_of_the_trace_is_there(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = collect(checkout)
    assert "git is not installed" in seen.problems["code"]
    assert seen.data and seen.environment and seen.environment.lock and seen.machine


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs chown")
def test_a_checkout_of_another_owner_is_recorded(checkout: Path) -> None:
    """As that of a group, which everybody reads and one of them owns."""
    before = collect(checkout)
    for path in [checkout, *checkout.rglob("*")]:
        os.chown(path, 12345, 12345)
    seen = collect(checkout)
    assert (seen.code, seen.problems) == (before.code, {}) and seen.code.commit


def test_a_broken_repository_is_a_problem_of_the_code_alone(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_bytes(b"nonsense")
    seen = collect(checkout)
    assert list(seen.problems) == ["code"]


def test_the_working_directory_does_not_matter(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (checkout / "sub").mkdir()
    (checkout / "sub" / "new.py").write_bytes(b"1\n")
    elsewhere = collect(checkout)
    monkeypatch.chdir(checkout / "sub")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))  # as inside a git hook
    inside = collect(checkout)
    assert inside.code == elsewhere.code and inside.patch == elsewhere.patch != b""


# Environment, machine, configuration


def test_a_package_installed_at_another_version_than_locked_is_reported() -> None:
    seen = machine.environment(LOCK, {"numpy": "2.1.0", "extra": "1.0"})
    assert seen.differs == {"numpy": "2.1.0, locked 2.2.0", "extra": "1.0, locked nothing"}


def test_a_locked_package_that_is_not_installed_is_no_difference() -> None:
    assert machine.environment(LOCK, {"numpy": "2.2.0"}).differs == {}


def test_the_shortened_lock_names_the_same_packages_as_the_whole_one() -> None:
    text = neutral((Path(__file__).parents[3] / "uv.lock").read_text(encoding="utf-8"))
    locked = {p["name"]: p["version"] for p in tomllib.loads(text)["package"]}
    assert machine.differences_from_lock(text, locked) == {}
    wrong = machine.differences_from_lock(text, dict.fromkeys(locked, "0"))
    assert wrong.keys() == locked.keys()


def test_what_is_installed_is_recorded_package_by_package(checkout: Path) -> None:
    import numpy

    assert f"numpy=={numpy.__version__}" in collect(checkout).packages


def test_the_trace_does_not_import_torch() -> None:
    code = (
        "import sys; from samerun.machine.description import machine\n"
        "machine(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_graphics_cards_that_torch_sees_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda i: f"H200 {i}"
    )
    torch = SimpleNamespace(
        __version__="2.15.0+cu130",
        __config__=SimpleNamespace(show=lambda: ""),
        backends=SimpleNamespace(cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2")),
        cuda=cuda,
        version=SimpleNamespace(cuda="13.0"),
        get_num_threads=lambda: 3,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    seen = machine.machine()
    assert (seen.gpus, seen.cuda) == (("H200 0", "H200 1"), "13.0")
    assert seen.threads["torch"] == 3
    assert seen.libraries["torch"] == "2.15.0+cu130"


def test_only_listed_environment_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    seen = machine.machine()
    assert seen.variables["OMP_NUM_THREADS"] == "1" and "hunter2" not in repr(seen)


@pytest.mark.parametrize(
    "arguments",
    [
        ["tracking.token=hunter2"],
        ["+db.apiKey=hunter2"],
        ["++DB_PASSWORD=hunter2"],
        ["password=two words hunter2"],
        ["--token", "hunter2"],
        ["--api-key=hunter2"],
        ["db={user: me, password: hunter2}"],
        ["tracking.uri=https://me:hunter2@example.org"],
    ],
)
def test_secrets_on_the_command_line_are_masked(arguments: list[str]) -> None:
    seen = " ".join(masking.masked_arguments(arguments))
    assert "hunter2" not in seen and "***" in seen


def test_secrets_in_the_configuration_are_masked_and_the_rest_is_not(checkout: Path) -> None:
    seen = collect(
        checkout,
        tracking={"api_key": "hunter2", "uri": "http://me:hunter2@example.org", "token": None},
        secret=["hunter2"],
        model={"tokenizer": "bert", "max_tokens": 512, "layers": [{"size": 3}]},
        copied="${tracking.api_key}",
    )
    assert seen.config["tracking"] == {
        "api_key": "***",
        "uri": "http://***@example.org",
        "token": None,
    }
    assert seen.config["secret"] == "***"
    assert seen.config["model"] == {"tokenizer": "bert", "max_tokens": 512, "layers": [{"size": 3}]}


def test_a_configuration_that_does_not_resolve_is_kept_as_written(checkout: Path) -> None:
    seen = collect(checkout, rate="${nowhere}")
    assert seen.config["rate"] == "${nowhere}" and "configuration" in seen.problems


@pytest.mark.parametrize("argv", ["train.py", "-m"], ids=["by hand", "by a launcher's worker"])
@pytest.mark.parametrize("chdir", ["true", "false"])
def test_under_hydra_the_overrides_and_the_script_are_recorded(
    tmp_path: Path, argv: str, chdir: str
) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "train.py").write_text(
        "import hydra, sys\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from samerun import trace\n"
        "@hydra.main(version_base=None, config_path='conf', config_name='config')\n"
        "def main(cfg):\n"
        "    data = SimpleNamespace(name='d', digest='0', source='s')\n"
        f"    sys.argv[0] = {argv!r}\n"
        "    seen = trace.collect(cfg, data, Path(__file__).parents[1])\n"
        "    print('SEEN', seen.script, *seen.overrides)\n"
        "main()\n"
    )
    (tmp_path / "part" / "conf").mkdir()
    (tmp_path / "part" / "conf" / "config.yaml").write_text("seed: 1\nlr: 1\n")
    command = [sys.executable, "train.py", "-m", "lr=2,3", f"hydra.job.chdir={chdir}"]
    done = subprocess.run(
        command, cwd=tmp_path / "part", capture_output=True, text=True, check=True
    )
    seen = [line for line in done.stdout.splitlines() if line.startswith("SEEN")]
    assert seen == ["SEEN part/train.py lr=2", "SEEN part/train.py lr=3"]


# Storing and showing


def test_a_trace_survives_being_written_and_read(checkout: Path) -> None:
    (checkout / os.fsdecode(b"not-utf8-\xff.txt")).write_bytes(b"1\n")
    seen = collect(checkout, layers=[1, {"a": 2}])
    assert trace.from_json(trace.to_json(seen), seen.patch, seen.packages) == seen


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "code": 3}'])
def test_what_is_no_trace_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(RecordError, match="trace"):
        trace.from_json(text)


def test_a_trace_of_the_first_form_is_still_read(checkout: Path) -> None:
    fields = json.loads(trace.to_json(collect(checkout)))
    del fields["files"]
    for newer in ("moved_on", "uncertain", "remote", "pushed"):
        del fields["code"][newer]
    seen = trace.from_json(json.dumps(fields | {"schema": 1}))
    assert seen.files == () and seen.code.commit and seen.code.pushed is None
    assert "commit" in text_of(view.table(seen))


def test_a_trace_of_another_version_says_so() -> None:
    with pytest.raises(RecordError, match="form 99, expected 2"):
        trace.from_json('{"schema": 99}')


def test_tags_stay_within_the_limits_of_mlflow(checkout: Path) -> None:
    seen = replace(collect(checkout), data=trace.Data("d" * 9000, "0", "s"))
    assert max(map(len, trace.tags(seen).values())) <= 1000
    assert trace.tags(seen)["trace.dirty"] == "false"


def test_names_are_shown_as_they_are_and_steer_no_terminal(checkout: Path) -> None:
    seen = collect(checkout, name="[red]x[/red] [/] \x1b[31m")
    shown = text_of(view.table(seen))
    assert "[red]x[/red] [/] ?[31m" in shown and "\x1b" not in shown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_table_fits_80_columns(checkout: Path, encoding: str) -> None:
    (checkout / ("x" * 120)).write_bytes(b"1\n")
    shown = text_of(view.table(collect(checkout, w="y" * 200)), 80, encoding)
    assert max(len(line) for line in shown.splitlines()) <= 80
    for section in ("Run", "Code", "Configuration", "Data", "Environment", "Machine"):
        assert f"\n{section}" in f"\n{shown}"
