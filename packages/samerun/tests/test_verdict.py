"""The verdict on two runs that were made up: what counts as the same, and what is named first."""

import math
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from samerun.code.checkout import Code
from samerun.code.known import KnownFile
from samerun.compare.chance import (
    Outcome,
    Share,
    difference_interval,
    mcnemar,
    outcomes,
    share,
)
from samerun.compare.comparison import compare
from samerun.compare.results import is_a_result, last_value
from samerun.compare.verdict import EXIT_STATUS, Verdict, verdict
from samerun.data import Data
from samerun.machine.description import Environment, Machine
from samerun.recorded import RecordedRun
from samerun.trace import Trace

TRACE = Trace(
    started="2026-11-25T10:00:00+00:00",
    seed=3,
    script="fit.py",
    directory="/home/somebody/wines",
    command=("fit.py",),
    overrides=(),
    config={"seed": 3, "model": {"depth": 4, "rate": 0.1}},
    code=Code(commit="a" * 40, branch="main", dirty=False),
    data=Data("wine", "d" * 32, "memory", rows={"val": 400, "train": 1600}),
    environment=Environment("CPython 3.11.2", lock="l" * 64, installed="i" * 64),
    machine=Machine(
        platform="Linux-6",
        cpu="A processor",
        cores=8,
        usable_cores=8,
        threads={"numpy.libs/libopenblas-0a1b.so": 8, "torch": 2},
        arithmetic={"torch softmax": "11", "numpy exponential": "22"},
        libraries={"torch": "2.15.0+cpu", "torch kernels": "AVX512"},
        instructions="x86-64-v4",
        flags="f0",
    ),
    problems={},
    packages=("numpy==2.2.0", "rich==14.0", "torch==2.15.0+cpu"),
    files=(KnownFile("fit.py", "imported", "c" * 64, 100, "commit"),),
)
RUN = RecordedRun(
    run_id="1" * 32,
    name="calm-crab-1",
    status="FINISHED",
    tags={},
    params={"model.depth": "4", "seed": "3"},
    metrics={
        "train_deviance": [(1, 0.75), (2, 0.5), (3, 0.25)],
        "val_accuracy": [(1, 0.75), (2, 0.8), (3, 0.9)],
    },
    trace=TRACE,
    weights={"trees.npz": "w" * 64},
    files=Path("nowhere"),
)
OTHER_BITS = {"torch softmax": "12", "numpy exponential": "22"}


def metrics(run: RecordedRun, **changed: list[tuple[int, float]]) -> RecordedRun:
    return replace(run, metrics={**run.metrics, **changed})


def machine(run: RecordedRun, **changed: object) -> RecordedRun:
    assert run.trace.machine
    return replace(run, trace=replace(run.trace, machine=replace(run.trace.machine, **changed)))


def judged(second: RecordedRun, first: RecordedRun = RUN, **options: list[str]) -> Verdict:
    return verdict(compare(first, second), **options)


def test_two_equal_runs_are_exact() -> None:
    found = judged(replace(RUN, run_id="2" * 32, name="another"))
    assert (found.kind, EXIT_STATUS[found.kind]) == ("exact", 0)
    assert found.reason == (
        "Bit for bit the same: 6 values of metrics, 2 parameters and 1 file of weights."
    )


