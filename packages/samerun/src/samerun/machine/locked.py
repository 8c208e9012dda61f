"""What a uv.lock locks, however it is written: packages, versions, hashes, and where each goes.

uv writes one resolution in different words from release to release: `revision` counts the changes
of its form, and a marker that follows from others is written by some and left out by others. So two
locks are the same here if every project, extra and group in them gets the same packages, from files
with the same hashes, on every platform and Python of a list; addresses play no part.
"""

import difflib
import functools
import hashlib
import json
import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from samerun.lock import REGISTRY, neutral

# What markers ask of a machine: os_name, sys_platform, platform_system, platform_machine.
PLATFORMS = (
    ("posix", "linux", "Linux", "x86_64"),
    ("posix", "linux", "Linux", "aarch64"),
    ("posix", "darwin", "Darwin", "arm64"),
    ("posix", "darwin", "Darwin", "x86_64"),
    ("nt", "win32", "Windows", "AMD64"),
    ("nt", "win32", "Windows", "ARM64"),
)
# The first patch release and one past all others: a marker may ask for 3.11.5.
PYTHONS = tuple(f"3.{minor}.{patch}" for minor in range(8, 17) for patch in (0, 99))

# The lists of files are nine tenths of a lock, and tomllib is slow.
FILES = re.compile(r"^(?:wheels = \[\n(?: .*\n)*\]|sdist = .*)\n", re.M)
HASH = re.compile(r'hash = "([^"]+)"')
SERVER = re.compile(r'url = "(\w+://[^/"]*)')
REVISION = re.compile(r"^revision = \d+\n", re.M)

Targets = int  # a set of targets: one bit for each
Entry = Mapping[str, Any]  # a table of the lock


@dataclass(frozen=True, eq=False)  # equal to itself alone, so that it can be a key
class Package:
    name: str
    version: str | None  # None where the project computes it when it is built
    hashes: tuple[str, ...]
    entry: Entry


def versions(lock: str) -> dict[str, set[str | None]]:
    """Return the locked versions of every package, by name; None where a build computes it.

    Raises
    ------
    ValueError
        The text is no uv.lock.
    """
    found: dict[str, set[str | None]] = {}
    for entry in _tables(lock).get("package", []):
        found.setdefault(entry["name"], set()).add(entry.get("version"))
    return found


def differences(one: str, other: str) -> dict[str, tuple[str, str]]:
    """Return the packages that two locks do not lock alike, with what each says of them.

    Raises
    ------
    ValueError
        A text is no uv.lock.
    """
    listed = [_listed(lock) for lock in (one, other)]
    found = {}
    for name in sorted({*listed[0], *listed[1]}):
        was, now = (locked.get(name, {}) for locked in listed)
        if was != now:
            versions = [" or ".join(locked) or "not locked" for locked in (was, now)]
            if versions[0] == versions[1]:
                versions[1] = "other files of that version"
            found[name] = (versions[0], versions[1])
    return found


def _listed(lock: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the hashes of every version of every package."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for package in sorted(
        _packages(lock, _tables(lock)), key=lambda package: package.version or ""
    ):
        found.setdefault(package.name, {})[package.version or "built"] = package.hashes
    return found


def fingerprint(lock: str) -> str:
    """Return a SHA-256 sum that is equal for locks that lock the same, and only for them.

    Raises
    ------
    ValueError
        The text is no uv.lock.
    """
    return hashlib.sha256(_meaning(lock).encode()).hexdigest()


def lock_the_same(one: str, other: str) -> bool:
    """Say whether two locks, of any releases of uv and any indexes, lock the same.

    A text that is no uv.lock, such as one with the marks of a merge, is the same as itself alone.
    """
    # The common case first, and quickly: `one` is committed in the neutral form.
    if one in (other, as_neutral := neutral(other)) or neutral(one) == as_neutral:
        return True
    try:
        return _meaning(one) == _meaning(other)
    except ValueError:
        return False


def patch(committed: str, current: str) -> str:
    """Return git's patch from the committed uv.lock to the current one; "" if they lock the same.

    Either may be "", of a lock that is not there. The patch tells of no index that the committed
    lock does not name: where the current one has other addresses, those of a private mirror say,
    the patch makes its neutral form, which uv fills in again.
    """
    if committed == current or (committed and current and lock_the_same(committed, current)):
        return ""
    if not _addresses(current) <= _addresses(committed):
        current = neutral(current)
    header = "diff --git a/uv.lock b/uv.lock\n"
    if not committed:
        header += "new file mode 100644\n"
    if not current:
        header += "deleted file mode 100644\n"
    lines = difflib.unified_diff(
        _lines(committed),
        _lines(current),
        "a/uv.lock" if committed else "/dev/null",
        "b/uv.lock" if current else "/dev/null",
    )
    no_newline = "\n\\ No newline at end of file\n"
    return header + "".join(line if line.endswith("\n") else line + no_newline for line in lines)


def _lines(text: str) -> list[str]:
    # Not splitlines(), which knows more ends of lines than git.
    return re.findall(r".*\n|.+$", text)


def _addresses(lock: str) -> set[str]:
    """Return the addresses of a lock's indexes, and the servers of its files."""
    return {*REGISTRY.findall(lock), *SERVER.findall(lock)}


