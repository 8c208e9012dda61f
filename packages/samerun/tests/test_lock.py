"""The neutral form of uv.lock."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samerun import lock
from samerun.machine import locked

ROOT = Path(__file__).resolve().parents[3]

# Not a real address: the tests never ask anybody for anything.
FILLED = """\
version = 1
resolution-markers = [
    "sys_platform == 'win32'",
    "sys_platform == 'linux'",
]

[[package]]
name = "numpy"
version = "2.2.0"
source = { registry = "https://index.invalid/simple" }
sdist = { url = "https://files.invalid/ab/numpy-2.2.0.tar.gz", hash = "sha256:aa", size = 12, upload-time = "2026-01-01T00:00:00.0Z" }
wheels = [
    { url = "https://files.invalid/cd/numpy-2.2.0-py3-none-any.whl", hash = "sha256:bb", size = 3 },
]

[[package]]
name = "the-project"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "numpy" },
]

[package.metadata]
requires-dist = [{ name = "numpy", specifier = ">=2" }]

[package.metadata.requires-dev]
dev = [
    { name = "pytest", specifier = ">=9" },
]

[[package]]
name = "zipp"
version = "4.1.2"
source = { registry = "https://index.invalid/simple" }
"""  # noqa: E501

NEUTRAL = """\
version = 1
resolution-markers = [
    "sys_platform == 'linux'",
    "sys_platform == 'win32'",
]

[[package]]
name = "numpy"
version = "2.2.0"
source = { registry = "." }
sdist = { path = "numpy-2.2.0.tar.gz", hash = "sha256:aa" }
wheels = [
    { path = "numpy-2.2.0-py3-none-any.whl", hash = "sha256:bb" },
]

[[package]]
name = "the-project"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "numpy" },
]

[[package]]
name = "zipp"
version = "4.1.2"
source = { registry = "." }
"""


def test_the_neutral_form_has_names_versions_and_hashes_and_no_address():
    assert lock.neutral(FILLED) == NEUTRAL


def test_the_neutral_form_of_a_neutral_lock_is_itself():
    assert lock.neutral(NEUTRAL) == NEUTRAL


def test_a_package_that_is_no_indexs_keeps_its_address():
    source = 'source = { url = "https://files.invalid/ab/tool-1.0.tar.gz" }'
    assert lock.neutral(source) == source


def test_a_requirement_table_at_the_end_goes_too():
    head, _, _ = FILLED.partition('[[package]]\nname = "zipp"')
    assert "metadata" not in lock.neutral(head)


def test_the_filter_reads_and_writes_bytes_and_needs_nothing_but_python():
    filtered = subprocess.run(
        [sys.executable, "-S", lock.__file__, "neutral"],
        input=FILLED.replace("\n", "\r\n").encode(),
        capture_output=True,
        check=True,
    )
    assert filtered.stdout == NEUTRAL.encode()


@pytest.mark.skipif(
    not (ROOT / ".git").exists() or not shutil.which("git"), reason="not a git checkout"
)
def test_what_is_installed_from_is_what_is_committed():
    """The check of the lock that .ci/run begins with."""
    staged = subprocess.run(
        ["git", "show", ":uv.lock"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    assert "://" not in staged, "see CONTRIBUTING.md, 'The lock'"
    filled = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert locked.patch(staged, filled) == "", (
        "uv.lock locks something else than git's. If that is meant: git add uv.lock"
    )
