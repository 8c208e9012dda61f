"""Packing a crate: the same contents make the same archive, byte for byte."""

import hashlib
import secrets
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
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as sink, zipfile.ZipFile(sink, "w") as archive:
                sums = {name: _add(archive, name, members[name]) for name in sorted(members)}
                listed = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
                _add(archive, MANIFEST, listed.encode())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(
            f"{target} cannot be written: {error}. Mend that, or name another place."
        ) from error


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


def _add(archive: zipfile.ZipFile, path: str, member: Member) -> str:
    """Put one file into an archive, and return the SHA-256 of what was put there."""
    info = zipfile.ZipInfo(path, LONG_AGO)
    info.external_attr, info.create_system = PLAIN_FILE, UNIX
    info.compress_type = zipfile.ZIP_DEFLATED
    if isinstance(member, bytes):
        archive.writestr(info, member)
        return hashlib.sha256(member).hexdigest()
    info.file_size = member.stat().st_size  # so that zipfile knows whether it is a large one
    digest = hashlib.sha256()
    with member.open("rb") as source, archive.open(info, "w") as sink:
        while block := source.read(BLOCK):
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()
