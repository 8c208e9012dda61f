"""Packing a crate: the same contents make the same archive, byte for byte."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from samerun.errors import RecordError
from samerun.received.safety import shown

MANIFEST = "manifest-sha256.txt"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
PLAIN_FILE = 0o100644 << 16
UNIX = 3
BLOCK = 2**20

Member = bytes | Path


def pack(members: Mapping[str, Member], target: Path) -> None:
    """Write an archive, with the SHA-256 of every file in it, so that it is whole or absent.

    Raises
    ------
    RecordError
        It cannot be written.
    """
    sums = {name: _digest(member) for name, member in sorted(members.items())}
    listed = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as sink, zipfile.ZipFile(sink, "w") as archive:
                for path, member in sorted({**members, MANIFEST: listed.encode()}.items()):
                    _add(archive, path, member)
            umask = os.umask(0)
            os.umask(umask)
            unfinished.chmod(0o666 & ~umask)  # mkstemp lets nobody else read it
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"{target} cannot be written: {error}. Name another place.") from error


def check_sums(sums: Mapping[str, str], manifest: bytes) -> None:
    """Compare the files of a crate with its own list of them.

    This finds what was damaged, or changed by hand. Who changes a file on purpose can change the
    list as well.

    Raises
    ------
    RecordError
        A file is altered, missing, or not on the list.
    """
    listed = {}
    for line in manifest.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    found = {name: digest for name, digest in sums.items() if name != MANIFEST}
    for what, names in {
        "were altered": sorted(n for n in found.keys() & listed.keys() if found[n] != listed[n]),
        "are missing": sorted(listed.keys() - found.keys()),
        f"are not in {MANIFEST}": sorted(found.keys() - listed.keys()),
    }.items():
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            first = ", ".join(map(shown, names[:5]))
            raise RecordError(
                f"Files of this crate {what}: {first}{more}. Fetch it again from where it came."
            )


def _add(archive: zipfile.ZipFile, path: str, member: Member) -> None:
    info = zipfile.ZipInfo(path, LONG_AGO)
    info.external_attr, info.create_system = PLAIN_FILE, UNIX
    info.compress_type = zipfile.ZIP_DEFLATED
    if isinstance(member, bytes):
        archive.writestr(info, member)
        return
    info.file_size = member.stat().st_size  # so that zipfile knows whether it is a large one
    with member.open("rb") as source, archive.open(info, "w") as sink:
        while block := source.read(BLOCK):
            sink.write(block)


def _digest(member: Member) -> str:
    if isinstance(member, bytes):
        return hashlib.sha256(member).hexdigest()
    with member.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
