"""The packages of a run: those of this environment if they are the same, else built anew."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from samerun.code.repository import git
from samerun.errors import RecordError
from samerun.machine import locked
from samerun.machine.description import installed_packages, normalised, read_lock
from samerun.reproduce import Obstacle
from samerun.trace import Trace

PINNED = re.compile(r"([\w.-]+)==(\S+)")
SECONDS = 3600  # for uv, over a slow network


@dataclass(frozen=True)
class Python:
    """The interpreter that repeats a run.

    executable, prefix : of its environment
    chosen : in words, for people
    """

    executable: Path
    prefix: Path
    chosen: str

    @property
    def scripts(self) -> Path:
        return self.executable.parent


def choose(
    trace: Trace, tree: Path, made: Path, clones: Iterable[Path], *, build: bool = True
) -> Python:
    """Return this environment if it is the recorded one, else another, built as `made`.

    tree : the code of the run, with its uv.lock
    build : whether another one may be built

    Raises
    ------
    Obstacle
        Another one is needed and cannot be built.
    """
    recorded = dict(PINNED.findall("\n".join(trace.packages)))
    ours = _projects(tree)
    others = differences(recorded, installed_packages(), ours)
    lock = _lock(tree, trace)
    same_python = _minor(_version(trace)) in ("", _minor(sys.version.split()[0]))
    absent = [name for name, (_, here) in others.items() if here is None]
    if same_python and (
        not others or (len(absent) == len(others) and _is_locked_here(trace, clones))
    ):
        return Python(Path(sys.executable), Path(sys.prefix), "this one: the same packages")
    why = _in_words(others) if others else f"Python {_version(trace)}"
    if not build:
        raise Obstacle(
            f"The run had other packages ({why}). To install what a stranger's lock names would "
            "run code without a sandbox. If you trust it, install them yourself, from code/ of "
            "the unpacked crate, and start this there."
        )
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise Obstacle(f"The run had other packages ({why}), and there is no uv to install them.")
    versions = [version for version in (_version(trace), _minor(_version(trace))) if version]
    _create(uv, made, versions, tree)
    python = made / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if lock is not None:
        _sync(uv, tree, made, lock, trace)
    _install(uv, python, made, recorded, ours, lock is None)
    return Python(python, made, f"built from the recorded lock, which has {why}")


def differences(
    recorded: Mapping[str, str], present: Mapping[str, str], ours: Iterable[str]
) -> dict[str, tuple[str, str | None]]:
    """Return the packages that are not here as recorded: the version then, and now if any.

    Those that are here besides are no difference; nor are the project's own packages (`ours`),
    whose code is that of the commit.
    """
    return {
        name: (version, present.get(name))
        for name, version in recorded.items()
        if name not in ours and present.get(name) != version
    }


def _in_words(others: Mapping[str, tuple[str, str | None]]) -> str:
    said = [
        f"{name} {then} ({'not installed here' if now is None else f'here {now}'})"
        for name, (then, now) in list(others.items())[:3]
    ]
    more = [f"{len(others) - 3} more"] if len(others) > 3 else []
    return ", ".join([*said, *more])


def _projects(tree: Path) -> set[str]:
    """Return the names of the packages whose code is in the project."""
    listed = os.fsdecode(git(tree, "ls-files", "-z", "--cached", "--others")).split("\0")
    names = set()
    for path in listed:
        if path.rpartition("/")[2] != "pyproject.toml" or not (tree / path).is_file():
            continue
        try:
            project = tomllib.loads((tree / path).read_text(encoding="utf-8")).get("project", {})
        except ValueError:
            continue  # an example of a broken one, perhaps: a test
        if isinstance(project.get("name"), str):
            names.add(normalised(project["name"]))
    return names


def _lock(tree: Path, trace: Trace) -> str | None:
    """Return the text of the run's lock, made sure of by its fingerprint; None if it had none."""
    wanted = trace.environment.lock if trace.environment else None
    if wanted is None:
        return None
    try:
        text = read_lock(tree)
    except (OSError, ValueError, RecordError) as error:
        raise Obstacle(f"The uv.lock of the run cannot be read: {error}") from None
    # One that git ignores is not in the commit: then the list of packages has to do.
    if text is not None and locked.fingerprint(text) != wanted:
        raise Obstacle("The uv.lock of the commit and patch is not the one that the run recorded.")
    return text


def _is_locked_here(trace: Trace, clones: Iterable[Path]) -> bool:
    """Say whether a checkout here locks what the run's locked.

    Then a package that is not installed here belongs to another platform or to a group.
    """
    wanted = trace.environment.lock if trace.environment else None
    for clone in clones:
        try:
            text = read_lock(clone)
        except (OSError, ValueError):
            continue
        if text is not None and locked.fingerprint(text) == wanted:
            return True
    return False


def _version(trace: Trace) -> str:
    """Return the version of Python that a run had; "" if it is not known."""
    return trace.environment.python.rpartition(" ")[2] if trace.environment else ""


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _create(uv: str, made: Path, versions: Iterable[str], tree: Path) -> None:
    said = ""
    for version in versions:
        said = _uv(uv, tree, "venv", "--no-project", "--python", version, str(made))
        if not said:
            return
    raise Obstacle(f"No environment with the run's Python can be made: {said}")


def _sync(uv: str, tree: Path, made: Path, lock: str, trace: Trace) -> None:
    # Not --frozen: a lock may be without addresses, and uv fills them in.
    said = _uv(uv, tree, "sync", UV_PROJECT_ENVIRONMENT=str(made))
    if said:
        raise Obstacle(f"The recorded lock cannot be installed here: {said}")
    now = (tree / "uv.lock").read_text(encoding="utf-8")
    if not locked.lock_the_same(lock, now):
        raise Obstacle("uv would change the recorded lock: pyproject.toml asks for something else.")


def _install(
    uv: str, python: Path, made: Path, recorded: Mapping[str, str], ours: set[str], all: bool
) -> None:
    """Install what the run had beside its lock: of a group, an extra, or by hand."""
    (site,) = [path for path in made.rglob("site-packages") if path.is_dir()][:1]
    found = importlib.metadata.distributions(path=[str(site)])
    present = {normalised(d.metadata["Name"]): d.version for d in found}
    lacking = differences(recorded, present, ours)
    if not lacking:
        return
    install = ("pip", "install", "--no-deps", "--python", str(python))
    pinned = {name: f"{name}=={version}" for name, (version, _) in lacking.items()}
    if not (said := _uv(uv, made, *install, *pinned.values())):
        return
    # Of another platform, perhaps. Those that are here in another version count.
    changed = [pinned[name] for name, (_, here) in lacking.items() if here is not None or all]
    if changed and (said := _uv(uv, made, *install, *changed)):
        raise Obstacle(f"The packages of the run cannot be installed here: {said}")


def _uv(uv: str, folder: Path, *arguments: str, **variables: str) -> str:
    """Run uv; return why it failed, "" if it did not."""
    kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    try:
        done = subprocess.run(
            [uv, *arguments, "--quiet", "--no-progress"],
            cwd=folder,
            env=kept | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"uv {arguments[0]} took more than {SECONDS} s"
    if not done.returncode:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"uv {arguments[0]}: {' '.join(line.strip() for line in lines[-6:])}"
