"""The neutral form of uv.lock: names, versions and hashes, no index addresses.

uv writes the address of the package index into every line of its lock, which ties the lock to one
mirror. In the neutral form it has none; uv fills them in again, keeping every version and hash.
git can call this file as the clean filter of uv.lock, so that it needs nothing but Python:

    python lock.py < uv.lock
"""

import re
import sys

REGISTRY = re.compile(r'registry = "https?://[^"]*"')
# Of a file on an index. A package with `source = { url = ... }` has no other address than that.
# (The look behind stands after the letters that it follows: a search for letters is fast.)
FILE_ADDRESS = re.compile(r'url = "(?<!source = \{ url = ")https?://[^"]*/([^"/]+)"')
# Mirrors differ in what they say of a file beside its hash.
FILE_DETAILS = re.compile(r', (?:size = \d+|upload-time = "[^"]*")')
# uv writes these in an order that depends on the lock it started from.
MARKERS = re.compile(r"(?<=resolution-markers = \[\n)(?: .*\n)+")
# The root package's requirements. Without them uv looks the addresses up again.
REQUIREMENTS = re.compile(
    r"^\[package\.metadata(?:\.requires-dev)?\]\n(?:(?!\[).+\n|\n(?!\[))*\n?", re.M
)


def neutral(lock: str) -> str:
    """Return the text of a uv.lock without index addresses; a neutral text comes back unchanged."""
    lock = REGISTRY.sub('registry = "."', lock)
    lock = FILE_ADDRESS.sub(r'path = "\1"', lock)
    lock = FILE_DETAILS.sub("", lock)
    lock = MARKERS.sub(lambda block: "".join(sorted(block[0].splitlines(keepends=True))), lock)
    return REQUIREMENTS.sub("", lock)


if __name__ == "__main__":
    # As bytes: Windows would otherwise turn line ends and the encoding.
    text = sys.stdin.buffer.read().decode("utf-8").replace("\r\n", "\n")
    sys.stdout.buffer.write(neutral(text).encode("utf-8"))
