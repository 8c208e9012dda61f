"""Asking git, where a commit can be got, and repositories that borrow from others."""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

GIT_SECONDS = 20


class GitError(Exception):
    """git could not say what was asked; the message is git's own."""


def git(
    root: Path,
    *arguments: str,
    stdin: bytes = b"",
    seconds: float = GIT_SECONDS,
    **variables: str,
) -> bytes:
    """Run git in `root` so that it never prompts and never runs long, nor writes unasked."""
    located = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_DIFF_OPTS"]
    inherited = {name: value for name, value in os.environ.items() if name not in located}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    # A checkout that everybody of a group reads belongs to one of them. git would refuse it, for it
    # may name programs to run; but so does its code, which is running.
    trusted = ("-c", f"safe.directory={root.resolve().as_posix()}")
    plain = ("-c", "core.quotepath=off", "-c", "core.fsmonitor=false")
    command = ["git", *trusted, *plain, *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            input=stdin,
            capture_output=True,
            timeout=seconds,
            env=inherited | quiet | variables,
        )
    except FileNotFoundError:
        raise GitError("git is not installed, so the commit is unknown") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took more than {seconds:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise GitError(f"git {arguments[0]}: {said or f'exit status {done.returncode}'}")
    return done.stdout


def borrow(repository: Path, clones: Iterable[Path]) -> None:
    """Let a repository read the objects of clones, and end where theirs end if they are shallow.

    Nothing is written to the clones.

    repository : its `.git`, or itself if it is bare
    """
    lines, shallow = [], b""
    for clone in clones:

        def inside(name: str, clone: Path = clone) -> Path:
            asked = git(clone, "rev-parse", "--git-path", name)
            return clone / os.fsdecode(asked).strip("\n")

        objects = inside("objects").resolve().as_posix()
        quoted = objects.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(os.fsencode(f'"{quoted}"\n'))
        if inside("shallow").exists():
            shallow += inside("shallow").read_bytes()
    info = repository / "objects" / "info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "alternates").write_bytes(b"".join(lines))
    if shallow:
        (repository / "shallow").write_bytes(shallow)


def remote_of(root: Path, commit: str, upstream: str | None) -> tuple[str | None, bool | None]:
    """Return the address of the remote that has the commit, or should, and whether it has."""
    try:
        listed = git(root, "remote", "-v").decode(errors="replace").splitlines()
        addresses = {}
        for name, address in (line.split("\t", 1) for line in listed if line.endswith("(fetch)")):
            addresses[name] = without_credentials(address.removesuffix(" (fetch)"))
        refs = ("for-each-ref", "--contains", commit, "--format=%(refname)", "refs/remotes")
        branches = git(root, *refs).decode(errors="replace").splitlines()
    except GitError:
        return None, None
    having = [n for n in addresses if any(b.startswith(f"refs/remotes/{n}/") for b in branches)]
    usual = [name for name in addresses if (upstream or "").startswith(f"{name}/")]
    chosen = next(iter([*usual, "origin", *addresses]), None)
    if having:
        return addresses[chosen if chosen in having else having[0]], True
    if chosen in addresses:
        return addresses[chosen], False
    return next(iter(addresses.values()), None), False


def without_credentials(address: str) -> str:
    """Return the address of a remote without user names, passwords and queries.

    `git@host:path` stays: there the name is part of the address.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{re.split('[?#]', path)[0]}"
