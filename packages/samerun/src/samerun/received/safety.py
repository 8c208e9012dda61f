"""Unpacking an archive from a stranger: nothing of it may land outside of one new folder.

An archive is a list of names, kinds and sizes that somebody wrote. All of them are looked at before
anything is written. Archives inside stay files.
"""

import hashlib
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from samerun.errors import RecordError

MEGABYTE = 2**20
BLOCK = MEGABYTE
FOLDED_IN_GIT = re.compile(r"\.git[\s.]*|git~\d+", re.I)  # what Windows and macOS take for .git
DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.I)
ALGORITHMS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1
# What zipfile raises of an archive that is none, or a damaged one.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)
LONGEST_NAME, DEEPEST = 200, 32  # characters (Windows takes 260 for the whole path), folders


@dataclass(frozen=True)
class Limits:
    """What an archive may hold: files, bytes when unpacked, and times its packed size.

    A file below `small` bytes may shrink as it likes: a table of zeros does.
    """

    files: int = 50_000
    size: int = 4096 * MEGABYTE
    ratio: int = 100
    small: int = 10 * MEGABYTE


USUAL = Limits()


class Refused(RecordError):
    """A crate asks for more than a crate has a need of; `what` says for what."""

    def __init__(self, what: str) -> None:
        super().__init__(f"This crate is refused: {what}. Nothing of it was run.")
        self.what = what


def shown(name: str) -> str:
    """Return a stranger's text so that it cannot steer a terminal, and not all of a long one."""
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return repr(plain if len(plain) <= 80 else f"{plain[:77]}...")


def check_name(name: str) -> None:
    """Refuse a path that is not one of a file below a folder, on any system.

    Raises
    ------
    RecordError
        It is absolute, leads out of the folder, names a drive, a device or part of a `.git`, or has
        characters that a system reads in its own way.
    """
    parts = name.split("/")
    if not name or name.startswith("/") or ".." in parts:
        raise Refused(f"the path {shown(name)} leads out of its folder")
    if re.match(r"[A-Za-z]:", name):
        raise Refused(f"the path {shown(name)} names a drive")
    for part in parts:
        if part in ("", ".") or part != part.rstrip(" ."):
            raise Refused(f"the path {shown(name)} is written in a way that systems read otherwise")
        if any(c in '\\:*?"<>|' or not c.isprintable() for c in part):
            raise Refused(f"the path {shown(name)} has characters that a system may not take")
        if FOLDED_IN_GIT.fullmatch(folded(part)):
            raise Refused(f"the path {shown(name)} is one of git's own")
        if DEVICES.fullmatch(part):
            raise Refused(f"the path {shown(name)} is a device on Windows")
    if len(name) > LONGEST_NAME or len(parts) > DEEPEST:
        raise Refused(f"the path {shown(name)} is too long")


def folded(part: str) -> str:
    """Return a name as systems compare it: without case, without what has no width."""
    normal = unicodedata.normalize("NFKC", part)
    return "".join(c for c in normal if unicodedata.category(c) != "Cf").casefold()


def unpack(archive: Path, folder: Path, limits: Limits = USUAL) -> dict[str, str]:
    """Unpack an archive into a new folder, and return the SHA-256 of every file.

    Raises
    ------
    RecordError
        It is no zip archive, damaged, or holds what an archive of files has no need of.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked(opened.infolist(), archive.stat().st_size, limits)
            return {name: _write(opened, info, folder / name) for name, info in members.items()}
    except DAMAGED as error:
        raise RecordError(
            f"{archive} is no zip archive, or a damaged one: {error}. Fetch it again."
        ) from None
    except OSError as error:
        raise RecordError(f"{archive} cannot be unpacked: {error}.") from error


def _checked(
    listed: Sequence[zipfile.ZipInfo], packed: int, limits: Limits
) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by their names, after a look at every one."""
    if len(listed) > limits.files:
        raise Refused(f"it holds {len(listed)} files, more than {limits.files}")
    members: dict[str, zipfile.ZipInfo] = {}
    taken: dict[str, str] = {}
    for info in listed:
        name = info.orig_filename  # zipfile mends the other one
        folder = name.endswith("/")
        check_name(name.removesuffix("/"))
        _check_kind(info, folder)
        if folder:
            continue
        if (same := folded(name)) in taken:
            raise Refused(f"{shown(name)} and {shown(taken[same])} are one file on some systems")
        taken[same] = name
        members[name] = info
    _check_sizes(list(members.values()), packed, limits)
    for name in members:
        for around in PurePosixPath(name).parents:
            if folded(around.as_posix()) in taken:
                raise Refused(f"{shown(around.as_posix())} is a file and a folder")
    return members


def _check_kind(info: zipfile.ZipInfo, folder: bool) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where a system without kinds wrote it
    if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise Refused(f"{shown(info.orig_filename)} is {what}")
    if info.flag_bits & ENCRYPTED:
        raise Refused(f"{shown(info.orig_filename)} is encrypted")
    if info.compress_type not in ALGORITHMS:
        raise Refused(f"{shown(info.orig_filename)} is packed in an unusual way")


def _check_sizes(members: Sequence[zipfile.ZipInfo], packed: int, limits: Limits) -> None:
    total = sum(info.file_size for info in members)
    if total > limits.size:
        raise Refused(
            f"it unpacks to {total / MEGABYTE:.0f} MB, more than {limits.size / MEGABYTE:.0f}"
        )
    for info in members:
        if info.file_size > max(limits.small, limits.ratio * info.compress_size):
            raise Refused(
                f"{shown(info.orig_filename)} unpacks to {info.file_size / MEGABYTE:.0f} MB from "
                f"{info.compress_size} bytes"
            )
    if total > max(limits.small, limits.ratio * packed):
        raise Refused(f"it unpacks to {total / MEGABYTE:.0f} MB from {packed} bytes")
    if sum(info.compress_size for info in members) > packed:
        raise Refused("its files lie over one another")


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> str:
    """Write one file, and return its SHA-256.

    zipfile gives no more bytes than the size that was looked at, and finds fewer or others.
    """
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(info) as source, target.open("xb") as sink:
        while block := source.read(BLOCK):
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()
