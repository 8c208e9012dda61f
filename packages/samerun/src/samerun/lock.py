"""The neutral form of uv.lock: names, versions and hashes, no index addresses.

uv writes the address of the package index into every line of its lock, which ties the lock to one
mirror. The committed lock has no addresses; uv fills them in at the first `uv run`, keeping every
version and hash. git calls this file as the clean filter of uv.lock (CONTRIBUTING.md, "The lock"),
so it needs nothing but Python:

    python lock.py neutral < uv.lock    write the neutral form to standard output
    python lock.py check                compare uv.lock with the one git has staged
"""

import difflib
import re
import subprocess
import sys
from pathlib import Path

LOCK = Path("uv.lock")  # of the project in whose root this is called

REGISTRY = re.compile(r'registry = "https?://[^"]*"')
FILE_ADDRESS = re.compile(r'url = "https?://[^"]*/([^"/]+)"')
# Mirrors differ in what they say of a file beside its hash.
FILE_DETAILS = re.compile(r', (?:size = \d+|upload-time = "[^"]*")')
# uv writes these in an order that depends on the lock it started from.
MARKERS = re.compile(r"(?<=resolution-markers = \[\n)(?: .*\n)+")
# The root package's requirements. Without them uv looks the addresses up again.
REQUIREMENTS = re.compile(
    r"^\[package\.metadata(?:\.requires-dev)?\]\n(?:(?!\[).+\n|\n(?!\[))*\n?", re.M
)


def neutral(lock: str) -> str:
    """Return the text of a uv.lock without index addresses; a neutral text comes back unchanged."""
    lock = REGISTRY.sub('registry = "."', lock)
    lock = FILE_ADDRESS.sub(r'path = "\1"', lock)
    lock = FILE_DETAILS.sub("", lock)
    lock = MARKERS.sub(lambda block: "".join(sorted(block[0].splitlines(keepends=True))), lock)
    return REQUIREMENTS.sub("", lock)


def differences(filled: str, committed: str) -> str:
    """Return a unified diff of the neutral forms of two locks, empty if they lock the same."""
    lines = difflib.unified_diff(
        neutral(committed).splitlines(keepends=True),
        neutral(filled).splitlines(keepends=True),
        "uv.lock as committed",
        "uv.lock as installed from",
    )
    return "".join(lines)


def check() -> int:
    """Compare the lock on disk with the one in git's index; return the exit status."""
    staged = subprocess.run(
        ["git", "show", ":./uv.lock"], cwd=LOCK.parent, capture_output=True, encoding="utf-8"
    )
    if staged.returncode:
        print(f"git has no uv.lock to compare with: {staged.stderr.strip()}", file=sys.stderr)
        return 2
    if "://" in staged.stdout:
        print(
            "The staged uv.lock holds addresses. Set the clean filter as CONTRIBUTING.md says,\n"
            "then: git add --renormalize uv.lock",
            file=sys.stderr,
        )
        return 1
    changes = differences(LOCK.read_text(encoding="utf-8"), staged.stdout)
    if changes:
        print(changes + "\nuv.lock differs from git's. If that is meant: git add uv.lock")
        return 1
    print("uv.lock locks the same names, versions and hashes as git's")
    return 0


def main() -> int:
    match sys.argv[1:]:
        case ["neutral"]:
            # As bytes: Windows would otherwise turn line ends and the encoding.
            text = sys.stdin.buffer.read().decode("utf-8").replace("\r\n", "\n")
            sys.stdout.buffer.write(neutral(text).encode("utf-8"))
            return 0
        case ["check"]:
            return check()
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
