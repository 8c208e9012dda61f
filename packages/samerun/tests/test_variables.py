"""Environment variables that are set for a while."""

import os

import pytest

from samerun.process.variables import variables_set


def test_variables_are_as_they_were_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMERUN_ONE", "as it was")
    monkeypatch.setenv("SAMERUN_TWO", "as it was")
    monkeypatch.delenv("SAMERUN_THREE", raising=False)
    before = dict(os.environ)
    values = {"SAMERUN_ONE": "now", "SAMERUN_TWO": None, "SAMERUN_THREE": "now"}
    with pytest.raises(ZeroDivisionError), variables_set(values):
        assert {name: os.environ.get(name) for name in values} == values
        os.environ["SAMERUN_TWO"] = "and"
        del os.environ["SAMERUN_THREE"]
        _ = 1 / 0
    assert dict(os.environ) == before