def test_the_last_bit_of_one_value_makes_two_runs_different() -> None:
    found = judged(metrics(RUN, train_deviance=[(1, 0.75), (2, math.nextafter(0.5, 1)), (3, 0.25)]))
    assert (found.kind, EXIT_STATUS[found.kind]) == ("different", 1)
    assert found.reasons[0] == (
        "First to differ: train_deviance at step 2 is 0.5000000000000001, was 0.5, by 1.1e-16."
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_metrics_steps_and_parameters_does_not_matter(seed: int) -> None:
    chance = random.Random(seed)

    def shuffled(items: object) -> list:
        return chance.sample(list(items), len(list(items)))

    other = replace(
        RUN,
        metrics={name: shuffled(points) for name, points in shuffled(RUN.metrics.items())},
        params=dict(shuffled(RUN.params.items())),
    )
    assert judged(other).kind == "exact"


def test_a_value_logged_twice_at_a_step_counts_once_as_the_store_keeps_it() -> None:
    one = metrics(RUN, score=[(0, 0.5), (0, 0.5), (0, 0.25)])
    other = metrics(RUN, score=[(0, 0.25), (0, 0.5)])
    assert judged(other, one).kind == "exact"


def test_not_a_number_is_equal_to_itself_and_to_nothing_else() -> None:
    lost = metrics(RUN, train_deviance=[(1, math.nan), (2, math.inf)])
    assert judged(lost, lost).kind == "exact"
    found = judged(lost)
    assert found.kind == "different"
    assert found.reasons[0].startswith(
        "First to differ: train_deviance at step 1 is nan, was 0.75."
    )


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([(1, 0.75), (2, 0.5)], "train_deviance at step 3, which only the first run has."),
        ([(1, 0.75), (3, 0.25)], "train_deviance at step 2, which only the first run has."),
        ([(0, 0.9), (1, 0.75), (2, 0.5), (3, 0.25)], "step 0, which only the second run has."),
        ([], "train_deviance at step 1, which only the first run has."),
    ],
)
def test_a_step_that_only_one_run_has_is_named(points: list, said: str) -> None:
    found = judged(metrics(RUN, train_deviance=points))
    assert found.kind == "different" and said in found.reason


def test_the_earliest_step_is_named_and_not_the_first_name() -> None:
    later = [(1, 0.75), (2, 0.5), (3, 0.26)]
    earlier = [(1, 0.75), (2, 0.81), (3, 0.9)]
    found = judged(metrics(RUN, train_deviance=later, val_accuracy=earlier))
    assert "First to differ: val_accuracy at step 2 is 0.81, was 0.8" in found.reasons[0]
    assert found.reasons[0].endswith(" So does 1 other metric.")
    more = {f"m{n}": [(9, 0.5)] for n in range(4)}
    assert judged(metrics(RUN, **more)).reasons[0].endswith(" So do 3 other metrics.")


def test_a_metric_that_only_the_repetition_has_is_a_difference() -> None:
    assert judged(metrics(RUN, extra=[(0, 1.0)])).kind == "different"


def test_the_likeliest_cause_is_named_and_the_others_are_counted() -> None:
    other = replace(RUN, weights={"trees.npz": "x" * 64})
    for changed, said in (
        ({"seed": 4}, "Likeliest cause: configuration, seed: 3, now 4."),
        ({"seed": 4, "a": 1}, "seed: 3, now 4. 3 other things changed, too."),
    ):
        config = {"seed": 3, "model": {"depth": 4, "rate": 0.1}} | changed
        if "a" in changed:
            config["model"] = {"depth": 5}
        again = replace(other, trace=replace(TRACE, config=config))
        assert judged(again).reason.endswith(said)


@pytest.mark.parametrize("params", [{"model.depth": "4"}, {"model.deep": "4", "seed": "3"}])
def test_a_parameter_that_is_missing_or_renamed_is_a_difference(params: dict) -> None:
    found = judged(replace(RUN, params=params))
    assert found.kind == "different" and "The parameter" in found.reason


@pytest.mark.parametrize("name", ["experiment", "run_name"])
def test_where_a_run_is_recorded_is_no_part_of_what_it_did(name: str) -> None:
    one, other = (replace(RUN, params=RUN.params | {name: value}) for value in ("here", "there"))
    assert judged(other, one).kind == "exact"


def test_weights_that_differ_are_named_even_if_all_metrics_agree() -> None:
    found = judged(replace(RUN, weights={"trees.npz": "x" * 64}))
    assert found.kind == "different"
    assert found.reasons[0] == "All metrics are the same; the weights trees.npz differ."


