"""The code that this process runs: every Python file of the project, as it was when imported.

A process may live for days, and the disk moves on meanwhile. So the bytes of each imported file
outside of the environment (Python's own library and what is installed) are kept as it is imported.

watch   begins to keep them, and reads what was imported before
files   returns what was kept
roots   returns the folders that it came from

A file that was not seen as it was imported (it came before samerun, or by other means than an
import statement) is read as soon as it is found, and compiled: if its functions are others than
those that the process holds, the file had been edited before, and is marked as not `certain`.
"""

import base64
import importlib.abc
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType

from samerun.code.known import Content, content_of
from samerun.machine.installed import in_environment

LAUNCHER = "SAMERUN_LAUNCHER"  # hands the script to the workers of its process
LARGEST_VARIABLE = 30_000  # characters; Windows takes 32,767


_files: dict[Path, Content] = {}  # by the path without symbolic links
_links: dict[Path, Path] = {}  # of files that were imported by another name: that name
_looked_at: set[str] = set()


def files() -> dict[Path, Content]:
    """Return every file outside of the environment that this process runs, by its real path."""
    _find_others()
    return dict(_files)


def moved_links() -> list[Path]:
    """Return the symbolic links that have led elsewhere since a module was imported by them."""
    return [link for link, target in _links.items() if link.resolve() != target]


def roots(project: Path) -> tuple[str, ...]:
    """Return the folders of a project that modules are found in, relative to it.

    In Python's order; at the end those that an import hook leads to, as some editable
    installations do.
    """
    project = project.resolve()
    folders = [Path(entry).resolve() for entry in sys.path]
    for name, module in list(sys.modules.items()):
        values = getattr(module, "__dict__", {})
        file = values.get("__file__")
        top = "." not in name and name != "__main__"
        # To follow the links of each of some hundred files takes a tenth of a second.
        if top and isinstance(file, str) and not in_environment(file):
            folders.append(Path(file).resolve().parents["__path__" in values])
    ours = (f for f in folders if f.is_relative_to(project) and not in_environment(f"{f}{os.sep}"))
    return tuple(dict.fromkeys(folder.relative_to(project).as_posix() for folder in ours))


def watch() -> None:
    """Keep what is imported from now on; what was imported before is read now."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    # Just before Python's own, so that what comes before that still does.
    before = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
    sys.meta_path.insert(before, _Finder())
    _find_others()
    _hand_over()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what PathFinder finds, and has the files of the project kept as they are loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin is None or in_environment(spec.origin):
            return spec
        if type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module from its source and keeps that.

    Never from a .pyc file: Python takes one for up to date if its source had the same size and was
    saved in the same second, so that what runs need not be what the file says.
    """

    _loaded = False

    def path_stats(self, path: str) -> dict[str, object]:
        raise OSError("compiled anew")  # Python's sign that there is no use in a .pyc file

    def get_data(self, path: str) -> bytes:
        content = super().get_data(path)
        if not self._loaded:  # later calls come from those who show the source
            self._loaded = True
            _keep(path, content)
        return content


def _keep(path: str, content: bytes, certain: bool = True) -> None:
    real = Path(path).resolve()
    named = Path(os.path.abspath(path))
    if named != real:
        _links[named] = real
    _files[real] = content_of(content, certain)


# ------------------------------------------------------- what was not seen as it was imported


def _find_others() -> None:
    """Read what runs and was not kept: modules, and code that came without its module."""
    running = _running_code()
    for module in list(sys.modules.values()):
        values = getattr(module, "__dict__", {})  # a lazy module may import at getattr(module, ...)
        file = values.get("__file__")
        if isinstance(file, str) and _is_new(file):
            code = [*running.pop(file, ()), *_functions(values, file)]
            _keep_late(file, code if _can_be_compared(values) else ())
    for file, code in running.items():
        if _is_new(file):
            handed = _handed_over(file)
            if handed is not None and _holds(handed, file, code):
                _keep(file, handed)
            else:
                _keep_late(file, code)


def _can_be_compared(module: dict[str, object]) -> bool:
    """Say whether a module runs what its file, compiled, says, and whether to doubt it.

    Other loaders, such as pytest's, compile something else. This package came a moment ago.
    """
    ours = str(module.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
    return not ours and type(module.get("__loader__")) in (SourceFileLoader, _Loader)


def _is_new(file: str) -> bool:
    """Say, once, of a file outside of the environment that it is not kept yet."""
    if file in _looked_at:
        return False
    _looked_at.add(file)
    return not in_environment(file) and Path(file).resolve() not in _files


def _running_code() -> dict[str, list[CodeType]]:
    """Return the code on the stack, with the functions around it, by the name of its file.

    A worker gets the functions of a script by value, so that no module of it need be there.
    """
    found: dict[str, list[CodeType]] = {}
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _looked_at and os.path.isfile(file):
            if file not in found:
                found[file] = list(_functions(frame.f_globals, file))
            found[file].append(frame.f_code)
        frame = frame.f_back
    return found


def _functions(values: dict[str, object], file: str) -> Iterator[CodeType]:
    """Yield the code of the functions and methods that a module's names lead to."""
    for value in list(values.values()):
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for member in members:
            code = _code(member)
            if code is not None and code.co_filename == file:
                yield code


def _code(function: object) -> CodeType | None:
    try:
        while hasattr(function, "__wrapped__"):  # below its decorators
            function = function.__wrapped__
        function = getattr(function, "__func__", function)
        code = getattr(function, "__code__", None)
    except Exception:  # objects may do anything when they are asked for a name
        return None
    return code if isinstance(code, CodeType) else None


def _keep_late(file: str, code: Sequence[CodeType]) -> None:
    """Keep a file that was imported unseen, as the disk has it."""
    path = Path(file)
    if not path.exists():  # a module of a zip archive, perhaps
        path = next((folder for folder in path.parents if folder.is_file()), path)
    try:
        content = path.read_bytes()
    except OSError:
        _keep(str(path), b"", certain=False)
        return
    comparable = path.suffix == ".py" and bool(code)
    _keep(str(path), content, certain=not comparable or _holds(content, file, code))


def _holds(content: bytes, file: str, code: Iterable[CodeType]) -> bool:
    """Say whether a file, compiled, holds all of this code."""
    try:
        whole = compile(content, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    held = set(_nested(whole))
    return all(item in held for item in code)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


# ------------------------------------------------------------------------ for worker processes


def _hand_over() -> None:
    """Leave this process's script to the processes that it starts.

    A launcher sends the functions of a script to its workers by value, and hours later perhaps.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    kept = _files.get(Path(file).resolve()) if file else None
    if file is None or kept is None or kept.content is None or not kept.certain:
        return
    packed = base64.b64encode(zlib.compress(kept.content)).decode()
    value = json.dumps({"file": os.path.abspath(file), "content": packed})
    if len(value) <= LARGEST_VARIABLE:
        os.environ[LAUNCHER] = value


def _handed_over(file: str) -> bytes | None:
    try:
        handed = json.loads(os.environ[LAUNCHER])
        if handed["file"] == os.path.abspath(file):
            return zlib.decompress(base64.b64decode(handed["content"]))
    except (KeyError, ValueError, TypeError, zlib.error):
        pass
    return None
