"""Ranks that say only what the hidden images can tell apart."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

SIGNIFICANT = 0.05


class Ranked(Protocol):
    """What a rank needs of an entry; `correct` is packed, one bit per hidden image."""

    @property
    def id(self) -> int: ...
    @property
    def score(self) -> float: ...
    @property
    def correct(self) -> bytes: ...


def paired_p(a: bytes, b: bytes) -> float:
    """Return the p-value of McNemar's exact test, two-sided.

    a, b : which of the same images two models got right, as numpy.packbits makes it. Vectors of
        different images, told by their lengths, count as different: 0.0.
    """
    from scipy.special import bdtr  # late, and not scipy.stats: that takes a second to import

    if len(a) != len(b):
        return 0.0
    one, other = np.frombuffer(a, np.uint8), np.frombuffer(b, np.uint8)
    only_one = int(np.bitwise_count(one & ~other).sum())
    only_other = int(np.bitwise_count(other & ~one).sum())
    tail = bdtr(min(only_one, only_other), only_one + only_other, 0.5)
    return min(1.0, 2 * float(tail))


def ranks(entries: Sequence[Ranked]) -> list[int]:
    """Return the rank of each entry, in the order in which they came.

    By score, highest first, an entry shares the rank of the first of its group while the test
    cannot tell the two apart. The next one begins a group, whose rank is 1 + the entries above it.
    """
    order = sorted(range(len(entries)), key=lambda i: (-entries[i].score, entries[i].id))
    found = [0] * len(entries)
    first = None
    for above, i in enumerate(order):
        if first is None or paired_p(first.correct, entries[i].correct) < SIGNIFICANT:
            first, rank = entries[i], above + 1
        found[i] = rank
    return found