@pytest.mark.parametrize(
    "name",
    [
        "system/cpu_utilization_percentage",
        "epoch_time",
        "time/fit",
        "train_runtime",
        "seconds",
        "memory/peak",
        "train_samples_per_second",
        "peak_memory_mb",
        "fitDuration",
        "step time",
    ],
)  # fmt: skip
def test_time_and_machine_are_no_results(name: str) -> None:
    assert not is_a_result(name)
    one, other = metrics(RUN, **{name: [(0, 1.0)]}), metrics(RUN, **{name: [(0, 2.0), (1, 3.0)]})
    assert judged(other, one).kind == "exact"
    assert compare(one, other).left_out == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "time_to_failure_mae",
        "second_stage_accuracy",
        "memory_accuracy",
        "timeliness",
        "loss",
        "systematic_error",
        "lifetime_value_error",
        "val_accuracy",
        "accuracy/timeout",
        "mse",
    ],
)  # fmt: skip
def test_what_only_sounds_like_time_is_a_result(name: str) -> None:
    assert is_a_result(name)


# Within tolerance


def test_another_arithmetic_explains_a_difference_inside_of_the_interval() -> None:
    close = metrics(RUN, val_accuracy=[(1, 0.75), (2, 0.8), (3, 0.9025)])
    found = judged(machine(close, arithmetic=OTHER_BITS))
    assert (found.kind, EXIT_STATUS[found.kind]) == ("within tolerance", 0)
    assert "1 of 2 calculations differ" in found.reasons[0]
    assert found.reasons[-1] == (
        "val_accuracy: at every step inside of its interval of 95 %, which is 0.8667 to 0.9257 at "
        "step 3 (0.9000 of 400 rows)."
    )


def test_the_same_difference_without_another_arithmetic_is_different() -> None:
    assert judged(metrics(RUN, val_accuracy=[(1, 0.75), (2, 0.8), (3, 0.9025)])).kind == "different"


def test_no_tolerance_covers_a_difference_that_something_else_may_have_made() -> None:
    close = metrics(RUN, val_accuracy=[(1, 0.75), (2, 0.8), (3, 0.9025)])
    elsewhere = machine(close, arithmetic=OTHER_BITS)
    edited = (KnownFile("fit.py", "imported", "e" * 64, 100, "patch"),)
    for changed in (
        {"files": edited},
        {"config": {"seed": 4}},
        {"packages": ("numpy==2.3.0", "rich==14.0", "torch==2.15.0+cpu")},
    ):
        found = judged(replace(elsewhere, trace=replace(elsewhere.trace, **changed)))
        assert found.kind == "different", changed


@pytest.mark.parametrize(
    ("last", "kind"),
    [(0.8675, "within tolerance"), (0.865, "different"), (0.925, "within tolerance"),
     (0.9275, "different"), (math.nan, "different")],
)  # fmt: skip
def test_the_interval_is_that_of_wilson_for_the_rows_of_the_split(last: float, kind: str) -> None:
    # 360 of 400 right: 0.8667 to 0.9257
    found = judged(
        machine(metrics(RUN, val_accuracy=[(1, 0.75), (2, 0.8), (3, last)]), arithmetic=OTHER_BITS)
    )
    assert found.kind == kind, found
    if kind == "different":
        assert "0.8667 to 0.9257" in found.reason or "nan" in found.reason


def test_a_loss_has_a_stated_tolerance_of_one_percent_of_its_largest_value() -> None:
    for last, kind in ((0.2574, "within tolerance"), (0.2576, "different")):
        near = metrics(RUN, train_deviance=[(1, 0.75), (2, 0.5), (3, last)])
        found = judged(machine(near, arithmetic=OTHER_BITS))
        assert found.kind == kind
        allowed = "is allowed: train_deviance 0.0075."
        said = allowed if kind != "different" else "0.2425 to 0.2575 would be allowed"
        assert said in found.reason


def test_the_tolerance_ends_where_it_says() -> None:
    first = metrics(RUN, loss=[(1, -1.0), (2, 0.5)])  # 1 % of the largest: 0.01
    assert (0.5 - 0.01, 0.5 + 0.01) == (0.49, 0.51)
    for last, kind in (
        (0.49, "within tolerance"),
        (0.51, "within tolerance"),
        (math.nextafter(0.49, 0), "different"),
        (math.nextafter(0.51, 1), "different"),
    ):
        again = metrics(RUN, loss=[(1, -1.0), (2, last)])
        assert judged(machine(again, arithmetic=OTHER_BITS), first).kind == kind, last