@functools.lru_cache(maxsize=4)  # a sweep asks for every run
def _meaning(lock: str) -> str:
    """Return all that a lock determines, in one canonical text."""
    tables = _tables(lock)
    if tables.get("conflicts"):  # its markers name extras in a way of uv's own
        return REVISION.sub("", neutral(lock))
    packages = _packages(lock, tables)
    targets = _targets(tables.get("requires-python", ""))
    on = _evaluator(targets)
    installed = {
        wanted: _installed(edges, packages, on)
        for wanted, edges in _wanted(tables, packages).items()
    }
    meaning = {
        "requires-python": tables.get("requires-python"),
        "packages": sorted([*_identity(package), package.hashes] for package in packages),
        "installed": {
            wanted: sorted([*_identity(package), hex(where)] for package, where in found.items())
            for wanted, found in installed.items()
        },
    }
    return json.dumps(meaning, sort_keys=True)


@functools.lru_cache(maxsize=4)
def _tables(lock: str) -> Entry:
    tables = tomllib.loads(FILES.sub("", lock))
    if tables.get("version") != 1:
        raise ValueError(f"uv.lock has the version {tables.get('version')!r}, expected 1")
    return tables


def _packages(lock: str, tables: Entry) -> list[Package]:
    texts = lock.split("\n[[package]]\n")[1:]
    return [
        Package(entry["name"], entry.get("version"), tuple(sorted(HASH.findall(text))), entry)
        for entry, text in zip(tables.get("package", []), texts, strict=True)
    ]


def _identity(package: Package) -> list[str]:
    """Return name, version and kind of source: the address of an index says nothing."""
    source = package.entry.get("source", {})
    place = "registry" if "registry" in source else json.dumps(source, sort_keys=True)
    return [package.name, package.version or "", place]


def _targets(requires_python: str) -> list[dict[str, str]]:
    """Return what markers may ask, for each platform and Python that a lock is for."""
    from packaging.specifiers import SpecifierSet

    pythons = list(SpecifierSet(requires_python).filter(PYTHONS))
    return [
        {
            "os_name": os_name,
            "sys_platform": sys_platform,
            "platform_system": system,
            "platform_machine": machine,
            "platform_release": "",
            "platform_version": "",
            "platform_python_implementation": "CPython",
            "implementation_name": "cpython",
            "implementation_version": python,
            "python_version": python.rpartition(".")[0],
            "python_full_version": python,
        }
        for os_name, sys_platform, system, machine in PLATFORMS
        for python in pythons
    ]


def _evaluator(targets: Sequence[Mapping[str, str]]) -> Callable[[str | None], Targets]:
    """Return the function from a marker to the targets on which it is true."""
    from packaging.markers import Marker

    @functools.cache
    def on(text: str | None) -> Targets:
        if text is None:
            return (1 << len(targets)) - 1
        marker = Marker(text)
        asked = [name for name in targets[0] if name in text]
        known: dict[tuple[str, ...], bool] = {}  # a marker that asks for the system has 3 answers
        true = 0
        for place, values in enumerate(targets):
            key = tuple(values[name] for name in asked)
            if key not in known:
                known[key] = marker.evaluate(dict(values))
            true |= known[key] << place
        return true

    return on


def _wanted(tables: Entry, packages: Iterable[Package]) -> dict[str, list[Entry]]:
    """Return what can be installed, each project with its extras and groups, and its edges."""
    wanted: dict[str, list[Entry]] = {}
    for group, edges in tables.get("manifest", {}).get("dependency-groups", {}).items():
        wanted[f"group {group}"] = edges
    for package in packages:
        if not {"editable", "virtual", "directory"} & set(package.entry.get("source", {})):
            continue
        wanted[package.name] = package.entry.get("dependencies", [])
        for table, kind in (("optional-dependencies", "extra"), ("dev-dependencies", "group")):
            for name, edges in package.entry.get(table, {}).items():
                wanted[f"{package.name} {kind} {name}"] = edges
    return wanted


def _installed(
    edges: Iterable[Entry],
    packages: Iterable[Package],
    on: Callable[[str | None], Targets],
) -> dict[Package, Targets]:
    """Follow edges to every package that they bring, with the targets that it comes to."""
    named: dict[str, list[Package]] = {}
    for package in packages:
        named.setdefault(package.name, []).append(package)
    found: dict[tuple[Package, str | None], Targets] = {}
    waiting = [(edge, on(None)) for edge in edges]
    while waiting:
        edge, where = waiting.pop()
        where &= on(edge.get("marker"))
        for package in named.get(edge["name"], []):
            if edge.get("version", package.version) != package.version:
                continue
            forks = package.entry.get("resolution-markers")
            here = where & functools.reduce(operator.or_, map(on, forks)) if forks else where
            for extra in (None, *edge.get("extra", ())):
                key = (package, extra)
                new = here & ~found.get(key, 0)
                if not new:
                    continue
                found[key] = found.get(key, 0) | new
                table = package.entry.get("optional-dependencies", {}).get(extra, [])
                brought = table if extra else package.entry.get("dependencies", [])
                waiting.extend((next_edge, new) for next_edge in brought)
    return {package: where for (package, extra), where in found.items() if extra is None}
