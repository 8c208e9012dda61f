"""Reading and replacing TODO regions."""

import pytest

from workshop.regions import RegionError, fill, parse, read

SCRIPT = """\
def f():
    ##TODO 1.1## Return one,
    ## and nothing else.
    if True:
        return 1
    ##END##
"""


def test_a_region_has_its_id_its_question_and_its_body_without_indentation():
    (region,) = parse(SCRIPT)
    assert region.id == "1.1"
    assert region.ask == "Return one, and nothing else."
    assert region.body == "if True:\n    return 1\n"
    assert region.place == "line 2"
    assert region.end == 6


def test_filling_a_region_indents_the_body_and_leaves_the_rest():
    assert fill(SCRIPT, {"1.1": "return 2"}) == SCRIPT.replace(
        "    if True:\n        return 1\n", "    return 2\n"
    )


def test_filling_with_what_stands_there_changes_no_byte():
    (region,) = parse(SCRIPT)
    assert fill(SCRIPT, {"1.1": region.body}) == SCRIPT


def test_a_region_can_be_emptied_and_filled_again():
    empty = fill(SCRIPT, {"1.1": ""})
    assert parse(empty)[0].body == ""
    assert fill(empty, {"1.1": "if True:\n    return 1\n"}) == SCRIPT


def test_regions_of_other_ids_are_left_alone():
    assert fill(SCRIPT, {"1.2": "return 2"}) == SCRIPT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("##TODO 1.1## a\nx\n", "line 1: TODO 1.1 has no ##END##"),
        ("##TODO 1.1## a\n##TODO 1.2## b\n##END##\n", "line 1: TODO 1.1 has no ##END##"),
        ("x\n##END##\n", "line 2: a marker that begins no region"),
        ("##TODO 1.1##\nx\n##END##\n", "line 1: a marker that begins no region"),
        ("##TODO one## a\n##END##\n", "line 1: a marker that begins no region"),
        ("##TODO 1.1## a\n##END##\n##TODO 1.1## b\n##END##\n", "TODO 1.1 stands 2 times"),
    ],
)
def test_markers_that_do_not_pair_up_are_named(text, message):
    with pytest.raises(RegionError, match=message):
        parse(text)


def test_an_error_names_the_file(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("##END##\n", encoding="utf-8")
    with pytest.raises(RegionError, match=r"train\.py"):
        read(path)


@pytest.mark.parametrize("name", ["README.md", "picture.png"])
def test_a_file_that_is_no_code_has_no_regions(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(SCRIPT.encode() + b"\x89PNG\xff\xfe")
    assert read(path) == []


def test_a_notebook_is_rewritten_cell_by_cell_and_otherwise_equal(toy_course):
    path = toy_course.solutions / "part9_toy" / "notes.ipynb"
    text = path.read_text(encoding="utf-8")
    (region,) = read(path)
    assert (region.id, region.place) == ("9.4", "cell 2, line 1")
    assert fill(text, {"9.4": region.body}, notebook=True) == text
    emptied = fill(text, {"9.4": "answer = None"}, notebook=True)
    assert emptied == text.replace("answer = 42", "answer = None")