@pytest.mark.parametrize("lost", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_no_finite_number_allows_no_other_value_anything(lost: float) -> None:
    first = metrics(RUN, train_deviance=[(1, lost), (2, 0.5), (3, 0.25)])
    for last, kind in ((0.2549, "within tolerance"), (0.2551, "different"), (lost, "different")):
        again = metrics(RUN, train_deviance=[(1, lost), (2, 0.5), (3, last)])
        assert judged(machine(again, arithmetic=OTHER_BITS), first).kind == kind, last
    found = machine(metrics(RUN, train_deviance=[(1, 0.5), (2, 0.5), (3, 0.25)]), arithmetic={})
    assert judged(machine(found, arithmetic=OTHER_BITS), first).kind == "different"


def test_values_of_one_step_are_compared_in_their_order_also_around_zero() -> None:
    first = metrics(RUN, margin=[(0, -1e-9), (0, 1.0), (0, -1.0)])
    again = machine(metrics(RUN, margin=[(0, 1e-9), (0, 1.0), (0, -1.0)]), arithmetic=OTHER_BITS)
    assert judged(again, first).kind == "within tolerance"
    (metric,) = compare(first, again).metrics
    assert metric.size == 2e-9


def test_the_ends_of_an_interval_may_move_with_its_accuracy() -> None:
    def scored(right: int, **changed: float) -> RecordedRun:
        low, high = Share(right / 100, 100).interval
        values = {"test_acc": right / 100, "test_acc_low": low, "test_acc_high": high} | changed
        return metrics(RUN, **{name: [(0, value)] for name, value in values.items()})

    # 90 of 100: 0.8256 to 0.9448, whose low ends are 0.7396 and 0.8814
    for right, kind in ((83, "within tolerance"), (82, "different"), (94, "within tolerance")):
        assert judged(machine(scored(right), arithmetic=OTHER_BITS), scored(90)).kind == kind
    for low, kind in ((0.74, "within tolerance"), (0.739, "different"), (0.882, "different")):
        again = machine(scored(90, test_acc_low=low), arithmetic=OTHER_BITS)
        assert judged(again, scored(90)).kind == kind, low


def test_the_ends_of_an_interval_are_those_of_its_step() -> None:
    def scored(*right: int) -> RecordedRun:
        values: dict[str, list[tuple[int, float]]] = {"test_acc": [], "test_acc_low": []}
        values["test_acc_high"] = []
        for step, one in enumerate(right):
            low, high = Share(one / 100, 100).interval
            values["test_acc"].append((step, one / 100))
            values["test_acc_low"].append((step, low))
            values["test_acc_high"].append((step, high))
        return metrics(RUN, **values)

    first = scored(50, 90)
    for right, kind in (((51, 90), "within tolerance"), ((61, 90), "different")):
        assert judged(machine(scored(*right), arithmetic=OTHER_BITS), first).kind == kind


def test_a_step_at_which_an_accuracy_is_no_share_of_its_rows_has_no_interval() -> None:
    first = metrics(RUN, val_accuracy=[(1, 0.50001), (2, 0.8), (3, 0.9)])
    near = metrics(RUN, val_accuracy=[(1, 0.50002), (2, 0.8), (3, 0.9)])
    assert judged(machine(near, arithmetic=OTHER_BITS), first).reasons[-1] == (
        "Where no interval is known, 1% of the metric's largest value is allowed: "
        "val_accuracy 0.009."
    )
    far = metrics(RUN, val_accuracy=[(1, 0.52), (2, 0.8), (3, 0.9)])
    assert judged(machine(far, arithmetic=OTHER_BITS), first).kind == "different"
    both = metrics(RUN, val_accuracy=[(1, 0.50002), (2, 0.8025), (3, 0.9)])
    found = judged(machine(both, arithmetic=OTHER_BITS), first)
    assert "0.7580 to 0.8363 at step 2 (0.8000 of 400 rows)" in found.reasons[-2]
    assert "Where no interval is known" in found.reasons[-1]


def test_of_many_metrics_and_values_a_few_are_named() -> None:
    many = {f"acc_{n}": [(0, 0.5 + n / 400)] for n in range(50)}
    first = replace(RUN, metrics={f"val_{name}": points for name, points in many.items()} | many)
    more = {name: [(0, value + 1 / 400)] for name, ((_, value),) in first.metrics.items()}
    found = judged(machine(replace(RUN, metrics=more), arithmetic=OTHER_BITS), first)
    assert found.kind == "within tolerance"
    assert found.reasons[-2:] == (
        "So are 47 other metrics in theirs.",
        "Where no interval is known, 1% of the metric's largest value is allowed: acc_0 0.005, "
        "acc_1 0.005, acc_10 0.0052 and 47 more.",
    )
    one = metrics(RUN, loss=[(0, float(n)) for n in range(3000)])
    other = metrics(RUN, loss=[(0, n + 0.5) for n in range(3000)])
    assert judged(other, one).reasons[0] == (
        "First to differ: loss at step 0 is 0.5, 1.5, 2.5 and 2997 more, was 0.0, 1.0, 2.0 and "
        "2997 more, by 0.5."
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"threads": {"torch": 4}},
        {"gpus": ("A card",), "cuda": "13.2"},
        {"libraries": {"torch": "2.15.0+cu132", "torch kernels": "AVX512"}},
        {"variables": {"OMP_NUM_THREADS": "1"}},
    ],
)
def test_threads_builds_and_cards_are_reasons_for_other_bits(changed: dict) -> None:
    near = replace(RUN, weights={"trees.npz": "x" * 64})
    assert judged(machine(near, **changed)).kind == "within tolerance"


