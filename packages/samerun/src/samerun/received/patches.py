"""How large the files are that a patch makes: some bytes of it may stand for any number of them."""

import base64
import re
import zlib
from collections.abc import Iterator

HUNK = re.compile(rb"^(literal|delta) (\d+)\n([A-Za-z][^\n]*)\n", re.M)
FIRST_BYTES = 32  # of a delta: two numbers stand there, the sizes before and after


def sizes(patch: bytes) -> Iterator[int]:
    """Yield how many bytes each binary part of a patch says that it makes.

    Raises
    ------
    ValueError
        A part cannot be read.
    """
    for kind, size, line in HUNK.findall(patch):
        yield int(size)  # git takes no more than that for the part itself
        if kind == b"delta":
            yield _result_of(line)


def _result_of(line: bytes) -> int:
    """Return the size of the file that a delta makes, from the first line of it."""
    try:  # a letter for the length, then base 85
        start = zlib.decompressobj().decompress(base64.b85decode(line[1:]), FIRST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    _, rest = _number(start)
    size, _ = _number(rest)
    return size


def _number(data: bytes) -> tuple[int, bytes]:
    """Return the number at the start, seven bits a byte, and what follows it."""
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, data[place + 1 :]
    raise ValueError("a number has no end")
