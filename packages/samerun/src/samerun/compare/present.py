"""The present tree as if a run were to start now: what a recorded run can be compared with."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from samerun.code.checkout import State, checkout_state
from samerun.code.known import Content, KnownFile, read
from samerun.code.repository import GitError
from samerun.compare.causes import CODE, CONFIGURATION, in_order, is_inside
from samerun.compare.comparison import Comparison
from samerun.data import Data
from samerun.machine.description import Machine, environment, installed_packages, read_lock
from samerun.machine.portable import STARTED_AGAIN, needed
from samerun.recorded import RecordedRun
from samerun.trace import Trace

NAME = "."
SECONDS = 120  # for a process that imports what the run had imported
LARGEST_READ = 2**30  # bytes of a data file; of a larger one the size alone is compared
SET_BY_SET_UP = "CUBLAS_WORKSPACE_CONFIG"
ASK = """\
import importlib, json, sys
from dataclasses import asdict
modules, threads, set_up, portable = json.loads(sys.argv[1])
for name in modules:
    importlib.import_module(name)
if set_up:
    import samerun
    samerun.set_up(0, threads, "auto", portable=portable)
elif threads:
    sys.modules["torch"].set_num_threads(threads)
from samerun.machine.arithmetic import fingerprints
from samerun.machine.description import machine
print(json.dumps(asdict(machine(fingerprints()))))
"""


def present(run: RecordedRun, root: Path) -> tuple[RecordedRun, list[str]]:
    """Return what a run would record if it started in the checkout `root` now, without results.

    Its configuration is taken to be that of the run: files that it is composed from are compared as
    code is. Also returned: what could not be looked at, in sentences.
    """
    then, notes = run.trace, list[str]()
    used = _used(then, root)
    lock, broken = None, False
    try:
        lock = read_lock(root)
    except (OSError, ValueError) as error:
        broken = True
        notes.append(f"The uv.lock of the present tree cannot be read: {error}")
    try:
        state = checkout_state(root, lock, broken, used)
    except GitError as error:
        notes.append(f"The code is compared file by file: {error}")
        state = State()
    packages = installed_packages()
    data, data_files = _data(then, root, notes)
    trace = replace(
        then,
        code=state.code,
        patch=state.patch,
        packages=tuple(f"{name}=={version}" for name, version in packages.items()),
        environment=environment(lock, packages),
        files=(*_files(then, root, used, state), *data_files),
        machine=_machine(then, notes),
        data=data,
        problems={},
    )
    here = RecordedRun(NAME, str(root), "", {}, {}, {}, trace, {}, root / "nowhere")
    return here, notes


def _used(then: Trace, root: Path) -> dict[Path, Content]:
    """Return what the disk holds now of the project's files that the run used."""
    found = {}
    for file in then.files:
        path = root / file.path
        if file.kind != "data" and is_inside(file.path) and path.is_file():
            found[path.resolve()] = read(path)
    return found


def _files(then: Trace, root: Path, used: dict[Path, Content], state: State) -> list[KnownFile]:
    files = []
    for file in (file for file in then.files if file.kind != "data"):
        content = used.get((root / file.path).resolve())
        outside = Path(file.path)
        if not is_inside(file.path) and outside.is_file():
            content = read(outside)
        if content:
            held = state.held.get(file.path, "nowhere")
            files.append(KnownFile(file.path, file.kind, content.sha256, content.size, held))
    return files


def _data(then: Trace, root: Path, notes: list[str]) -> tuple[Data | None, list[KnownFile]]:
    """Return the data set of a run, with no digest if one of its files is another by now; and these
    files as they are."""
    files = []
    for file in (file for file in then.files if file.kind == "data"):
        path = root / file.path
        if not path.is_file():
            notes.append(f"The data file {file.path} is not here.")
            files.append(file)
        elif (size := path.stat().st_size) <= LARGEST_READ:
            files.append(replace(file, size=size, sha256=read(path).sha256))
        else:
            files.append(replace(file, size=size, sha256=file.sha256 if size == file.size else ""))
    same = all(file in then.files for file in files)
    return (then.data if same or not then.data else replace(then.data, digest="changed")), files


def _machine(then: Trace, notes: list[str]) -> Machine | None:
    """Return this machine, asked by a process that has loaded what the run had loaded."""
    if then.machine is None:
        return None
    names = {name.split()[0] for name in (*then.machine.arithmetic, *then.machine.libraries)}
    wanted = {"torch": "torch", "numpy": "numpy", "scipy": "scipy.linalg"}
    modules = [module for name, module in wanted.items() if name in names]
    portable = then.config.get("portable") is True
    variables = dict(os.environ)
    if portable:
        variables |= {STARTED_AGAIN: "1", **needed()}
    threads = then.machine.threads.get("torch") if "torch" in modules else None
    set_up = threads is not None and SET_BY_SET_UP in then.machine.variables
    asked = json.dumps([modules, threads, set_up, portable])
    command = [sys.executable, "-P", "-c", ASK, asked]
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=SECONDS, check=True
        )
        fields = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        notes.append(f"The machine could not be asked how it calculates: {type(error).__name__}.")
        return then.machine
    fields["gpus"] = tuple(fields["gpus"])
    # How many threads a run has, it says itself.
    return replace(Machine(**fields), threads=then.machine.threads)


def as_configuration(comparison: Comparison) -> Comparison:
    """Return a comparison with the present tree in which the configuration's files are no code.

    Between two runs the values count, whatever file they came from; here there are only files.
    """
    kinds: dict[str, set[str]] = {}
    for file in comparison.first.trace.files:
        kinds.setdefault(file.path, set()).add(file.kind)
    changed = [
        replace(cause, kind=CONFIGURATION, unlikely=False)
        if cause.kind == CODE and kinds.get(cause.name) == {"configuration"}
        else cause
        for cause in comparison.causes
    ]
    return replace(comparison, causes=in_order(changed))