@pytest.mark.parametrize("changed", [{"platform": "Linux-7"}, {"cores": 4}, {"cpu": "Another"}])
def test_another_machine_that_calculates_alike_is_no_reason_for_other_bits(changed: dict) -> None:
    near = replace(RUN, weights={"trees.npz": "x" * 64})
    assert judged(machine(near, **changed)).kind == "different"


def test_weights_that_only_one_run_has_are_outside_of_any_tolerance() -> None:
    found = judged(machine(replace(RUN, weights={}), arithmetic=OTHER_BITS))
    assert found.kind == "different"
    assert "Only one of the runs has the weights trees.npz." in found.reason


def test_a_step_that_is_missing_is_outside_of_any_tolerance() -> None:
    short = metrics(RUN, val_accuracy=[(1, 0.75), (2, 0.8)])
    assert judged(machine(short, arithmetic=OTHER_BITS)).kind == "different"


def test_another_parameter_is_outside_of_any_tolerance() -> None:
    other = replace(RUN, params=RUN.params | {"seed": "4"})
    assert judged(machine(other, arithmetic=OTHER_BITS)).kind == "different"


def test_a_metric_says_how_far_and_at_how_many_steps_it_differs() -> None:
    other = metrics(RUN, train_deviance=[(1, 0.75), (2, 0.625), (3, 0.5)])
    (metric,) = compare(RUN, other).metrics
    assert (metric.step, metric.size, metric.largest) == (2, 0.125, 0.25)
    assert (metric.steps, metric.last) == ((2, 3), (0.25, 0.5))


# Not verified


def test_other_data_verify_nothing() -> None:
    other = replace(RUN, trace=replace(TRACE, data=Data("wine", "e" * 32, "memory")))
    found = judged(other)
    assert (found.kind, EXIT_STATUS[found.kind]) == ("not verified", 2)
    assert "The data differ: wine, dddddddddddd, now wine, eeeeeeeeeeee." in found.reason


