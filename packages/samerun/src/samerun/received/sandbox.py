"""Running a stranger's code where it sees no network, no home and no other work of the person.

bubblewrap (`bwrap`, on Linux) makes a view of the system for one command: programs and libraries
can be read, the folder of the repetition can be written to, the rest is not there. macOS and
Windows have nothing of the kind that a user may start.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from samerun.machine.installed import in_environment
from samerun.secrets.masking import is_secret, masked
from samerun.trace import Trace

SECONDS = 20  # for a look whether it works here
# What of a system a program needs: not /home, /root, /mnt, /media, /srv, /var, /run, /tmp.
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix"),
    "/sys",  # how many processors there are, and of which kind
)
GRAPHICS = ("nvidia*", "kfd", "dri")  # below /dev
# Ways out of a machine's own session, and what leads back to the person.
SESSION = {
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS"),
    *("XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "GIT_ASKPASS", "SSH_ASKPASS"),
    *("USER", "LOGNAME", "USERNAME", "MAIL", "OLDPWD", "HOSTNAME"),
}


@dataclass(frozen=True)
class Sandbox:
    """Words to put before a command, without the folder that it may write to.

    words : none where there is no sandbox
    why_not : why there is none
    """

    words: tuple[str, ...] = ()
    why_not: str = ""

    def around(self, folder: Path) -> tuple[str, ...]:
        """Return the words that lock a command in, and let it write to `folder` alone."""
        if not self.words:
            return ()
        here = str(folder.resolve())
        return (*self.words, "--bind", here, here, "--")


def sandbox(readable: Iterable[Path], clones: Sequence[Path], home: Path) -> Sandbox:
    """Return the sandbox that this system has.

    Parameters
    ----------
    readable : folders that the command reads, beside the system's own and Python's
    clones : checkouts of the person, which it does not see, though this Python may import from them
    home : the person's, in whose place an empty one is shown
    """
    program = shutil.which("bwrap")
    if sys.platform != "linux":
        return Sandbox(why_not="only Linux has one (bubblewrap)")
    if program is None:
        return Sandbox(
            why_not="bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap)"
        )
    if said := _refuses(program):
        return Sandbox(why_not=f"bubblewrap does not work here: {said}")
    words = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp"]
    for name in SYSTEM:
        words += _system(Path(name))
    for device in sorted(path for kind in GRAPHICS for path in Path("/dev").glob(kind)):
        words += ["--dev-bind", str(device), str(device)]
    for path in sorted({str(path) for path in (*readable, *_python(), *_imported_from(clones))}):
        words += ["--ro-bind", path, path]
    words += ["--dir", str(home), "--setenv", "HOME", str(home)]
    for name in sorted(_withheld(os.environ)):
        words += ["--unsetenv", name]
    return Sandbox(tuple(words))


def data_folders(trace: Trace, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders that a variable names and that hold a file of the run's data.

    Its name and size count: no more than that a stranger's record may ask for.
    """
    wanted = {
        (_last(file.path), file.size) for file in trace.files if file.kind == "data" and file.size
    }
    for value in environment.values():
        folder = Path(value)
        if not folder.is_absolute() or not wanted:
            continue
        for name, size in wanted:
            try:
                if (folder / name).is_file() and (folder / name).stat().st_size == size:
                    yield folder
                    break
            except OSError:
                break


def _last(path: str) -> str:
    kind = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).name


@functools.cache
def _refuses(program: str) -> str:
    """Return what bubblewrap says if the system does not let it work, "" if it does."""
    command = [program, "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[:200]


def _system(path: Path) -> list[str]:
    if path.is_symlink():  # /bin leads to usr/bin on most
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.exists() else []


def _python() -> set[Path]:
    """Return the folders of this Python and of what is installed for it, links to them included."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    folders |= {Path(entry) for entry in sys.path if entry and in_environment(entry + os.sep)}
    folders |= {folder.resolve() for folder in folders}
    return {f for f in folders if f.exists() and not str(f).startswith(("/usr/", "/lib/"))} - {
        Path("/usr")
    }


def _imported_from(clones: Sequence[Path]) -> Iterator[Path]:
    """Yield the packages that this Python imports from other checkouts, and nothing else there."""
    for entry in map(Path, sys.path):
        ours = any(entry.resolve().is_relative_to(clone.resolve()) for clone in clones)
        if ours or in_environment(str(entry) + os.sep) or not entry.is_dir():
            continue
        for path in entry.iterdir():
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                yield path


def _withheld(environment: Mapping[str, str]) -> set[str]:
    """Return the variables that a stranger's code does not get."""
    return {
        name
        for name, value in environment.items()
        if name in SESSION
        or is_secret(name)
        or masked(value) != value
        or name.lower().endswith("_proxy")
    }
