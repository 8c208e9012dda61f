"""What a process runs is what its trace records, wherever the disk has moved on to."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from record_fixtures import git

from samerun.code import imported

COLLECT = """
import json, os
from pathlib import Path
from samerun import trace

def collected(cfg=None, dataset=None):
    seen = trace.collect(cfg or {}, dataset, Path(os.environ["ROOT"]))
    print("SEEN", json.dumps([trace.to_json(seen), seen.patch.decode("latin-1")]), flush=True)
"""
MODEL = "def activation():\n    return 'relu'\n"
OTHER = "def activation():\n    return 'sigmoid'\n"


@dataclass(frozen=True)
class Seen:
    trace: dict
    patch: str

    def file(self, path: str) -> dict:
        return next(file for file in self.trace["files"] if file["path"] == path)


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / f"{name}.py").write_bytes(textwrap.dedent(text).encode())


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "more")


def run(root: Path, *arguments: str, **variables: str) -> list[Seen]:
    """Run train.py of a project and return the traces that it collected."""
    environment = os.environ | {"ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run(
        [sys.executable, *(arguments or ("train.py",))],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line[5:] for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    return [Seen(json.loads(text), patch) for text, patch in map(json.loads, lines)]


def restored(root: Path, folder: Path, seen: Seen) -> Path:
    """Make the code of a trace from its commit and its patch, as somebody else would."""
    git(folder, "clone", "-q", str(root), "again")
    git(folder / "again", "checkout", "-q", "--detach", seen.trace["code"]["commit"])
    (folder / "changes.patch").write_bytes(seen.patch.encode("latin-1"))
    if seen.patch:
        git(folder / "again", "apply", str(folder / "changes.patch"))
    return folder / "again"


@pytest.fixture
def project(checkout: Path) -> Path:
    """A project whose train.py collects its trace, does what EDIT says, and collects it again."""
    write(
        checkout,
        collecting=COLLECT,
        models=MODEL,
        train="""
            from collecting import collected
            import models, os
            collected()
            exec(os.environ.get("EDIT", ""))
            collected()
        """,
    )
    commit(checkout)
    return checkout


def edit(new: str) -> str:
    return f"open('models.py', 'w').write({new!r})"


def test_an_edit_between_two_runs_of_one_process_is_in_neither_record(project: Path) -> None:
    before, after = run(project, EDIT=edit(OTHER))
    assert before.patch == after.patch == ""
    assert not after.trace["code"]["dirty"] and before.trace["code"]["moved_on"] == []
    assert after.trace["code"]["moved_on"] == ["models.py"]
    assert before.file("models.py") == after.file("models.py")


def test_what_was_edited_before_the_start_is_recorded_after_it_was_edited_again(
    project: Path, tmp_path: Path
) -> None:
    write(project, models="x = 'é'\r\n" + OTHER)
    then = (project / "models.py").read_bytes()
    before, after = run(project, EDIT=edit(MODEL))
    assert before.patch == after.patch and after.trace["code"]["dirty"]
    assert (restored(project, tmp_path, after) / "models.py").read_bytes() == then


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "os.unlink('models.py')",
        "os.rename('models.py', 'renamed.py')",
        "os.mkdir('new'); os.replace('models.py', 'new/models.py'); os.mkdir('models.py')",
        "os.unlink('models.py'); os.symlink('train.py', 'models.py')",
        "os.system('git -c user.name=a -c user.email=b commit -qam x')",
        "os.system('git rm -q models.py && git -c user.name=a -c user.email=b commit -qam x')",
    ],
)
def test_whatever_becomes_of_an_imported_file_its_content_comes_back(
    project: Path, tmp_path: Path, change: str
) -> None:
    write(project, models=OTHER)  # changed since the commit, too
    _, after = run(project, EDIT=change)
    assert (restored(project, tmp_path, after) / "models.py").read_bytes() == OTHER.encode()


@pytest.mark.slow
def test_a_module_that_git_does_not_know_is_recorded_as_it_was(
    project: Path, tmp_path: Path
) -> None:
    git(project, "rm", "-q", "--cached", "models.py")
    git(project, "-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x")
    _, after = run(project, EDIT=edit(OTHER))
    assert (restored(project, tmp_path, after) / "models.py").read_bytes() == MODEL.encode()


@pytest.mark.slow
def test_a_reloaded_module_is_recorded_as_reloaded(project: Path) -> None:
    change = f"{edit(OTHER)}; import importlib; importlib.reload(models)"
    _, after = run(project, EDIT=change)
    assert "+    return 'sigmoid'" in after.patch and after.trace["code"]["moved_on"] == []


def test_python_does_not_run_an_old_compiled_file(project: Path) -> None:
    """A save of the same length within one second deceives Python's own look at time and size."""
    environment = {"PYTHONDONTWRITEBYTECODE": ""}
    run(project, **environment)  # leaves .pyc files, if anything does
    subprocess.run([sys.executable, "-c", "import models"], cwd=project, check=True)
    written = os.stat(project / "models.py")
    write(project, models=MODEL.replace("relu", "gelu"))
    os.utime(project / "models.py", ns=(written.st_atime_ns, written.st_mtime_ns))
    write(project, train="from collecting import collected\nimport models\n"
          "assert models.activation() == 'gelu'\ncollected()\n")  # fmt: skip
    (seen,) = run(project, **environment)
    assert "+    return 'gelu'" in seen.patch


