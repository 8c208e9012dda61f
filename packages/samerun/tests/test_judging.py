"""How a repetition is judged and shown: what the runs are makes no difference here."""

import argparse
import io
import json
import math
import sys
from dataclasses import replace

import pytest
from rich.console import Console
from test_verdict import RUN, metrics

from samerun import cli
from samerun.code.known import KnownFile
from samerun.compare.comparison import compare
from samerun.data import Data
from samerun.recorded import RecordedRun
from samerun.reproduce import judging, view
from samerun.reproduce.cli import seconds
from samerun.reproduce.repeat import Outcome, Said

TRIAL = replace(RUN, tags={"mlflow.parentRunId": "0" * 32})


def kind(original: RecordedRun, again: RecordedRun, *doubts: str) -> tuple[str, str]:
    found, _ = judging.judge(original, again, doubts)
    return found.kind, found.reason


def test_code_of_the_present_checkout_proves_nothing_though_all_values_are_the_same() -> None:
    strange = KnownFile("/home/somebody/wines/deep.py", "imported", "e" * 64, 5)
    again = replace(RUN, trace=replace(RUN.trace, files=(*RUN.trace.files, strange)))
    assert kind(RUN, again) == (
        "not verified",
        "Code ran that is not the run's: /home/somebody/wines/deep.py.",
    )
    assert kind(again, again)[0] == "exact"  # the run itself imported it
    later = replace(strange, kind="imported later")
    assert kind(RUN, replace(RUN, trace=replace(RUN.trace, files=(later,))))[0] == "not verified"


def test_files_of_the_project_and_data_elsewhere_are_no_strangers() -> None:
    more = (
        KnownFile("models/deep.py", "imported", "e" * 64, 5),
        KnownFile("/data/wine.csv", "data", "e" * 64, 5),
    )
    again = replace(RUN, trace=replace(RUN.trace, files=(*RUN.trace.files, *more)))
    assert "not the run's" not in kind(RUN, again)[1]


def test_a_trial_that_was_pruned_is_compared_up_to_where_it_ended() -> None:
    longer = metrics(
        RUN,
        train_deviance=[*RUN.metrics["train_deviance"], (4, 0.1)],
        val_accuracy=[*RUN.metrics["val_accuracy"], (4, 0.95)],
    )
    longer = replace(longer, weights={"trees.npz": "v" * 64})
    found, reason = kind(TRIAL, longer)
    assert found == "not verified"
    assert "after step 3" in reason and "the same, bit for bit: 6 values" in reason
    assert kind(RUN, longer)[0] == "different"  # it is no trial

    other = metrics(longer, val_accuracy=[(1, 0.75), (2, 0.81), (3, 0.9), (4, 0.95)])
    found, reason = kind(TRIAL, other)
    assert found == "different" and "val_accuracy at step 2" in reason


def test_of_a_pruned_trial_neither_times_nor_what_is_no_number_are_differences() -> None:
    trial = replace(
        TRIAL, metrics={"loss": [(1, math.nan)], "epoch_time": [(1, 1.0), (2, 1.0), (9, 1.0)]}
    )
    longer = {"loss": [(1, float("nan")), (2, 0.1)], "epoch_time": [(1, 1.3), (2, 1.5)]}
    found, reason = kind(trial, replace(RUN, metrics=longer))
    assert found == "not verified", reason
    assert "after step 1;" in reason and "the same, bit for bit: 1 value of" in reason


def test_a_value_that_only_the_pruned_trial_has_is_a_difference() -> None:
    longer = {"val_accuracy": [*RUN.metrics["val_accuracy"], (4, 0.95)]}
    found, reason = kind(TRIAL, replace(RUN, metrics=longer))
    assert found == "different"
    assert "train_deviance at step 1, which only the first run has" in reason


def test_what_makes_a_difference_prove_nothing_does_so_of_a_pruned_trial_too() -> None:
    longer = {name: [*points, (4, 0.5)] for name, points in RUN.metrics.items()}
    other = replace(RUN, metrics=longer | {"val_accuracy": [(1, 0.75), (2, 0.81), (4, 0.5)]})
    found, reason = kind(TRIAL, other)
    assert found == "different" and "Nothing that the traces hold differs" in reason
    assert kind(TRIAL, other, "a.bin is not to be had.")[0] == "not verified"
    data = replace(other, trace=replace(RUN.trace, data=Data("wine", "e" * 32, "memory")))
    assert kind(TRIAL, data)[1].startswith("The data differ")
    assert kind(TRIAL, replace(other, status="FAILED"))[0] == "not verified"