def test_of_many_data_files_that_differ_a_few_are_named() -> None:
    def of(digit: str) -> RecordedRun:
        files = tuple(KnownFile(f"{n}.csv", "data", digit * 64, 9) for n in range(300))
        data = Data("wine", digit * 32, "files")
        return replace(RUN, trace=replace(TRACE, data=data, files=files))

    assert judged(of("e"), of("d")).reasons[1] == (
        "0.csv: 9 bytes, 9 bytes, 1.csv: 9 bytes, 9 bytes, 10.csv: 9 bytes, 9 bytes and 297 more"
    )


@pytest.mark.parametrize("lacking", ["metrics", "weights"])
def test_metrics_or_weights_alone_are_enough_to_compare(lacking: str) -> None:
    run = replace(RUN, **{lacking: {}})
    assert judged(run, run).kind == "exact"


def test_runs_without_metrics_and_weights_verify_nothing() -> None:
    empty = replace(RUN, metrics={}, weights={})
    assert judged(empty, empty).kind == "not verified"


def test_what_was_missing_is_the_reason_where_the_results_differ() -> None:
    worse = metrics(RUN, val_accuracy=[(1, 0.5)])
    found = judged(worse, missing=["big.csv was not stored."])
    assert found.kind == "not verified" and found.reasons[0] == "big.csv was not stored."
    assert judged(RUN, missing=["big.csv was not stored."]).kind == "exact"


def test_a_repetition_that_failed_verifies_nothing() -> None:
    assert judged(replace(RUN, status="FAILED")).kind == "not verified"


def test_of_a_run_that_was_interrupted_what_it_recorded_is_compared() -> None:
    short = {name: points[:2] for name, points in RUN.metrics.items()}
    stopped = replace(RUN, status="KILLED", metrics=short, weights={})
    whole = metrics(RUN, best=[(3, 0.9)])
    found = judged(whole, stopped)
    assert found.kind == "not verified"
    assert found.reasons == (
        "The first run is KILLED. Its end and its weights are not compared.",
        "All that it measured, up to step 2, came out the same, bit for bit: 4 values of metrics.",
    )
    other = metrics(stopped, val_accuracy=[(1, 0.75), (2, 0.7)])
    assert judged(whole, other).kind == "different"


def interrupted(**changed: list[tuple[int, float]]) -> RecordedRun:
    """A run that was killed after its second step."""
    short = {name: points[:2] for name, points in RUN.metrics.items()}
    return replace(RUN, status="KILLED", metrics=short | changed, weights={})


@pytest.mark.parametrize(
    ("stopped", "again", "said"),
    [
        ([(1, 0.75), (2, 0.5)], [(1, 7.0), (2, 8.0), (3, 0.25)], "step 1 is 7.0, was 0.75"),
        ([(1, 0.75), (2, 0.5)], [(0, 9.0), (1, 7.0), (2, 8.0)], "step 0, which only the second"),
        ([(1, 0.75), (2, 0.5)], [(0, 9.0), (1, 0.75), (2, 0.5)], "step 0, which only the second"),
        ([(1, 0.75), (2, 0.5)], [(2, 0.5), (3, 0.25)], "step 1, which only the first run has"),
        ([(1, 0.75), (2, 0.5)], [(1, 0.75), (3, 0.25)], "step 2, which only the first run has"),
        ([(1, 0.75), (2, 0.5)], [], "step 1, which only the first run has"),
        ([(0, 3.0), (0, 2.0)], [(0, 3.0), (0, 1.0)], "step 0 is 1.0, 3.0, was 2.0, 3.0"),
    ],
)  # fmt: skip
def test_what_an_interrupted_run_recorded_is_compared_at_every_step(
    stopped: list, again: list, said: str
) -> None:
    found = judged(metrics(RUN, train_deviance=again), interrupted(train_deviance=stopped))
    assert found.kind == "different"
    assert f"First to differ: train_deviance at {said}" in found.reasons[0]