# What was not seen as it was imported


@pytest.mark.slow
def test_what_is_imported_before_samerun_is_recorded(project: Path) -> None:
    write(
        project,
        train=f"""
            import models
            from collecting import collected
            {edit(OTHER)}
            collected()
        """,
    )
    commit(project)
    (seen,) = run(project)
    assert seen.patch == "" and seen.trace["code"]["moved_on"] == ["models.py"]
    assert seen.file("train.py")["held"] == seen.file("models.py")["held"] == "commit"


@pytest.mark.parametrize("decorated", [False, True])
def test_what_is_edited_before_it_could_be_read_is_uncertain(
    project: Path, decorated: bool
) -> None:
    if decorated:
        wrapping = "import contextlib\n@contextlib.contextmanager\n"
        write(project, models=wrapping + MODEL.replace("return", "yield"))
    write(
        project,
        train=f"""
            import models
            {edit(OTHER)}
            from collecting import collected
            collected()
        """,
    )
    (seen,) = run(project)
    assert seen.trace["code"]["uncertain"] == ["models.py"]


@pytest.mark.slow
def test_a_script_that_is_edited_as_it_starts_is_uncertain(project: Path) -> None:
    with (project / "train.py").open("a") as file:
        file.write("# the end\n")
    write(project, train="open(__file__, 'a').write('x = 1\\n')\n"
          "from collecting import collected\ncollected()\n")  # fmt: skip
    (seen,) = run(project)
    assert seen.trace["code"]["uncertain"] == ["train.py"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "load",
    [
        "spec = util.spec_from_file_location('other', 'models.py');"
        "module = util.module_from_spec(spec); spec.loader.exec_module(module);"
        "sys.modules['other'] = module",
        "sys.path.insert(0, 'models.zip'); import zipped",
    ],
)
def test_what_is_loaded_in_other_ways_is_known(project: Path, load: str) -> None:
    import zipfile

    with zipfile.ZipFile(project / "models.zip", "w") as file:
        file.writestr("zipped.py", MODEL)
    write(project, train=f"""
        from collecting import collected
        import sys
        from importlib import util
        {load}
        collected()
    """)  # fmt: skip
    (seen,) = run(project)
    assert seen.file("models.zip" if "zip" in load else "models.py")["kind"] == "imported"
    assert seen.trace["code"]["uncertain"] == []


WORKERS = """
from collecting import collected
import models, os, sys

def job(number):
    label = 'first'
    collected()

if __name__ == "__main__":
    from joblib import Parallel, delayed
    call = delayed(job)
    exec(os.environ.get("EDIT", ""))
    import subprocess
    code = "import cloudpickle, sys; cloudpickle.loads(bytes.fromhex(sys.argv[1]))(0)"
    import cloudpickle
    subprocess.run([sys.executable, "-c", code, cloudpickle.dumps(job).hex()], check=True)
"""


@pytest.mark.parametrize("handed", [True, False], ids=["handed over", "not handed over"])
def test_a_worker_that_got_its_function_by_value_records_that_function(
    project: Path, handed: bool
) -> None:
    write(project, train=WORKERS)
    commit(project)
    change = "s = open('train.py').read(); open('train.py', 'w').write(s.replace('first', 'other'))"
    if not handed:
        change += "; os.environ.pop('SAMERUN_LAUNCHER')"
    (seen,) = run(project, EDIT=change)
    code = seen.trace["code"]
    if handed:
        assert (seen.patch, code["moved_on"], code["uncertain"]) == ("", ["train.py"], [])
        assert seen.file("train.py")["held"] == "commit"
    else:
        assert code["uncertain"] == ["train.py"]


