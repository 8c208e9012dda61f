"""What every command writes alike: few of many, JSON, and letters that a console has."""

import io
import json
import math
import sys
from dataclasses import dataclass

import pytest

from samerun.compare.predictions import as_csv
from samerun.display.plain import any_console, as_json, few, fitting


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more"), (9, "0, 1, 2 and 6 more")],
)
def test_of_many_things_three_are_named_and_the_rest_counted(count: int, said: str) -> None:
    assert few(range(count)) == few(iter(range(count))) == said


def test_another_number_of_things_can_be_named() -> None:
    assert few("abc", most=1) == "a and 2 more"


def test_answers_without_a_label_are_refused() -> None:
    assert as_csv([3, "été, hier"], [3, "b"]) == 'label,predicted\n3,3\n"été, hier",b\n'
    with pytest.raises(ValueError, match="shorter"):
        as_csv([1, 2], [1])


BLOCKS = [["a", "a"], ["b"], ["c", "c", "c"]]


@pytest.mark.parametrize(
    ("room", "shown", "more"),
    [(6, "aabccc", 0), (7, "aabccc", 0), (5, "aab", 1), (4, "aab", 1), (3, "aa", 2), (2, "aa", 2),
     (0, "aa", 2)],
)  # fmt: skip
def test_blocks_of_lines_are_shown_whole_and_the_last_line_counts_those_that_do_not_fit(
    room: int, shown: str, more: int
) -> None:
    lines = fitting(BLOCKS, room)
    assert "".join(line for line in lines if len(line) == 1) == shown
    said = [f"  and {more} more: --json shows all"] if more else []
    assert lines[len(shown) :] == said
    assert len(lines) <= max(room, 3)


def test_no_blocks_are_no_lines_and_one_is_shown_whatever_the_room() -> None:
    assert fitting([], 5) == []
    assert fitting([["a"] * 9], 5) == ["a"] * 9


@dataclass(frozen=True)
class Inner:
    values: tuple[float, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    more: dict[str, object]


def test_json_holds_what_is_no_number_as_a_text_at_any_depth() -> None:
    value = Outer(Inner((math.nan, 1.5)), {"a": [math.inf, -math.inf, 3, True, None, "é"]})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(as_json(value), parse_constant=refuse) == {
        "inner": {"values": ["nan", 1.5]},
        "more": {"a": ["inf", "-inf", 3, True, None, "é"]},
    }


def test_a_letter_that_a_console_lacks_becomes_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    any_console()
    for stream in (out, err):
        stream.write("é!")
        stream.flush()
        assert stream.buffer.getvalue() == b"?!"  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # which takes every letter
    any_console()
