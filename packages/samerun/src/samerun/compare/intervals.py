"""Intervals: how far a measured share may lie from the true one."""

import math


def wilson_interval(correct: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, `correct` out of `n`; 95 % by default."""
    share, spread = correct / n, z * z / n
    middle = share + spread / 2
    half = z * math.sqrt((share * (1 - share) + spread / 4) / n)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)
