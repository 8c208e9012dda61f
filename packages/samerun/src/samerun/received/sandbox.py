"""Running a stranger's code where it sees no network, no home and no other work of the person.

bubblewrap (`bwrap`, on Linux) makes a view of the system for one command: programs and libraries
can be read, the folders of the repeated project can be written to, the rest is not there. macOS and
Windows have nothing of the kind that a user may start.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from samerun.code.known import KnownFile, read
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
    """Words to put before a command, without the folders that it may write to.

    words : none where there is no sandbox
    why_not : why there is none
    """

    words: tuple[str, ...] = ()
    why_not: str = ""

    def around(self, projects: Iterable[Path]) -> tuple[str, ...]:
        """Return the words that lock a command in, and let it write to these folders alone.

        Of their repositories it only reads: git, outside, does what the settings in there say.
        """
        if not self.words:
            return ()
        words = list(self.words)
        for folder in dict.fromkeys(str(project.resolve()) for project in projects):
            words += ["--bind", folder, folder]
            if os.path.isdir(git := os.path.join(folder, ".git")):
                words += ["--ro-bind", git, git]
        return (*words, "--")


def sandbox(readable: Iterable[Path], clones: Sequence[Path], home: Path) -> Sandbox:
    """Return the sandbox that this system has.

    Parameters
    ----------
    readable : files and folders that the command reads, beside the system's own and Python's
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
    words = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp"]
    for name in SYSTEM:
        words += _system(Path(name))
    for device in sorted(path for kind in GRAPHICS for path in Path("/dev").glob(kind)):
        words += ["--dev-bind", str(device), str(device)]
    words += ["--tmpfs", str(home), "--setenv", "HOME", str(home)]
    for path in sorted({str(path) for path in (*readable, *_python(), *_imported_from(clones))}):
        if not home.resolve().is_relative_to(Path(path).resolve()):
            words += ["--ro-bind", path, path]
    for name in sorted(_withheld(os.environ)):
        words += ["--unsetenv", name]
    if said := _refuses(words):
        return Sandbox(why_not=f"bubblewrap does not work here: {said}")
    return Sandbox(tuple(words))


def data_files(trace: Trace, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files of the run's data that lie here where it had them, or in a folder that a
    variable names.

    The digest counts: a stranger's record cannot have a file shown whose content the stranger does
    not know.
    """
    named = [Path(value) for value in environment.values() if os.path.isabs(value)]
    for file in trace.files:
        if file.kind != "data" or not file.size:
            continue
        places = [folder / _last(file.path) for folder in named]
        if os.path.isabs(file.path):
            places.append(Path(file.path))
        yield from (path for path in places if _is(path, file))


def _is(path: Path, file: KnownFile) -> bool:
    try:
        alike = path.is_file() and path.stat().st_size == file.size
        return alike and read(path).sha256 == file.sha256
    except (OSError, ValueError):
        return False


def _last(path: str) -> str:
    kind = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).name


def _refuses(words: Sequence[str]) -> str:
    """Return why Python cannot be started in a sandbox, "" if it can.

    A system may have bubblewrap and forbid what it needs, as containers and some kernels do.
    """
    command = [*words, "--", sys.executable, "-I", "-S", "-c", ""]
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
