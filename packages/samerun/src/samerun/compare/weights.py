"""The digest of a file of weights, by which it is compared bit for bit.

Equal for equal bytes. Some formats write more than the weights: the name that the file had, the
time, places in memory. What skops writes of these is left out; in any other file, they count, and
two files with equal weights may differ.
"""

import contextlib
import hashlib
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIXES = {
    *(".ckpt", ".h5", ".joblib", ".keras", ".npy", ".npz", ".onnx", ".pkl", ".pt", ".pth"),
    *(".safetensors", ".skops", ".ubj"),
}
# skops names objects by their places in memory, which differ from process to process.
PLACE_IN_MEMORY = re.compile(rb'(?<="__id__": )\d+|(?<="file": ")\d+')  # in schema.json
NAME = re.compile(rb"^\d+(?=\.\w+$)")  # of a member
SCHEMA = "schema.json"
BLOCK = 2**20
# A stranger may have written the archive: more than this, and it is a file like any other.
LARGEST_SCHEMA, LARGEST_RATIO, SMALL = 64 * 2**20, 100, 10 * 2**20


def is_weights(path: Path) -> bool:
    """Say whether a file holds weights, by the end of its name."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a file; of skops' archives, that of all that is not by chance.

    An archive that is damaged, or unpacks to far more than it weighs, is taken as its bytes are.
    """
    if path.suffix.lower() == ".skops":
        with contextlib.suppress(
            *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError),
            *(NotImplementedError, RuntimeError, ValueError),
        ):
            return _of_skops(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_skops(path: Path) -> str:
    """Return a digest of what an archive of skops holds, without the times at which it was put in.

    The places in memory are numbered in the order in which they come. It takes a block of memory
    at a time, and raises what zipfile raises, or a ValueError.
    """
    total, numbers = hashlib.sha256(), dict[bytes, bytes]()

    def numbered(found: re.Match[bytes]) -> bytes:
        return numbers.setdefault(found[0], b"#%d" % len(numbers))

    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > max(SMALL, LARGEST_RATIO * path.stat().st_size):
            raise ValueError(f"it unpacks to {size} bytes")
        if sum(m.file_size for m in members if m.filename == SCHEMA) > LARGEST_SCHEMA:
            raise ValueError(f"its {SCHEMA} is too large")
        for member in members:
            named = NAME.sub(numbered, member.filename.encode())
            blocks: Iterable[bytes] = _blocks(archive, member)
            length = member.file_size
            if member.filename == SCHEMA:
                schema = PLACE_IN_MEMORY.sub(numbered, b"".join(blocks))
                blocks, length = [schema], len(schema)
            total.update(len(named).to_bytes(8, "little") + named + length.to_bytes(8, "little"))
            for block in blocks:
                total.update(block)
    return total.hexdigest()


def _blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as opened:
        while block := opened.read(BLOCK):
            yield block
