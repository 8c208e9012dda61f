"""Finding runs, and what can be said of their scores."""

import pytest
from scipy.stats import binomtest

from samerun import wilson_interval


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (7, 10), (9264, 10_000), (10_000, 10_000)])
def test_the_interval_is_wilsons_of_95_percent(correct: int, n: int) -> None:
    reference = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(correct, n) == pytest.approx(reference, abs=1e-5, rel=1e-4)
