"""Fixtures of the record: a checkout, and a run store of a test's own."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import warm

LOCK = """\
version = 1

[[package]]
name = "numpy"
version = "2.2.0"
source = { registry = "." }
sdist = { path = "numpy-2.2.0.tar.gz", hash = "sha256:aa" }
wheels = [
    { path = "numpy-2.2.0-py3-none-any.whl", hash = "sha256:bb" },
]

[[package]]
name = "pywin32"
version = "311"
source = { registry = "." }
"""


@dataclass(frozen=True)
class FakeDataset:
    name: str = "digits"
    digest: str = "0123456789abcdef" * 2
    source: str = "scikit-learn"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout.decode()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def forked(work: Callable[[Callable[[bytes], object]], object]) -> tuple[int, bytes]:
    """Do work in a copy of this process; return its id once it has said something, and that."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work(lambda said: os.write(writing, said))
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 4096)
    os.close(reading)
    return pid, said


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def is_gone(pid: int) -> bool:
    """Wait until a process is gone; False if it is still there after a while."""
    state = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if state.exists() and ") Z " in state.read_text():
                return True  # nobody has asked how it ended
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean git checkout in a folder whose name has a space and an accent."""
    root = tmp_path / "my störy"
    root.mkdir()
    (root / ".gitignore").write_bytes(b"ignored/\n")
    (root / "uv.lock").write_bytes(LOCK.encode())
    (root / "train.py").write_bytes(b"print(1)\n")
    (root / "old.bin").write_bytes(bytes(range(256)))
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


@pytest.fixture
def own_root(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a test from the checkout that it lies in, its store, and what a shell has set."""
    from samerun.process import variables

    monkeypatch.setenv("SAMERUN_ROOT", str(checkout))
    for name in ("UV", *variables.REFUSED, *variables.IGNORED):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store, made once: its tables take 3 s."""
    from samerun.store import tracking as store

    warm.write_without_waiting()
    warm.know_the_schema()
    template = tmp_path_factory.mktemp("store") / "mlflow.db"
    store.create_store(template)
    return template


@pytest.fixture
def mlflow_store(
    store_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A fresh, empty store of the test's own, in a folder whose name has a space and an accent."""
    import mlflow

    store = tmp_path / "run störe" / "mlflow.db"
    store.parent.mkdir()
    shutil.copy(store_template, store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.as_posix()}")
    yield store
    while mlflow.active_run():  # a test that failed must not fail the next one
        mlflow.end_run("KILLED")
    mlflow.set_tracking_uri(None)
