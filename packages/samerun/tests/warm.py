"""Commands of Python in processes of their own that need not wait for their imports.

`run(["train.py", "seed=1"])` does what a fresh `python train.py seed=1` does, but in a process that
is forked from one which has imported MLflow, PyTorch and the like and nothing else: a command that
computes for a second takes a second, not six. No module of a project, and none of ours, is in it.
Nor does it take its modules apart in the end, which is two more seconds for so many.

Where the imports are what is tested, or where a variable must be there before they are, start
`sys.executable`: of the variables in `READ_WHEN_LOADED` this is done here. Where there is no fork,
every command is a fresh process.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import NoReturn

WITHOUT_TORCH = (
    "alembic.script", "hydra.main", "matplotlib.pyplot", "mlflow.models", "mlflow.sklearn",
    "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store", "omegaconf", "pandas",
    "rich.console", "sklearn.datasets", "sklearn.decomposition", "sklearn.linear_model",
    "sklearn.metrics", "sklearn.pipeline", "skops.io",
)  # fmt: skip
WITH_TORCH = (*WITHOUT_TORCH, "optuna", "torch", "torch._dynamo", "torch.utils.data", "tqdm")
# PyTorch, MKL, OpenBLAS, OpenMP, NumPy and Python itself look at these once.
READ_WHEN_LOADED = (
    "ATEN_", "BLIS_", "CUDA_", "DNNL_", "GOTO_", "KMP_", "LD_", "MKL_", "NPY_", "NUMEXPR_", "OMP_",
    "ONEDNN_", "OPENBLAS_", "PYTHONHASHSEED", "SAMERUN_PORTABLE", "TORCH_",
)  # fmt: skip


def run(
    words: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    torch: bool = True,
) -> "subprocess.CompletedProcess[str]":
    """Run `python WORDS` and return its exit status and what it said.

    words : a script, `-m` and a module, or `-c` and code; then the arguments
    env : all of its environment, that of this process unless given
    torch : whether PyTorch may be in the process before it is asked for
    """
    command, environment = [str(word) for word in words], dict(os.environ if env is None else env)
    if not hasattr(os, "fork") or _read_when_loaded(environment) != _read_when_loaded(os.environ):
        return subprocess.run(
            [sys.executable, *command],
            cwd=cwd, env=environment, capture_output=True, encoding="utf-8",
        )  # fmt: skip
    server = _server(torch)
    with tempfile.TemporaryDirectory() as folder:
        said = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        job = {"words": command, "cwd": str(cwd), "env": environment, "said": said}
        print(json.dumps(job), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        assert answer, "the process with the imports has ended"
        out, err = (Path(name).read_text(encoding="utf-8", errors="replace") for name in said)
    return subprocess.CompletedProcess(command, int(answer), out, err)


def _read_when_loaded(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith(READ_WHEN_LOADED)}


@functools.cache
def _server(torch: bool) -> "subprocess.Popen[str]":
    # By another name than its file's: that would be among the files which a run has used.
    start = "import sys; exec(compile(sys.argv.pop(1), '<warm>', 'exec')); serve(sys.argv[1:])"
    source = Path(__file__).read_text(encoding="utf-8")
    names = WITH_TORCH if torch else WITHOUT_TORCH
    server = subprocess.Popen(
        [sys.executable, "-c", start, source, *names],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    atexit.register(server.communicate)  # its input ends, and so does it
    return server


def serve(names: Sequence[str]) -> None:
    """Import modules, then run each command that comes in by a fork of this process."""
    for name in names:
        importlib.import_module(name)
    write_without_waiting()
    know_the_schema()
    gc.collect()
    gc.freeze()  # what a fork would search for garbage it would have to copy
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(job["cwd"], job["env"], job["said"])
            _end(_status_of(job["words"]))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    _end(0)


def write_without_waiting() -> None:
    """Let databases of SQLite's in this process leave it to the system when the disk writes.

    Every logging call of MLflow's is a commit, and each waits for the disk: most of the time of a
    short run. Only a loss of power could show the difference.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def connected(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")


def know_the_schema() -> None:
    """Let MLflow read its migrations once in this process, not for every store that it opens."""
    from mlflow.store.db import utils

    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)


def _become(cwd: str, environment: Mapping[str, str], said: Sequence[str]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    files = [os.open(os.devnull, os.O_RDONLY)]
    files += [os.open(name, os.O_WRONLY | os.O_CREAT) for name in said]
    for wanted, file in enumerate(files):
        os.dup2(file, wanted)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115


def _status_of(words: Sequence[str]) -> int:
    """Return the exit status of a command, -2 if Ctrl+C ended it; say what Python says of it."""
    try:
        _execute(words)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            return -signal.SIGINT
    else:
        return 0
    return 1


def _end(status: int) -> NoReturn:
    """End this process as Python does, but leave its memory to the system as it is."""
    threading._shutdown()  # threads come to their end, and then what is to be done at exit
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def _execute(words: Sequence[str]) -> None:
    """Do what Python does with the words of its command line."""
    sys.orig_argv = [sys.executable, *words]
    path = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = ["", *(os.path.abspath(name) for name in path.split(os.pathsep) if name)]
    importlib.invalidate_caches()
    if words[0] == "-m":
        sys.argv, sys.path[0] = list(words[1:]), os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    if words[0] == "-c":
        sys.argv, source, name = ["-c", *words[2:]], words[1].encode(), "<string>"
    else:
        assert not words[0].startswith("-"), f"{words[0]} is no option that this knows"
        name = os.path.abspath(words[0])
        sys.argv, sys.path[0] = list(words), os.path.dirname(name)
        source = Path(name).read_bytes()
        main.__file__, main.__loader__ = name, SourceFileLoader("__main__", name)
    sys.modules["__main__"] = main
    exec(compile(source, name, "exec", dont_inherit=True), main.__dict__)
