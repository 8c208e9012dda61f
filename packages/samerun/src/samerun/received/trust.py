"""What a crate from a stranger may ask to have done, beside running the code that it shows.

Its code is a program, and no look at it tells what that does: hence the sandbox, and the question.
But code alone runs, in its own folder: no other program, no variable that loads one, no change of
how git treats files, no place outside.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath, PureWindowsPath

from samerun.errors import RecordError
from samerun.export.sources import LINK, PLAIN, PROGRAM, SUBMODULE
from samerun.machine.description import VARIABLES
from samerun.process.variables import LIBRARIES
from samerun.received import patches
from samerun.received.safety import MEGABYTE, Refused, check_name, folded, shown
from samerun.trace import Trace

# Of those that a trace records, these load other code into every program, or steer its loader.
LOADERS = ("LD_PRELOAD", "GLIBC_TUNABLES")
LARGEST_RESULT = 256 * MEGABYTE  # of the binary files that a patch makes; a run stores 20 MB of one
# They decide what git does with other files.
OF_GIT = (".gitattributes", ".gitmodules", ".lfsconfig")
# What Python imports, on some system, wherever it lies beside a script.
IMPORTABLE = (".py", ".pyw", ".pyc", ".so", ".pyd", ".dylib", ".dll")
CODE_OF_THE_PROJECT = ("imported", "configuration", "imported later")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REMOTE = re.compile(
    r"(?:https?|ssh|git)://[\w.~:/@+-]+|\w[\w.-]*@[\w.-]+:[\w.~/+-]+"
    r"|(?:/|[A-Za-z]:[\\/])[^\x00-\x1f]*"  # a clone of a clone on the same disk
)
MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
OPTION = re.compile(r"(?:-[A-Za-z][\w-]*|--[A-Za-z][\w.-]*|-\.?\d[\w.+-]*)(?:=|$)")
KEY = re.compile(r"(?:\+{0,2}|~)[A-Za-z_][\w./@-]*(?:=|$)")
BETWEEN = re.compile(r"[=:,\[\](){}'\"\s]")  # pieces of a value, such as a list
# Words, numbers, and paths that lead down. Not ~, $, @ and \, by which programs reach elsewhere.
PIECE = re.compile(r"(?:[\w+%#?*-][\w.+%#?*@-]*|\.[\w.]*)(?:/[\w.+%#?*@-]+)*/?")
UPWARDS = re.compile(r"(?:^|/)\.\.+(?:/|$)")
# Of Hydra's own settings, those that name folders and say how much is printed. Others set
# variables, or name what is to be called.
OF_HYDRA = (
    *("hydra.run.dir", "hydra.job.name", "hydra.job.chdir", "hydra.output_subdir"),
    *("hydra.verbose", "hydra/job_logging", "hydra/hydra_logging", "hydra/output"),
)
RERUN = "--experimental-rerun"  # of Hydra's: it unpickles a file, and may be abbreviated
CALLS = ("_target_", "class_path")


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


def check_data(trace: Trace, code: Mapping[str, str]) -> None:
    """Refuse data that would take the place of code, or be imported as such.

    code : the SHA-256 of the project's files, by their paths
    """
    known = {folded(path): digest for path, digest in code.items()}
    for file in trace.files:
        if file.kind != "data" or known.get(folded(file.path)) == file.sha256:
            continue
        if folded(file.path) in known:
            raise Refused(f"{shown(file.path)} is code and, with other content, data")
        if file.path.lower().endswith(IMPORTABLE) or _of_git(file.path):
            raise Refused(f"{shown(file.path)} is among its data, and is code")


def check_brought(data: Mapping[str, str], trace: Trace) -> None:
    """Refuse files that are given as data, by their paths and sums, and are not the run's."""
    named = {(file.path, file.sha256) for file in trace.files if file.kind == "data"}
    for path, digest in data.items():
        if (path, digest) not in named:
            raise Refused(f"{shown(path)} is given as data, and the run did not read it")


def check_patch(changes: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Refuse a patch that does more than to change plain files.

    changes : of every path the mode before and after, as `sources.rebuild` returns them
    """
    for path, modes in changes.items():
        check_name(path)
        if _of_git(path):
            raise Refused(f"its patch changes {shown(path)}, by which git treats other files")
        for mode in modes:
            if mode:
                check_modes({path: mode})


def _of_git(path: str) -> bool:
    return PurePosixPath(folded(path)).name in OF_GIT


def check_size(patch: bytes) -> None:
    """Refuse a patch that makes far more than it weighs, before it is applied."""
    try:
        total = sum(patches.sizes(patch))
    except ValueError as error:
        raise Refused(f"its patch cannot be read: {error}") from None
    if total > LARGEST_RESULT:
        raise Refused(f"its patch makes {total / MEGABYTE:.0f} MB")


def check_modes(modes: Mapping[str, str]) -> None:
    """Refuse links and submodules among the files of the code."""
    for path, mode in modes.items():
        kind = mode.partition(" ")[0]
        if kind == LINK:
            raise Refused(f"{shown(path)} in its code is a link")
        if kind == SUBMODULE:
            raise Refused(f"{shown(path)} in its code is a submodule, which a crate does not hold")
        if mode not in (PLAIN, PROGRAM):
            raise Refused(f"{shown(path)} in its code has the mode {shown(mode)}")


def _check_code(trace: Trace) -> None:
    commit, remote = trace.code.commit, trace.code.remote
    if commit is not None and not COMMIT.fullmatch(commit):
        raise Refused(f"it names the commit {shown(commit)}")
    if remote is not None and not REMOTE.fullmatch(remote):
        raise Refused(f"it names the remote {shown(remote)}")


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
        raise Refused(f"it sets the variable {shown(wrong[0])}")
    for name, value in [*steering.items(), *trace.variables.items()]:
        if any(unicodedata.category(c) == "Cc" for c in str(value)):
            raise Refused(f"the value of its variable {shown(name)} has control characters")


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
        raise Refused(
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
    """Refuse an argument that may lead out of the project, or have something else called.

    The code may be known and trusted, and only its arguments be a stranger's.
    """
    if any(not c.isprintable() for c in word):
        raise Refused(f"the argument {shown(word)} has control characters")
    name = (OPTION.match(word) or KEY.match(word) or [""])[0].removesuffix("=")
    pieces = BETWEEN.split(word[len(name) :])
    unnamed = ("=" in word or word.startswith(("-", "~"))) and not name
    if unnamed or _is_home(word) or not all(map(_stays, [name.lstrip("+~"), *pieces])):
        raise Refused(
            f"the argument {shown(word)} may lead to a place outside of the project. Expected: "
            "names, numbers, words and paths below the project"
        )
    key = name.lstrip("+~")
    if re.search(r"(?:^|@|_global_\.)hydra\b", key) and key not in OF_HYDRA:
        raise Refused(f"the argument {shown(word)} changes how Hydra starts the script")
    if len(name) > 2 and RERUN.startswith(name):
        raise Refused(f"the argument {shown(word)} would have Hydra unpickle a file")
    if any(what in word for what in CALLS):
        raise Refused(f"the argument {shown(word)} names what is to be called")


def _is_home(word: str) -> bool:
    """Say whether a word is no way of Hydra's to leave a key out, but the home of a user here."""
    user = word.partition("/")[0]
    home = os.path.expanduser(user)
    return home != user and os.path.isdir(home)


def _stays(piece: str) -> bool:
    """Say whether a piece of an argument is a word, or a path that stays below its folder."""
    return not piece or bool(PIECE.fullmatch(piece) and not UPWARDS.search(piece))
