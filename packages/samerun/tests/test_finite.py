"""A training whose loss is no number any more stops, and its run is marked."""

import math
from pathlib import Path

import mlflow
import pytest
from record_fixtures import FakeDataset

from samerun.finite import Diverged, check_finite
from samerun.run import start_run


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_no_number_is_named(bad: float) -> None:
    with pytest.raises(Diverged) as stopped:
        check_finite(7, [0.5, 1e30, bad, math.nan], math.nan)
    assert f"In epoch 7, step 3, the loss is {bad}: the training has diverged" in str(stopped.value)
    assert "try a tenth of the learning rate" in str(stopped.value)


def test_a_loss_of_the_validation_counts() -> None:
    with pytest.raises(Diverged, match="In epoch 2, the validation, the loss is nan"):
        check_finite(2, [0.5], math.nan)


def test_numbers_pass_however_large() -> None:
    check_finite(1, [0.0, 1e300, -3.5], 2.0)
    check_finite(1, [])


def test_the_run_of_a_training_that_diverged_has_failed_and_says_where(mlflow_store: Path) -> None:
    with pytest.raises(Diverged), start_run({"experiment": "x"}, FakeDataset()) as run:
        check_finite(2, [1.0, math.nan])
    found = mlflow.get_run(run.info.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags["diverged"] == "epoch 2, step 2"