@pytest.mark.parametrize("stopped", [[(0, 3.0), (0, 2.0)], [(0, 3.0)], []])
def test_values_that_an_interrupted_run_had_yet_to_log_at_its_last_step_are_no_difference(
    stopped: list,
) -> None:
    whole = metrics(RUN, loss=[(0, 3.0), (0, 2.0), (0, 1.0)])
    assert judged(whole, interrupted(loss=stopped)).kind == "not verified"
    earlier = interrupted(loss=[*stopped, (1, 0.5)])
    more = metrics(RUN, loss=[(0, 4.0), (0, 3.0), (0, 2.0), (1, 0.5)])
    assert judged(more, earlier).kind == "different"


def test_of_a_run_without_steps_no_step_is_named() -> None:
    whole = replace(RUN, metrics={"loss": [(0, 3.0), (0, 2.0), (0, 1.0)]})
    stopped = replace(interrupted(), metrics={"loss": [(0, 3.0), (0, 2.0)]})
    assert judged(whole, stopped).reasons[1] == (
        "All that it measured came out the same, bit for bit: 2 values of metrics."
    )


def test_a_parameter_that_an_interrupted_run_had_yet_to_log_is_no_difference() -> None:
    more = replace(RUN, params=RUN.params | {"best_epoch": "3"})
    assert judged(more, interrupted()).kind == "not verified"
    found = judged(RUN, replace(interrupted(), params=more.params))
    assert found.kind == "different"
    assert found.reasons[0] == "The parameter best_epoch is not there, was 3."


def test_an_interrupted_run_of_which_something_is_missing_proves_nothing() -> None:
    worse = metrics(RUN, val_accuracy=[(1, 0.5), (2, 0.8)])
    assert judged(worse, interrupted()).kind == "different"
    found = judged(worse, interrupted(), missing=["big.csv was not stored."])
    assert found.kind == "not verified" and found.reasons[0] == "big.csv was not stored."
    same = judged(RUN, interrupted(), missing=["big.csv was not stored."])
    assert same.reasons[-1] == "big.csv was not stored."


def test_an_interrupted_run_has_the_tolerance_of_any_other_up_to_where_it_ended() -> None:
    for last, kind in ((0.8025, "not verified"), (0.9, "different")):
        near = metrics(RUN, val_accuracy=[(1, 0.75), (2, last), (3, 0.1)])
        found = judged(machine(near, arithmetic=OTHER_BITS), interrupted())
        assert found.kind == kind
        assert ("Up to there, within tolerance." in found.reasons) == (kind == "not verified")


def test_times_do_not_say_how_far_an_interrupted_run_got() -> None:
    found = judged(RUN, interrupted(epoch_time=[(90, 1.0)]))
    assert "up to step 2" in found.reason
    only_times = replace(interrupted(), metrics={"epoch_time": [(1, 1.0)]})
    assert "It recorded no metric." in judged(RUN, only_times).reason


def test_a_run_that_failed_and_fails_again_in_the_same_way_is_exact() -> None:
    failed = replace(RUN, status="FAILED")
    assert judged(failed, failed).kind == "exact"


# Chance


def test_the_rows_come_from_the_split_that_a_metric_names() -> None:
    assert share(RUN, "val_accuracy") == Share(0.9, 400)
    assert share(metrics(RUN, best_val_acc=[(0, 0.5)]), "best_val_acc") == Share(0.5, 400)
    assert share(RUN, "train_deviance") is None
    assert share(metrics(RUN, accuracy=[(0, 0.5)]), "accuracy") is None
    assert share(metrics(RUN, val_accuracy=[(0, 0.90001)]), "val_accuracy") is None
    for value, is_one in ((1.0, True), (0.0, True), (1.5, False), (90.0, False), (-0.5, False)):
        found = share(metrics(RUN, val_accuracy=[(0, value)]), "val_accuracy")
        assert found == (Share(value, 400) if is_one else None)
    assert share(metrics(RUN, val_accuracy_low=[(0, 0.75)]), "val_accuracy_low") is None
    both = metrics(RUN, train_val_accuracy=[(0, 0.5)])
    assert share(both, "train_val_accuracy") is None  # of which of the two?


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.6, 0.8), (0.95, 0.99), (0.8, 1.2), (0.2, 0.95), (-0.1, 0.99), (0.8, math.nan), (None, 0.9)],
)
def test_what_is_no_interval_of_an_accuracy_says_nothing_of_its_rows(
    low: float | None, high: float
) -> None:
    logged = {"test_accuracy": 0.9, "test_accuracy_low": low, "test_accuracy_high": high}
    points = {name: [(0, value)] for name, value in logged.items() if value is not None}
    assert share(metrics(RUN, **points), "test_accuracy") is None
    in_percent = {name: [(0, 0.9), (1, 90.0)] for name in logged}
    assert share(metrics(RUN, **in_percent), "test_accuracy", 0.9) is None
    begin, end = Share(0.9, 100).interval
    for shift in (-0.1, -0.01, 1e-6, 0.01):  # as wide as one of 100 rows
        moved = {"test_accuracy_low": begin + shift, "test_accuracy_high": end + shift}
        points = {name: [(0, value)] for name, value in (logged | moved).items()}
        assert share(metrics(RUN, **points), "test_accuracy") is None


