"""What a uv.lock locks, and the patch between two: by meaning, not by text."""

from pathlib import Path

import pytest
from record_fixtures import FakeDataset, git

from samerun import trace
from samerun.lock import neutral
from samerun.machine import locked

# One resolution as uv 0.13 writes it. Not a real address: the tests never ask anybody for anything.
NEW = """\
version = 1
revision = 5
requires-python = ">=3.11"
resolution-markers = [
    "python_full_version >= '3.12'",
    "python_full_version < '3.12'",
]

[[package]]
name = "colorama"
version = "0.4.6"
source = { registry = "https://index.invalid/simple" }
wheels = [
    { url = "https://files.invalid/ef/colorama-0.4.6-py3-none-any.whl", hash = "sha256:ee", size = 3 },
]

[[package]]
name = "numpy"
version = "2.4.0"
source = { registry = "https://index.invalid/simple" }
resolution-markers = [
    "python_full_version < '3.12'",
]
sdist = { url = "https://files.invalid/ab/numpy-2.4.0.tar.gz", hash = "sha256:aa", size = 12 }

[[package]]
name = "numpy"
version = "2.5.0"
source = { registry = "https://index.invalid/simple" }
resolution-markers = [
    "python_full_version >= '3.12'",
]
sdist = { url = "https://files.invalid/ab/numpy-2.5.0.tar.gz", hash = "sha256:bb", size = 12 }

[[package]]
name = "pytest"
version = "9.0.0"
source = { registry = "https://index.invalid/simple" }
dependencies = [
    { name = "colorama", marker = "sys_platform == 'win32'" },
]
sdist = { url = "https://files.invalid/ab/pytest-9.0.0.tar.gz", hash = "sha256:cc", size = 12 }

[[package]]
name = "the-project"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "tool", marker = "sys_platform == 'linux'" },
]

[package.optional-dependencies]
fast = [
    { name = "colorama" },
]

[package.dev-dependencies]
dev = [
    { name = "pytest" },
]

[[package]]
name = "tool"
version = "1.0"
source = { registry = "https://index.invalid/simple" }
dependencies = [
    { name = "numpy", version = "2.4.0", source = { registry = "https://index.invalid/simple" } },
    { name = "numpy", version = "2.5.0", source = { registry = "https://index.invalid/simple" } },
]
sdist = { url = "https://files.invalid/ab/tool-1.0.tar.gz", hash = "sha256:dd", size = 12 }
"""  # noqa: E501

# The same as releases before 0.11.33 write it: another revision, and each marker says in full what
# follows from the fork of the resolution and from the only way to the package.
OLD = (
    NEW.replace("revision = 5", "revision = 3")
    .replace(
        'version = "2.4.0", source = { registry = "https://index.invalid/simple" } }',
        'version = "2.4.0", source = { registry = "https://index.invalid/simple" },'
        " marker = \"python_full_version < '3.12' and sys_platform == 'linux'\" }",
    )
    .replace(
        'version = "2.5.0", source = { registry = "https://index.invalid/simple" } }',
        'version = "2.5.0", source = { registry = "https://index.invalid/simple" },'
        " marker = \"python_full_version >= '3.12' and sys_platform == 'linux'\" }",
    )
)
assert OLD.count("and sys_platform") == 2

# With the addresses of a mirror inside a company.
MIRRORED = NEW.replace("https://index.invalid", "https://me:hunter2@mirror.invalid").replace(
    "https://files.invalid", "https://mirror.invalid/files"
)


@pytest.mark.parametrize("other", [OLD, MIRRORED, neutral(NEW), neutral(OLD)])
def test_a_resolution_is_the_same_whoever_wrote_it_and_wherever_from(other: str) -> None:
    assert locked.lock_the_same(NEW, other)
    assert locked.fingerprint(NEW) == locked.fingerprint(other)
    assert locked.patch(NEW, other) == locked.patch(other, NEW) == ""


