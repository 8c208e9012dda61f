"""Where Python's own library and what is installed lie: all else is code of the project."""

import functools
import os
import site
import sys
import sysconfig


def in_environment(path: str) -> bool:
    """Say whether a file belongs to Python's own library or to what is installed."""
    folders = _environment()
    if os.path.normcase(path).startswith(folders):  # as almost always: asked at every import
        return True
    return os.path.normcase(os.path.realpath(path)).startswith(folders)


@functools.cache
def _environment() -> tuple[str, ...]:
    named = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    named |= {*site.getsitepackages(), site.getusersitepackages(), os.path.dirname(os.__file__)}
    if sys.prefix != sys.base_prefix:  # else it may be /usr, and a project may lie below that
        named.add(sys.prefix)
    real = {os.path.realpath(folder) for folder in named if folder}
    return tuple(os.path.normcase(folder) + os.sep for folder in {*named, *real} if folder)
