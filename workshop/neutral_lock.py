"""Keep `git status` clean after uv has filled the addresses of an index into uv.lock.

The committed uv.lock has no addresses (CONTRIBUTING.md, "The lock"), and uv writes them into the
one on disk. git asks a filter what of a file counts, but a clone has no filters until somebody
configures them, and where the size of a file is another than it was, git does not even ask. So the
commands of the course look at this before they begin.
"""

import os
import sys
import time
from pathlib import Path

from samerun.code.checkout import GitError, git
from samerun.machine.locked import lock_the_same

ROOT = Path(__file__).resolve().parents[1]
LOCK = "uv.lock"
FILTER = "filter.neutral-lock.clean"
SCRIPT = "packages/samerun/src/samerun/lock.py"
# git runs it by a shell, its own on Windows, in the root of the checkout. Where there is no
# environment yet, or an older commit without the script, the file passes as it is, without a word.
COMMAND = (
    "for python in .venv/bin/python .venv/Scripts/python.exe; do "
    f'if [ -x "$python" ] && [ -f {SCRIPT} ]; then exec "$python" -IS {SCRIPT}; fi; '
    "done; exec cat"
)


def settle(root: Path = ROOT) -> None:
    """Tell git that a uv.lock which locks what is staged is not modified.

    Configures the filter of this clone if nobody has, and says so. What is staged stays as it is;
    a lock that locks something else stays modified. Where git cannot be asked or may not write
    (no git, a download, a disk that is read-only), nothing happens.
    """
    try:
        if (root / ".git").exists() and _asks_for_filter(root):
            _settle(root)
    except (GitError, OSError, ValueError):
        return


def _asks_for_filter(root: Path) -> bool:
    return f"{LOCK} filter=neutral-lock" in (root / ".gitattributes").read_text(encoding="utf-8")


def _settle(root: Path) -> None:
    # By size and time alone; nothing if uv.lock is as git last saw it.
    modified = git(root, "diff-files", "--no-abbrev", "--", LOCK).decode().splitlines()
    if len(modified) != 1:  # two of a merge that is not ended
        return
    old_mode, new_mode, staged, _, kind = modified[0].partition("\t")[0].split()
    if kind != "M" or old_mode.lstrip(":") != new_mode:
        return
    committed = git(root, "cat-file", "blob", staged).decode()
    if not lock_the_same(committed, (root / LOCK).read_text(encoding="utf-8")):
        return
    _look_old(root / LOCK)
    # A filter that yields what is staged: git takes the file's size and time, and no content.
    as_staged = f"{FILTER}=git cat-file blob {staged}"
    git(root, "-c", as_staged, "update-index", "--", LOCK)
    if not _configured(root):
        git(root, "config", "--local", FILTER, COMMAND)
        print(
            f"note: {FILTER} is set in .git/config now, so that git looks at what uv.lock locks\n"
            "      and not at the addresses that uv writes into it",
            file=sys.stderr,
        )


def _look_old(path: Path) -> None:
    """Date a file back that is of this second: git takes no such time for certain."""
    status = path.stat()
    if time.time() - status.st_mtime < 2:
        os.utime(path, (status.st_atime, status.st_mtime - 2))


def _configured(root: Path) -> bool:
    try:
        return bool(git(root, "config", "--get", FILTER).strip())
    except GitError:
        return False
