"""How often somebody may do something."""

import time
from collections import OrderedDict
from collections.abc import Hashable

MOST_KEYS = 20_000


class Limit:
    """A bucket of tokens per key: `burst` at once, then `per_second`.

    Counts in one process; with N workers N times as much passes.
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second, self.burst = per_second, burst
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, key: Hashable, cost: float = 1.0) -> float:
        """Take from the bucket of a key; return 0, or the seconds until there is enough in it."""
        now = time.monotonic()
        tokens, since = self._buckets.get(key, (self.burst, now))
        tokens = min(self.burst, tokens + (now - since) * self.per_second)
        missing = cost - tokens
        if missing <= 0:
            tokens -= cost
        self._buckets[key] = tokens, now
        self._buckets.move_to_end(key)
        if len(self._buckets) > MOST_KEYS:
            self._buckets.popitem(last=False)
        return max(0.0, missing / self.per_second)
