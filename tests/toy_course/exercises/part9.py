"""The checks of the toy part."""

import contextlib
import io
import json

from workshop.checks import check


@check("9.1")
def the_number_is_a_number(part):
    number = part.compose().number
    assert isinstance(number, int), f"number is {number!r}; expected an integer"


@check("9.2")
def double_doubles(part):
    result = part.load("train.py").double(21)
    assert result == 42, f"double(21) is {result}; expected 42"


@check("9.3")
def the_double_is_printed(part):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        part.run("train.py", "number=4")
    assert said.getvalue().strip() == "8", f"it printed {said.getvalue()!r}; expected 8"


@check("9.4")
def the_answer_is_given(part):
    cells = json.loads((part.folder / "notes.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "".join(cells[1]["source"])
    assert "answer = 42" in source, "the cell has no answer = 42; expected it"
