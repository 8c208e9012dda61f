"""The packages of a run: those of this environment if they are the same, else built anew."""

import errno
import importlib.metadata
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from samerun.code.repository import git
from samerun.errors import RecordError
from samerun.machine import locked
from samerun.machine.description import installed_packages, normalised, read_lock
from samerun.reproduce import Obstacle, training
from samerun.reproduce.training import Start
from samerun.trace import Trace

PINNED = re.compile(r"([\w.-]+)==(\S+)")
SECONDS = 3600  # for uv, over a slow network
DISK_FULL = re.compile(r"\(os error (28|112)\)")  # as uv says it on Unix, and on Windows


@dataclass(frozen=True)
class Python:
    """The interpreter that repeats a run.

    executable, prefix : of its environment
    chosen : in words, for people
    lacking : what the run had, and what cannot be had here
    """

    executable: Path
    prefix: Path
    chosen: str
    lacking: tuple[str, ...] = ()

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
    OSError
        The disk is full.
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
            f"The run had another environment ({why}). To install what a stranger's lock names "
            "would run code without a sandbox. If you trust it, install it yourself, from code/ of "
            "the unpacked crate, and start this there."
        )
    program = shutil.which(os.environ.get("UV", "")) or shutil.which("uv")
    if program is None:
        raise Obstacle(
            f"The run had another environment ({why}), and there is no uv to build it. Install uv, "
            "or start this in an environment that has what the run had."
        )
    uv = _Uv(program, tree, made.with_name(f"{made.name}.txt"))
    versions = [version for version in (_version(trace), _minor(_version(trace))) if version]
    python = _create(uv, made, versions)
    if lock is not None:
        _sync(uv, python, made, lock)
    lacking = _install(uv, python, made, recorded, ours, lock is None)
    source = "list of packages" if lock is None else "lock"
    return Python(python, made, f"built from the recorded {source}, which has {why}", lacking)


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
            project = tomllib.loads((tree / path).read_text(encoding="utf-8")).get("project")
        except (ValueError, RecursionError):
            continue  # an example of a broken one, perhaps: a test
        if isinstance(project, dict) and isinstance(project.get("name"), str):
            names.add(normalised(project["name"]))
    return names


def _lock(tree: Path, trace: Trace) -> str | None:
    """Return the text of the run's lock, made sure of by its fingerprint; None if it had none."""
    wanted = trace.environment.lock if trace.environment else None
    if wanted is None:
        return None
    try:
        text = read_lock(tree)
        found = wanted if text is None else locked.fingerprint(text)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, RecordError) as error:
        raise Obstacle(f"The uv.lock of the run cannot be read: {error}") from None
    # One that git ignores is not in the commit: then the list of packages has to do.
    if found != wanted:
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


def _create(uv: "_Uv", made: Path, versions: Iterable[str]) -> Path:
    said = ""
    for version in versions:
        said = uv("venv", "--no-project", "--python", version, str(made))
        if not said:
            return made / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    raise Obstacle(f"No environment with the run's Python can be made: {said}")


def _sync(uv: "_Uv", python: Path, made: Path, lock: str) -> None:
    # Not --frozen: a lock may be without addresses, and uv fills them in.
    # --python, or a variable or a file of the project would have it make another environment.
    path = uv.tree / "uv.lock"
    as_it_was = path.read_bytes()
    said = uv("sync", "--python", str(python), UV_PROJECT_ENVIRONMENT=str(made))
    if said:
        raise Obstacle(f"The recorded lock cannot be installed here: {said}")
    if not locked.lock_the_same(lock, path.read_text(encoding="utf-8")):
        raise Obstacle("uv would change the recorded lock: pyproject.toml asks for something else.")
    path.write_bytes(as_it_was)


def _install(
    uv: "_Uv", python: Path, made: Path, recorded: Mapping[str, str], ours: set[str], all: bool
) -> tuple[str, ...]:
    """Install what the run had beside its lock: of a group, an extra, or by hand.

    Returns what cannot be had here, as a package of another platform.

    all : whether that is no longer the run's environment
    """
    lacking = differences(recorded, _installed(made), ours)
    pinned = [f"{name}=={version}" for name, (version, _) in lacking.items()]
    install = ("pip", "install", "--no-deps", "--python", str(python))
    if not pinned or not (said := uv(*install, *pinned)):
        return ()
    for each in pinned:  # one that cannot be had keeps none of the others away
        said = uv(*install, each) or said
    lacking = differences(recorded, _installed(made), ours)
    if refused := {n: seen for n, seen in lacking.items() if all or seen[1] is not None}:
        raise Obstacle(
            f"The packages of the run cannot be installed here: {_in_words(refused)}. {said}"
        )
    return tuple(f"{name} {version}" for name, (version, _) in lacking.items())


def _installed(made: Path) -> dict[str, str]:
    """Return the versions of the packages in an environment."""
    (site,) = [path for path in made.rglob("site-packages") if path.is_dir()][:1]
    found = importlib.metadata.distributions(path=[str(site)])
    return {normalised(d.metadata["Name"]): d.version for d in found}


@dataclass(frozen=True)
class _Uv:
    """Runs uv; returns why it failed, "" if it did not. It ends with this process.

    program : its path
    tree : the code of the run, whose settings it heeds
    output : the file for what it prints

    Raises OSError where the disk is full.
    """

    program: str
    tree: Path
    output: Path

    def __call__(self, *arguments: str, **variables: str) -> str:
        kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
        words = (self.program, *arguments, "--quiet", "--no-progress")
        status = training.train(Start(words, self.tree, kept | variables), self.output, SECONDS)
        if status is None:
            return f"uv {arguments[0]} took more than {SECONDS} s"
        if not status:
            return ""
        said = training.last_lines(self.output, 6)
        if DISK_FULL.search(said):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.output.parent))
        lines = " ".join(line.strip() for line in said.splitlines())
        return f"uv {arguments[0]}: {lines or f'exit status {status}'}"