@pytest.mark.slow
def test_a_worker_imports_what_the_disk_holds_then(project: Path) -> None:
    write(project, train=WORKERS)
    commit(project)
    (seen,) = run(project, EDIT=edit(OTHER))
    assert "+    return 'sigmoid'" in seen.patch and "train.py" not in seen.patch
    assert seen.trace["code"]["uncertain"] == seen.trace["code"]["moved_on"] == []


# What git does not see


def test_an_imported_file_that_git_ignores_is_in_the_patch(project: Path, tmp_path: Path) -> None:
    (project / ".git" / "info" / "exclude").write_text("models.py\n")
    git(project, "rm", "-q", "--cached", "models.py")
    git(project, "-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x")
    seen, _ = run(project)
    assert seen.trace["code"]["dirty"] and seen.file("models.py")["held"] == "patch"
    assert (restored(project, tmp_path, seen) / "models.py").read_bytes() == MODEL.encode()


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_was_told_to_overlook_is_in_the_patch(project: Path, flag: str) -> None:
    git(project, "update-index", flag, "models.py")
    write(project, models=OTHER)
    seen, _ = run(project)
    assert "+    return 'sigmoid'" in seen.patch and seen.trace["code"]["dirty"]
    assert git(project, "ls-files", "-v", "models.py")[0] in "hS"  # and git's index is as it was


@pytest.mark.slow
def test_an_imported_file_that_is_not_stored_is_named_with_digest_and_size(project: Path) -> None:
    import hashlib

    secret = "API = 'hunter2'\n" + MODEL
    write(project, api_key=secret, models="import api_key\n" + MODEL)
    seen, _ = run(project)
    assert "hunter2" not in seen.patch and seen.trace["code"]["not_stored"] == ["api_key.py"]
    digest = hashlib.sha256(secret.encode()).hexdigest()
    size = len(secret)
    expected = {"kind": "imported", "sha256": digest, "size": size, "held": "nowhere"}
    assert seen.file("api_key.py") == {"path": "api_key.py", **expected}


@pytest.mark.slow
def test_imported_files_outside_of_the_checkout_are_named(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere, models=OTHER)
    (project / "models.py").unlink()
    (project / "models.py").symlink_to(elsewhere / "models.py")
    seen, after = run(project, EDIT="os.unlink('models.py'); os.symlink('train.py', 'models.py')")
    named = seen.file(str((elsewhere / "models.py").resolve()))
    assert named["held"] == "nowhere" and named["size"] == len(OTHER)
    assert after.trace["code"]["uncertain"] == ["models.py"]


@pytest.mark.slow
def test_a_module_of_a_submodule_is_named(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, part=MODEL)
    git(other, "init", "-q")
    commit(other)
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub")
    commit(project)
    write(project / "sub", part=OTHER)
    write(project, models="import sub.part\n" + MODEL)
    seen, _ = run(project)
    assert seen.file("sub/part.py")["held"] == "nowhere"
    assert seen.trace["code"]["not_stored"] == ["sub"] and "dirty" not in seen.patch


@pytest.mark.slow
def test_nothing_of_the_environment_is_listed(project: Path) -> None:
    write(project, models="import yaml, json, mlflow.version\n" + MODEL)
    seen, _ = run(project)
    root = Path(__file__).parents[1]  # samerun itself may be installed as editable
    listed = {file["path"] for file in seen.trace["files"]}
    ours = {path for path in listed if not Path(path).is_relative_to(root)}
    assert ours == {"collecting.py", "models.py", "train.py"}


# Other projects, other ways to start


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        "# -*- coding: latin-1 -*-\nx = 'é'\x0c\n".encode("latin-1"),
        b"x = 1\r\ny = 2\r\n",
        b"x = 1",
        b"",
    ],
    ids=["not UTF-8", "CRLF", "no newline", "empty"],
)
def test_a_file_comes_back_byte_for_byte(project: Path, tmp_path: Path, content: bytes) -> None:
    (project / "models.py").write_bytes(content)
    _, after = run(project, EDIT=edit(OTHER))
    assert (restored(project, tmp_path, after) / "models.py").read_bytes() == content


@pytest.mark.slow
def test_line_ends_that_git_converts_are_no_change(project: Path) -> None:
    git(project, "config", "core.autocrlf", "true")
    (project / "models.py").write_bytes(MODEL.replace("\n", "\r\n").encode())
    _, after = run(project, EDIT=edit(OTHER))
    assert after.patch == "" and after.trace["code"]["moved_on"] == ["models.py"]


@pytest.mark.slow
def test_the_mode_of_a_file_comes_back(project: Path, tmp_path: Path) -> None:
    (project / "models.py").chmod(0o755)
    commit(project)
    write(project, models=OTHER)
    _, after = run(project, EDIT="os.unlink('models.py')")
    assert os.access(restored(project, tmp_path, after) / "models.py", os.X_OK)


