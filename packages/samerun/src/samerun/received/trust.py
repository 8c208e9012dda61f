"""What a crate from a stranger may ask to have done, beside running the code that it shows.

Its code is a program, and no look at it tells what that does: hence the sandbox, and the question.
But code alone runs, in its own folder: no other program, no variable that loads one, no change of
how git treats files, no place outside.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath, PureWindowsPath

from samerun.errors import RecordError
from samerun.export.sources import LINK, PLAIN, PROGRAM, SUBMODULE
from samerun.machine.description import VARIABLES
from samerun.process.variables import LIBRARIES
from samerun.received import patches
from samerun.received.safety import MEGABYTE, check_name, refuse, shown
from samerun.trace import Trace

# Of those that a trace records, these load other code into every program, or steer its loader.
LOADERS = ("LD_PRELOAD", "GLIBC_TUNABLES")
LARGEST_RESULT = 256 * MEGABYTE  # of the binary files that a patch makes; a run stores 20 MB of one
# They decide what git does with other files.
OF_GIT = (".gitattributes", ".gitmodules", ".lfsconfig")
CODE_OF_THE_PROJECT = ("imported", "configuration", "imported later")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REMOTE = re.compile(
    r"(?:https?|ssh|git)://[\w.~:/@+-]+|\w[\w.-]*@[\w.-]+:[\w.~/+-]+"
    r"|(?:/|[A-Za-z]:[\\/])[^\x00-\x1f]*"  # a clone of a clone on the same disk
)
MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
# In an argument; a ~ before a key is Hydra's way to leave it out.
ELSEWHERE = re.compile(r"(?:^|[=:,\[({'\"\s])(?:/|[A-Za-z]:[\\/]|\\\\)|[=:,\[({'\"\s]~|\w://")


def check(trace: Trace, code: Iterable[str]) -> None:
    """Refuse a trace that asks for something else than a script of its own project.

    code : the paths of the project's files

    Raises
    ------
    RecordError
        With what it asks for.
    """
    _check_code(trace)
    _check_files(trace)
    _check_variables(trace)
    if trace.repeat and trace.repeat.words:
        _check_command(trace, set(code))


def check_patch(changes: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Refuse a patch that does more than to change plain files.

    changes : of every path the mode before and after, as `sources.rebuild` returns them
    """
    for path, modes in changes.items():
        check_name(path)
        if PurePosixPath(path.casefold()).name in OF_GIT:
            raise refuse(f"its patch changes {shown(path)}, by which git treats other files")
        for mode in modes:
            if mode:
                check_modes({path: mode})


def check_size(patch: bytes) -> None:
    """Refuse a patch that makes far more than it weighs, before it is applied."""
    try:
        total = sum(patches.sizes(patch))
    except ValueError as error:
        raise refuse(f"its patch cannot be read: {error}") from None
    if total > LARGEST_RESULT:
        raise refuse(f"its patch makes {total / MEGABYTE:.0f} MB")


def check_modes(modes: Mapping[str, str]) -> None:
    """Refuse links and submodules among the files of the code."""
    for path, mode in modes.items():
        kind = mode.partition(" ")[0]
        if kind == LINK:
            raise refuse(f"{shown(path)} in its code is a link")
        if kind == SUBMODULE:
            raise refuse(f"{shown(path)} in its code is a submodule, which a crate does not hold")
        if mode not in (PLAIN, PROGRAM):
            raise refuse(f"{shown(path)} in its code has the mode {shown(mode)}")


def _check_code(trace: Trace) -> None:
    commit, remote = trace.code.commit, trace.code.remote
    if commit is not None and not COMMIT.fullmatch(commit):
        raise refuse(f"it names the commit {shown(commit)}")
    if remote is not None and not REMOTE.fullmatch(remote):
        raise refuse(f"it names the remote {shown(remote)}")


def _check_files(trace: Trace) -> None:
    for file in trace.files:
        absolute = PurePosixPath(file.path).is_absolute() or PureWindowsPath(file.path).drive
        if absolute and file.kind in ("data", *CODE_OF_THE_PROJECT):
            continue  # said where it lay; nothing is taken from there
        check_name(file.path)
    for path in (*trace.paths, *([trace.script] if trace.script else [])):
        if path != ".":
            check_name(path)


def _check_variables(trace: Trace) -> None:
    steering = trace.machine.variables if trace.machine else {}
    wrong = [name for name in steering if name not in VARIABLES or name in LOADERS]
    wrong += [name for name in trace.variables if not LIBRARIES.fullmatch(name)]
    if wrong:
        raise refuse(f"it sets the variable {shown(wrong[0])}")
    for name, value in [*steering.items(), *trace.variables.items()]:
        if any(unicodedata.category(c) == "Cc" for c in str(value)):
            raise refuse(f"the value of its variable {shown(name)} has control characters")


def _check_command(trace: Trace, code: set[str]) -> None:
    assert trace.repeat is not None
    words, folder = list(trace.repeat.words), trace.repeat.directory
    if folder != ".":
        check_name(folder)
    start = words[2:] if words[:2] == ["uv", "run"] else words
    start = start[1:] if start[:1] == ["python"] else start
    if start[:1] == ["-m"]:
        script, arguments = _module(trace, start), start[2:]
    else:
        script = _script(folder, start[0] if start else "")
        arguments = start[1:]
    if script is None or script not in code:
        raise refuse(
            f"its command {shown(' '.join(words[:4]))} is not one of a script of the project. "
            "Expected: uv run SCRIPT.py, with overrides of its configuration"
        )
    for word in arguments:
        _check_argument(word)


def _script(folder: str, word: str) -> str | None:
    """Return the path of a script from the root of the project, None if it is none."""
    if not word.endswith(".py") or word.startswith("-"):
        return None
    path = PurePosixPath(folder, word)
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()  # a script may be typed as ../train.py in a folder of the project
        elif part != ".":
            parts.append(part)
    name = "/".join(parts)
    try:
        check_name(name)
    except RecordError:
        return None
    return name


def _module(trace: Trace, start: list[str]) -> str | None:
    """Return the script that `python -m MODULE` runs, if the trace names it, too."""
    name = start[1] if len(start) > 1 else ""
    if not MODULE.fullmatch(name) or trace.script is None:
        return None
    path = name.replace(".", "/")
    endings = (f"{path}.py", f"{path}/__main__.py")
    return trace.script if f"/{trace.script}".endswith(tuple(f"/{e}" for e in endings)) else None


def _check_argument(word: str) -> None:
    """Refuse an argument that leads out of the project, or has something else called."""
    if any(not c.isprintable() for c in word):
        raise refuse(f"the argument {shown(word)} has control characters")
    if ELSEWHERE.search(word) or ".." in re.split(r"[/\\=,]", word):
        raise refuse(f"the argument {shown(word)} leads to a place outside of the project")
    if "_target_" in word:
        raise refuse(f"the argument {shown(word)} names what is to be called")
