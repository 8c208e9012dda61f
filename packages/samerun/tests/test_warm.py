"""A process that need not wait for its imports does what a fresh one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

SHOW = """\
import __main__, atexit, json, os, sys, threading
atexit.register(print, "done at the end")
shown = {
    "argv": sys.argv, "typed": sys.orig_argv[1:], "cwd": os.getcwd(), "path": sys.path,
    "name": __name__, "main": vars(__main__) is globals(), "file": globals().get("__file__"),
    "spec": __spec__ and __spec__.name, "in": sys.stdin.read(),
    "ours": [name for name in ("warm", "record_fixtures", "samerun") if name in sys.modules],
    "variable": os.environ.get("SHOWN"), "other": os.environ.get("PYTEST_CURRENT_TEST"),
}
print(json.dumps(shown, indent=1, ensure_ascii=False))
print("and an error", file=sys.stderr)
threading.Timer(0.1, print, ["said by a thread"]).start()
if sys.argv[-1] == "raise":
    raise ValueError("raised")
if sys.argv[-1] == "stop":
    raise KeyboardInterrupt
sys.exit({"three": 3, "word": "ended so", "nothing": None}.get(sys.argv[-1], 0))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fresh processes there")
@pytest.mark.parametrize(
    ("start", "last"),
    [
        ("script", "well"),
        ("script", "three"),
        ("script", "raise"),
        ("script", "stop"),
        ("-m", "word"),
        ("-m", "nothing"),
        ("-c", "three"),
    ],
)
def test_a_warm_process_does_what_a_fresh_one_does(start: str, last: str, tmp_path: Path) -> None:
    folder = tmp_path / "mön folder"
    (folder / "of path").mkdir(parents=True)
    (folder / "shown.py").write_text(SHOW, encoding="utf-8")
    words = {"script": ["shown.py"], "-m": ["-m", "shown"], "-c": ["-c", SHOW]}[start]
    env = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(warm.READ_WHEN_LOADED) or name in ("PATH", "HOME", "SYSTEMROOT")
    }
    env |= {"PYTHONPATH": str(folder / "of path"), "PYTHONIOENCODING": "utf-8", "SHOWN": "yes"}
    done = warm.run([*words, "é", last], cwd=folder, env=env)
    fresh = subprocess.run(
        [sys.executable, *words, "é", last],
        cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (fresh.returncode, fresh.stdout)
    assert done.stdout.endswith("said by a thread\ndone at the end\n")
    assert done.stderr.splitlines()[-1] == fresh.stderr.splitlines()[-1]
    assert done.stderr.startswith("and an error\n")


@pytest.mark.slow
def test_a_variable_that_libraries_read_when_they_are_loaded_is_heeded(tmp_path: Path) -> None:
    code = "import torch; print(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability())"
    env = os.environ | {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default"}
    assert warm.run(["-c", code], cwd=tmp_path, env=env).stdout == "1 DEFAULT\n"
