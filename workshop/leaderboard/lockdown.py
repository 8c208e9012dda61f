"""How a process gives up what it may do, for good. Stands alone: the sandbox loads it by its path.

Every limit is tried and none is needed: what a system lacks is said. On POSIX systems no new
descriptor can be had any more, which closes files, sockets and pipes alike. Linux adds Landlock,
namespaces and another user; Windows has none of it, there the parent watches time and memory.
"""

import contextlib
import ctypes
import os
import struct
import sys

with contextlib.suppress(ImportError):  # Windows has none; behind the lock it is too late
    import resource

LINUX = sys.platform == "linux"
NOBODY = 65534
GRACE_S = 5  # between the signal that the processor time is up and the end

CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 1, 4, 38, 65
SIGKILL = 9
CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every processor
# All that the kernel of each Landlock version can forbid: bits of access to files, to TCP, and to
# processes and abstract sockets outside. See /usr/include/linux/landlock.h
LANDLOCK = {
    1: (13, 0, 0),
    2: (14, 0, 0),
    3: (15, 0, 0),
    4: (15, 2, 0),
    5: (16, 2, 0),
    6: (16, 2, 2),
}


def leave_namespaces() -> list[str]:
    """Leave the network; return what that protects. Before any thread exists, as Linux demands."""
    if not LINUX:
        return []
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # a system without memory is to end this process, not the server
    user = 0 if os.geteuid() == 0 else CLONE_NEWUSER
    try:
        _call("unshare", user | CLONE_NEWNET | CLONE_NEWIPC)
    except OSError:
        return []
    return ["no network"]


def lock_down(memory: int, cpu_s: int, parent: int) -> list[str]:
    """Give up everything but descriptors that are open; return what that protects.

    Parameters
    ----------
    memory : bytes that may be had on top of what this process has mapped already
    cpu_s : seconds of processor time that may be used on top of those used already
    parent : the process with which this one is to end
    """
    if os.name == "nt":
        return []
    held = []
    mapped = _mapped() if LINUX else 0
    if LINUX:
        held += _become_nobody()
        held += _end_with(parent)
        for option, what in (
            (PR_SET_NO_NEW_PRIVS, "no new rights"),
            (PR_SET_MDWE, "no new machine code"),
        ):
            held += _try(what, "prctl", option, 1, 0, 0, 0)
        held += _try("no debugger", "prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
        held += _forbid_files()
    return held + _limit(mapped + memory if LINUX else 0, cpu_s)


def _become_nobody() -> list[str]:
    """Give up root, or else what a namespace gives to the one who made it."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    no_capabilities = bytes(24)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    return _try("no privileges", "capset", header, no_capabilities)


def _end_with(parent: int) -> list[str]:
    held = _try("ends with the server", "prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)
    return held


def _forbid_files() -> list[str]:
    try:
        version = _call("syscall", LANDLOCK_CREATE_RULESET, None, 0, 1)
        bits = LANDLOCK[min(version, max(LANDLOCK))]
        fields = [(1 << count) - 1 for count in bits if count]
        rules = struct.pack(f"{len(fields)}Q", *fields)
        ruleset = _call("syscall", LANDLOCK_CREATE_RULESET, rules, len(rules), 0)
        _call("syscall", LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
    except OSError:
        return []
    return [f"no files (Landlock {version})"]


def _limit(address_space: int, cpu_s: int) -> list[str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + 1 + cpu_s
    limits = [
        ("processor time", "RLIMIT_CPU", (cpu, cpu + GRACE_S)),
        ("no core dumps", "RLIMIT_CORE", (0, 0)),
        ("no writing", "RLIMIT_FSIZE", (0, 0)),
        ("no new processes", "RLIMIT_NPROC", (0, 0)),
    ]
    if address_space:  # macOS does not keep this limit; there the parent watches
        limits.append(("memory", "RLIMIT_AS", (address_space, address_space)))
    limits.append(("no new files, sockets or pipes", "RLIMIT_NOFILE", (0, 0)))
    held = []
    for what, name, values in limits:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), values)
            held.append(what)
    return held


def _mapped() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _try(what: str, name: str, *arguments: object) -> list[str]:
    try:
        _call(name, *arguments)
    except OSError:
        return []
    return [what]


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library; raise OSError if it fails or is not there."""
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:
        raise OSError(f"no {name} here") from None
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    result = function(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