@pytest.mark.slow
def test_a_package_that_is_removed_comes_back(project: Path, tmp_path: Path) -> None:
    (project / "package").mkdir()
    write(project / "package", __init__="from package import part\n", part="x = 1\n")
    commit(project)
    write(project, models="import package\n" + MODEL)
    _, after = run(project, EDIT="import shutil; shutil.rmtree('package')")
    assert after.trace["code"]["moved_on"] == ["package/__init__.py", "package/part.py"]
    again = restored(project, tmp_path, after)
    assert (again / "package" / "part.py").read_bytes() == b"x = 1\n"


@pytest.mark.slow
def test_a_branch_that_is_changed_in_between_changes_nothing(project: Path, tmp_path: Path) -> None:
    git(project, "checkout", "-q", "-b", "other")
    write(project, models=OTHER)
    commit(project)
    git(project, "checkout", "-q", "main")
    _, after = run(project, EDIT="os.system('git checkout -q other')")
    assert after.trace["code"]["branch"] == "other"
    assert (restored(project, tmp_path, after) / "models.py").read_bytes() == MODEL.encode()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["worktree", "odd name"])
def test_the_repository_gets_no_new_objects(project: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "other"
    if kind == "worktree":
        git(project, "worktree", "add", "-q", str(folder))
        objects = project / ".git" / "objects"
    else:
        folder = tmp_path / ("odd" if sys.platform == "win32" else 'o"d:d\\x')
        project.rename(folder)
        objects = folder / ".git" / "objects"
    write(folder, models=OTHER)
    before = sorted(objects.rglob("*"))
    _, after = run(folder, EDIT=edit(MODEL))
    assert "+    return 'sigmoid'" in after.patch and after.trace["problems"] == {}
    assert sorted(objects.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        "from joblib import Parallel, delayed; Parallel(n_jobs=2)([delayed(job)()] * 3)",
        "import multiprocessing as m; m.get_context('spawn').Pool(1).apply(job)",
    ],
    ids=["joblib", "spawn"],
)
def test_workers_record_the_script_that_started_them(project: Path, start: str) -> None:
    write(
        project,
        train=f"""
            from collecting import collected
            import models
            def job():
                label = 'first'
                collected()
            if __name__ == "__main__":
                {start}
        """,
    )
    commit(project)
    for seen in run(project):
        assert seen.patch == "" and seen.file("train.py")["held"] == "commit"
        assert seen.trace["code"]["moved_on"] == seen.trace["code"]["uncertain"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["-m", "train"], ["-c", "import runpy; runpy.run_path('train.py')"]]
)
def test_a_script_may_be_started_in_other_ways(project: Path, arguments: list[str]) -> None:
    seen, _ = run(project, *arguments)
    assert seen.trace["code"]["uncertain"] == [] and seen.file("train.py")["held"] == "commit"


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["x = = 1\n", "1 / 0\n"])
def test_a_traceback_is_as_short_as_without_samerun(project: Path, broken: str) -> None:
    write(project, models=broken)
    done = subprocess.run([sys.executable, "train.py"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1 and "models.py" in done.stderr
    assert "samerun" not in done.stderr and "importlib" not in done.stderr


DECORATED = """
import contextlib, dataclasses, enum, functools, typing
def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper
@dataclasses.dataclass
class A:
    x: int = 1
    @property
    def y(self): return [i for i in range(3)]
    @classmethod
    def z(cls): return lambda: 1
    @functools.lru_cache
    def w(self): pass
@contextlib.contextmanager
def context(): yield
class E(enum.Enum):
    a = 1
    def f(self): return 1
class N(typing.NamedTuple):
    a: int
@decorated
def g(x): return x
h = lambda: 2
"""


@pytest.mark.slow
def test_decorated_functions_raise_no_doubt(project: Path) -> None:
    text = "import models\nfrom collecting import collected\ncollected()\n"
    write(project, models=DECORATED, train=text)
    (seen,) = run(project)
    assert seen.trace["code"]["uncertain"] == []


def test_the_library_does_not_compile_itself_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported, "_looked_at", set())
    monkeypatch.setattr(imported, "_files", {})
    compiled = []
    monkeypatch.setattr(imported, "_holds", lambda _, file, __: compiled.append(file) or True)
    kept = imported.files()
    ours = Path(imported.__file__).resolve()
    if ours in kept:  # it is not where samerun is installed into the environment
        assert not [file for file in compiled if Path(file).is_relative_to(ours.parents[1])]