TOOL = 'name = "tool"\nversion = "1.0"'
ON_LINUX = "tool\", marker = \"sys_platform == 'linux'"
FORK = "    \"python_full_version >= '3.12'\",\n]\nsdist"
PYTEST = '    { name = "pytest" },\n'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (TOOL, TOOL.replace("1.0", "1.1")),
        ("sha256:dd", "sha256:de"),
        ("colorama", "coloramb"),
        ("sys_platform == 'win32'", "sys_platform == 'darwin'"),
        (ON_LINUX, ON_LINUX.replace("==", "!=")),
        (FORK, FORK.replace(">=", "<")),
        ("dev = [", "test = ["),
        ("fast = [", "slow = ["),
        (PYTEST, PYTEST + PYTEST.replace("pytest", "colorama")),
        ('requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
        ('{ editable = "." }', '{ virtual = "." }'),
    ],
)
def test_another_version_hash_name_marker_group_or_extra_is_another_lock(
    old: str, new: str
) -> None:
    changed = NEW.replace(old, new)
    assert changed != NEW
    assert not locked.lock_the_same(NEW, changed)
    assert locked.fingerprint(NEW) != locked.fingerprint(changed)
    assert locked.patch(NEW, changed)


def test_a_marker_may_ask_for_a_patch_release() -> None:
    changed = NEW.replace("sys_platform == 'win32'", "python_full_version >= '3.11.5'")
    other = NEW.replace("sys_platform == 'win32'", "python_full_version >= '3.12'")
    assert not locked.lock_the_same(changed, other)


def test_a_package_that_is_asked_for_with_an_extra_brings_what_the_extra_needs() -> None:
    extra = '[package.optional-dependencies]\ncolour = [\n    { name = "colorama" },\n]\n\n'
    offered = NEW.replace(
        '[[package]]\nname = "the-project"', extra + '[[package]]\nname = "the-project"'
    )
    asked = offered.replace('{ name = "pytest" }', '{ name = "pytest", extra = ["colour"] }')
    assert locked.lock_the_same(NEW, offered)  # nobody asks for it
    assert not locked.lock_the_same(NEW, asked)


def test_packages_that_need_each_other_end_the_search() -> None:
    circle = NEW.replace(
        'sdist = { url = "https://files.invalid/ab/numpy-2.5.0',
        'dependencies = [\n    { name = "tool" },\n]\n'
        'sdist = { url = "https://files.invalid/ab/numpy-2.5.0',
    )
    assert locked.lock_the_same(NEW, circle)  # who has numpy has the tool


def test_a_lock_with_conflicts_is_compared_as_text() -> None:
    conflicts = (
        'conflicts = [[\n    { package = "the-project", extra = "fast" },\n]]\n\n[[package]]'
    )
    new, old = (text.replace("\n[[package]]", "\n" + conflicts, 1) for text in (NEW, OLD))
    assert locked.lock_the_same(new, MIRRORED.replace("\n[[package]]", "\n" + conflicts, 1))
    assert locked.lock_the_same(new, new.replace("revision = 5", "revision = 4"))
    assert not locked.lock_the_same(new, old)  # unknown, so not called equal


def test_a_lock_with_the_marks_of_a_merge_is_not_the_same_as_another() -> None:
    merged = NEW.replace("version = 1\n", "<<<<<<< HEAD\nversion = 1\n", 1)
    assert not locked.lock_the_same(NEW, merged)
    assert locked.patch(NEW, merged)
    with pytest.raises(ValueError):
        locked.fingerprint(merged)


def test_a_later_version_of_the_format_is_not_read_as_this_one() -> None:
    with pytest.raises(ValueError, match="version 2, expected 1"):
        locked.versions(NEW.replace("version = 1\n", "version = 2\n", 1))


def test_every_locked_version_is_found() -> None:
    assert locked.versions(NEW)["numpy"] == {"2.4.0", "2.5.0"}


# The patch, in a project of one's own whose committed lock has addresses


@pytest.fixture
def foreign(checkout: Path) -> Path:
    (checkout / "uv.lock").write_bytes(NEW.encode())
    git(checkout, "commit", "-q", "-a", "-m", "a lock with addresses")
    return checkout


def collect(root: Path) -> trace.Trace:
    return trace.collect({"seed": 1}, FakeDataset(), root)