@pytest.mark.parametrize(("right", "rows"), [(9, 10), (8731, 10_000), (300, 300), (0, 7)])
def test_the_rows_come_from_the_interval_that_a_run_logged(right: int, rows: int) -> None:
    low, high = Share(right / rows, rows).interval
    logged = {"test_accuracy": right / rows, "test_accuracy_low": low, "test_accuracy_high": high}
    run = metrics(RUN, **{name: [(0, value)] for name, value in logged.items()})
    assert share(run, "test_accuracy") == Share(right / rows, rows)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    # The example (a) of Newcombe 1998, table II, method 10.
    low, high = difference_interval(Share(48 / 80, 80), Share(56 / 70, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    low, high = difference_interval(Share(56 / 70, 70), Share(48 / 80, 80))
    assert (low, high) == pytest.approx((-0.3339, -0.0524), abs=5e-5)


def test_mcnemar_is_exact() -> None:
    from scipy.stats import binomtest

    for one, other in ((0, 0), (5, 5), (1, 9), (9, 1), (30, 60), (400, 700)):
        n = one + other
        expected = binomtest(one, n, 0.5).pvalue if n else 1.0
        assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)


def test_values_without_a_distance_have_none_and_infinities_are_equal() -> None:
    other_nan = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]
    one = metrics(RUN, score=[(1, math.nan), (2, math.inf), (2, 1.0)])
    other = metrics(RUN, score=[(1, other_nan), (2, math.inf), (2, 1.5)])
    (metric,) = compare(one, other).metrics
    assert (metric.step, metric.size) == (2, 0.5)


def test_the_last_value_is_that_of_the_last_step_and_the_last_one_there() -> None:
    assert last_value([(3, 0.1), (3, 0.2), (1, 0.9)]) == 0.2
    assert last_value([]) is None


def test_the_end_of_a_metric_without_steps_is_the_value_that_was_logged_last() -> None:
    one = metrics(RUN, loss=[(0, 2.0), (0, 1.0), (0, 0.5)])
    other = metrics(RUN, loss=[(0, 2.0), (0, 1.0), (0, 0.25)])
    found = compare(one, other)
    assert [metric.last for metric in found.metrics] == [(0.5, 0.25)]
    assert outcomes(found) == [Outcome("loss", 0.5, 0.25)]


def test_two_ends_that_are_no_number_are_no_result_that_differs() -> None:
    one, other = (metrics(RUN, loss=[(1, first), (2, math.nan)]) for first in (0.5, 0.25))
    assert outcomes(compare(one, other)) == []
    assert [outcome.metric for outcome in outcomes(compare(one, RUN))] == ["loss"]


def test_a_variable_may_change_what_a_card_calculates_though_the_processor_agrees() -> None:
    with_card = machine(RUN, gpus=("A card",))
    other = machine(with_card, variables={"NVIDIA_TF32_OVERRIDE": "1"})
    (cause,) = compare(with_card, other).causes
    assert (cause.kind, cause.unlikely) == ("arithmetic", False)
