"""Naming the data of a run: a digest over arrays, tables, files or folders, in one line."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from samerun.code.known import KnownFile, known_file
from samerun.errors import RecordError
from samerun.root import project_root

if TYPE_CHECKING:
    import numpy as np

DIGITS = 32  # of the digest; MLflow takes 36 characters
# Of these, repr() is the same in every process; an object's may hold its address in memory.
HAS_A_STABLE_REPR = (str, bytes, bool, int, float, complex, type(None), date, time, Decimal)


class Dataset(Protocol):
    """What a trace needs to know of a data set; `dataset` makes one.

    It may have `files`, too: those that it was read from, as paths or as `KnownFile`, where their
    digests are known already. The trace names each of them with its size and its SHA-256. It may
    have `rows`: how many each split has, `{"train": 1200, "val": 300}`; the interval of an accuracy
    follows from that.
    """

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def source(self) -> str: ...


@dataclass(frozen=True)
class Data:
    """A data set as a trace knows it.

    name : what people call it
    digest : hexadecimal digits that change if anything in the data does
    source : where it came from, for people to read
    files : the files that it was read from
    rows : how many rows each split has, by the name of the split
    """

    name: str
    digest: str
    source: str
    files: tuple[KnownFile, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)


def dataset(name: str, *parts: object, source: str | None = None) -> Data:
    """Name the data of a run, with a digest computed from all of it.

    Parameters
    ----------
    name : what people call the data
    parts : one or more of: an array (or a tensor, a list of numbers or of texts), a table of
        pandas, the path of a file, the path of a folder, which stands for all files below it. The
        digest depends on their order, on types, shapes, names of columns and names of files inside
        of a folder; not on where a file lies, nor on how an array lies in memory.
    source : where the data came from; otherwise the paths among the parts, those inside of the
        project relative to its root

    Raises
    ------
    RecordError
        There are no parts, a path leads nowhere, or a value has no bytes that a digest could be
        computed from.
    """
    if not parts:
        raise RecordError(
            f"The data set {name!r} has nothing to compute a digest from. Give its arrays or "
            f"files: dataset({name!r}, x, y) or dataset({name!r}, 'data/table.csv')"
        )
    total = hashlib.sha256()
    places: list[str] = []
    files: list[KnownFile] = []
    for part in parts:
        if isinstance(part, (str, PathLike)):
            path = Path(part)
            total.update(_of_path(name, path, files))
            places.append(_shown(path))
        else:
            total.update(_of_values(name, part))
    said = source or ", ".join(places) or "memory"
    return Data(name, total.hexdigest()[:DIGITS], said, tuple(files))


def _of_path(name: str, path: Path, read: list[KnownFile]) -> bytes:
    """Return the digest of a file or of a folder, and add the files to those that were read."""
    if path.is_file():
        return _of_file(path, read)
    if not path.is_dir():
        raise RecordError(
            f"{path} of the data set {name!r} does not exist. Expected a file or a folder; a "
            f"relative path counts from {Path.cwd()}."
        )
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    if not files:
        raise RecordError(f"The folder {path} of the data set {name!r} holds no files.")
    digest = hashlib.sha256(b"folder")
    for relative in sorted(files):
        _add(digest, relative.encode(errors="surrogateescape"), _of_file(files[relative], read))
    return digest.digest()


def _of_file(path: Path, read: list[KnownFile]) -> bytes:
    try:
        file = known_file(path.resolve(), "data", project_root())
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}.") from error
    read.append(file)
    return hashlib.sha256(b"file" + bytes.fromhex(file.sha256)).digest()


def _of_values(name: str, values: object) -> bytes:
    """Return the digest of an array, or of a table by its columns."""
    import numpy as np

    if hasattr(values, "columns") and hasattr(values, "items"):
        digest = hashlib.sha256(b"table")
        for column, series in values.items():
            _add(digest, str(column).encode(), _of_array(name, series.to_numpy()))
        return digest.digest()
    for step in ("detach", "cpu"):  # of a tensor, which may lie on a GPU
        if hasattr(values, step):
            values = getattr(values, step)()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise RecordError(
            f"A part of the data set {name!r}, of the type {type(values).__name__}, cannot be made "
            f"into an array: {error}"
        ) from None
    return _of_array(name, array)


def _of_array(name: str, array: "np.ndarray") -> bytes:
    import numpy as np

    digest = hashlib.sha256(b"array")
    if array.dtype.kind in "OU":  # texts, perhaps with gaps
        _add(digest, str(array.shape).encode(), *_texts(name, array.ravel().tolist()))
    else:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        _add(digest, little.dtype.str.encode(), str(array.shape).encode(), little.tobytes())
    return digest.digest()


def _texts(name: str, values: Iterable[object]) -> Iterable[bytes]:
    for value in values:
        if not isinstance(value, HAS_A_STABLE_REPR) and type(value).__name__ != "NAType":
            raise RecordError(
                f"A digest of the data set {name!r} cannot be computed from a value of type "
                f"{type(value).__name__}. Expected arrays of numbers or texts, tables, or paths."
            )
        yield f"{type(value).__name__} {value!r}".encode(errors="surrogatepass")


def _add(digest: "hashlib._Hash", *pieces: bytes) -> None:
    """Add pieces so that no two sequences of them are one stream of bytes."""
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)


def _shown(path: Path) -> str:
    root, path = project_root(), path.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