def applied(root: Path, patch: bytes, folder: Path) -> str:
    """Return the uv.lock that a patch makes in a clone."""
    git(folder, "clone", "-q", str(root), "clone")
    (folder / "changes.patch").write_bytes(patch)
    git(folder / "clone", "apply", str(folder / "changes.patch"))
    return (folder / "clone" / "uv.lock").read_text(encoding="utf-8")


def test_a_new_version_from_the_committed_index_is_a_plain_diff(
    foreign: Path, tmp_path: Path
) -> None:
    changed = NEW.replace(TOOL, TOOL.replace("1.0", "1.1"))
    (foreign / "uv.lock").write_bytes(changed.encode())
    seen = collect(foreign)
    assert (seen.code.dirty, seen.code.changed) == (True, ("uv.lock",))
    lines = seen.patch.decode().splitlines()
    assert sum(line.startswith(("+", "-")) for line in lines) == 4  # two of them are the names
    assert applied(foreign, seen.patch, tmp_path) == changed


def test_a_lock_without_a_line_end_at_its_end_is_patched_to_the_byte(
    foreign: Path, tmp_path: Path
) -> None:
    changed = NEW.replace(TOOL, TOOL.replace("1.0", "1.1")).rstrip("\n")
    (foreign / "uv.lock").write_bytes(changed.encode())
    assert applied(foreign, collect(foreign).patch, tmp_path) == changed


@pytest.mark.parametrize("lock", [OLD, MIRRORED])
def test_the_same_lock_by_another_uv_or_from_a_mirror_is_no_dirt(foreign: Path, lock: str) -> None:
    before = collect(foreign)
    (foreign / "uv.lock").write_bytes(lock.encode())
    seen = collect(foreign)
    assert (seen.code, seen.patch, seen.problems) == (before.code, b"", {})
    assert seen.environment == before.environment


def test_no_address_of_a_private_mirror_enters_the_patch(foreign: Path, tmp_path: Path) -> None:
    changed = MIRRORED.replace("sha256:dd", "sha256:de")
    (foreign / "uv.lock").write_bytes(changed.encode())
    seen = collect(foreign)
    assert seen.code.dirty
    assert b"mirror.invalid" not in seen.patch and b"hunter2" not in seen.patch
    assert locked.lock_the_same(applied(foreign, seen.patch, tmp_path), changed)


def test_an_index_behind_another_path_of_the_same_server_is_private_too(foreign: Path) -> None:
    changed = NEW.replace("sha256:dd", "sha256:de").replace("/simple", "/token-hunter2/simple")
    (foreign / "uv.lock").write_bytes(changed.encode())
    assert b"hunter2" not in collect(foreign).patch


def test_a_lock_that_git_ignores_is_no_dirt_and_still_known(checkout: Path) -> None:
    git(checkout, "rm", "-q", "--cached", "uv.lock")
    (checkout / ".gitignore").write_bytes(b"uv.lock\n")
    git(checkout, "add", ".gitignore")
    git(checkout, "commit", "-q", "-m", "no lock in git")
    seen = collect(checkout)
    assert (seen.code.dirty, seen.patch) == (False, b"")
    assert seen.environment and seen.environment.lock


def test_a_deleted_lock_is_dirt(foreign: Path, tmp_path: Path) -> None:
    (foreign / "uv.lock").unlink()
    seen = collect(foreign)
    assert seen.code.dirty and seen.code.changed == ("uv.lock",)
    (tmp_path / "changes.patch").write_bytes(seen.patch)
    git(tmp_path, "clone", "-q", str(foreign), "clone")
    git(tmp_path / "clone", "apply", str(tmp_path / "changes.patch"))
    assert not (tmp_path / "clone" / "uv.lock").exists()


def test_the_fingerprint_tells_a_broken_lock_from_none(foreign: Path) -> None:
    (foreign / "uv.lock").write_bytes(b"<<<<<<< HEAD\n" + NEW.encode())
    seen = collect(foreign)
    assert "lock" in seen.problems
    assert seen.code.dirty is None  # nobody can say
    assert seen.environment and seen.environment.python
