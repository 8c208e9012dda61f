"""The digest of a file of weights, by which it is compared bit for bit.

Equal for equal bytes. Some formats write more than the weights: the name that the file had, the
time, places in memory. What skops writes of these is left out; in any other file, they count, and
two files with equal weights may differ.
"""

import hashlib
import re
import zipfile
from pathlib import Path

SUFFIXES = {
    *(".ckpt", ".h5", ".joblib", ".keras", ".npy", ".npz", ".onnx", ".pkl", ".pt", ".pth"),
    *(".safetensors", ".skops", ".ubj"),
}
# skops names objects by their places in memory, which differ from process to process.
PLACE_IN_MEMORY = re.compile(rb'(?<="__id__": )\d+|(?<="file": ")\d+')  # in schema.json
NAME = re.compile(rb"^\d+(?=\.\w+$)")  # of a member


def is_weights(path: Path) -> bool:
    """Say whether a file holds weights, by the end of its name."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a file; of skops' archives, that of all that is not by chance."""
    if path.suffix.lower() == ".skops" and zipfile.is_zipfile(path):
        return _of_skops(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_skops(path: Path) -> str:
    """Return a digest of what an archive of skops holds, without the times at which it was put in.

    The places in memory are numbered in the order in which they come.
    """
    total, numbers = hashlib.sha256(), dict[bytes, bytes]()

    def numbered(found: re.Match[bytes]) -> bytes:
        return numbers.setdefault(found[0], b"#%d" % len(numbers))

    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "schema.json":
                content = PLACE_IN_MEMORY.sub(numbered, content)
            named = NAME.sub(numbered, name.encode())
            for piece in (named, content):
                total.update(len(piece).to_bytes(8, "little") + piece)
    return total.hexdigest()