def test_a_trial_that_came_to_its_end_is_judged_like_any_run() -> None:
    assert kind(TRIAL, RUN)[0] == "exact"
    assert kind(TRIAL, metrics(RUN, val_accuracy=[(1, 0.1)]))[0] == "different"


def test_what_was_lacking_makes_a_difference_prove_nothing() -> None:
    other = metrics(RUN, val_accuracy=[(1, 0.1), (2, 0.8), (3, 0.9)])
    assert kind(RUN, other)[0] == "different"
    assert kind(RUN, other, "a.bin is not to be had.")[0] == "not verified"


def shown(again: RecordedRun, width: int = 80) -> str:
    found, comparison = judging.judge(RUN, again, ())
    outcome = Outcome(
        RUN.run_id, "2" * 32, found.kind, found.reason, {}, judging.measured(comparison), ("c",) * 7
    )
    printed = io.StringIO()
    view.show(outcome, Console(file=printed, width=width))
    return printed.getvalue()


def test_the_table_shows_what_differs_first_with_both_values() -> None:
    other = metrics(RUN, val_accuracy=[(1, 0.75), (2, 0.8), (3, 0.8125)])
    lines = [line.split() for line in shown(other).splitlines() if line.strip()]
    assert lines[0][:3] == ["metric", "11111111", "22222222"]
    assert lines[1] == ["val_accuracy", "0.9", "0.8125", "1", "of", "3"]
    assert lines[2] == ["train_deviance", "0.25", "0.25", "none"]


def test_all_of_it_is_on_one_screen() -> None:
    many = {f"metric_{i}": [(0, 0.5)] for i in range(50)}
    text = shown(metrics(RUN, **many))
    assert len(text.splitlines()) <= 24
    assert "and 42 more" in text and "- and 4 more" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_however_much_differs_it_stays_on_one_screen(width: int) -> None:
    long = "x" * 3000
    rows = tuple(judging.Measured(f"m{n} {long}", 1.0, 2.0, 3, 1) for n in range(500))
    outcome = Outcome("1" * 32, "2" * 32, "different", f"{long}\n" * 90, {}, rows, (long,) * 500)
    printed = io.StringIO()
    view.show(outcome, Console(file=printed, width=width))
    assert len(printed.getvalue().splitlines()) <= 40
    assert max(map(len, printed.getvalue().splitlines())) <= width


def test_json_of_values_that_are_no_numbers_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = (judging.Measured("loss", math.nan, -math.inf, 3, 1),)
    view.print_json(Outcome("1" * 32, "2" * 32, "different", "é", {"run": 1.5}, rows, ("c",)))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert read["metrics"] == [
        {"name": "loss", "was": "nan", "now": "-inf", "steps": 3, "differing": 1}
    ]
    assert (read["causes"], read["seconds"], read["reason"]) == (["c"], {"run": 1.5}, "é")


def test_a_name_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown(metrics(RUN, **{"\x1b[31mred [bold]": [(0, 0.5)]}))


def test_times_of_the_machine_are_no_rows() -> None:
    again = metrics(RUN, **{"system/memory": [(0, 1.0)]})
    assert [row.name for row in judging.measured(compare(RUN, again))] == [
        "train_deviance",
        "val_accuracy",
    ]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("json_wanted", [True, False])
def test_a_console_that_lacks_letters_shows_the_verdict_all_the_same(
    encoding: str, json_wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (judging.Measured("précision β", 0.5, 0.25, 3, 1),)
    outcome = Outcome("1" * 32, "2" * 32, "different", "Ŝanĝita: β", {}, rows, ("kaŭzo",))

    def reproduced(run: RecordedRun, clones: list, timeout: float | None, said: Said) -> Outcome:
        said("code", "")
        said("code", "ŝanĝita")
        return outcome

    monkeypatch.setattr("samerun.reproduce.repeat.reproduce", reproduced)
    monkeypatch.setattr("samerun.recorded.read_run", lambda run_id: RUN)
    printed = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in printed.items():
        monkeypatch.setattr(sys, name, stream)
    assert cli.main(["reproduce", "1" * 32, *(["--json"] if json_wanted else [])]) == 1
    for stream in printed.values():
        stream.flush()
    said = printed["stdout"].buffer.getvalue().decode(encoding)
    if json_wanted:
        assert json.loads(said)["causes"] == ["kaŭzo"]
    else:
        assert "different" in said and "- ka?zo" in said
    there = printed["stderr" if json_wanted else "stdout"].buffer.getvalue()
    assert b"?an?ita" in there


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)]
)
def test_times_are_typed_with_their_unit(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "soon", "", "inf", "nan", "1d", "m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="Expected 90s, 30m or 2h"):
        seconds(text)
