"""A command ends with a message where a person can mend what was wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from samerun import RecordError, plain_errors


def ending(raised: BaseException, **how: object) -> SystemExit:
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as ended:
        plain_errors(main, **how)()
    return ended.value


def test_what_a_person_can_mend_is_a_message_and_a_failure() -> None:
    assert ending(RecordError("no such run")).code == "\nerror: no such run"


def test_the_cause_is_shown_not_what_hydra_wraps_it_in() -> None:
    outer = ValueError("Error in call to target")
    outer.__cause__ = RecordError("too wide")
    assert ending(outer).code == "\nerror: too wide"


def test_an_interruption_ends_with_the_status_that_shells_give_it() -> None:
    assert ending(KeyboardInterrupt()).code == 130


def test_a_value_that_is_missing_says_where_to_put_it() -> None:
    with pytest.raises(SystemExit, match=r"in conf/ marks what has to be filled in"):
        plain_errors(lambda: OmegaConf.create({"a": "???"}).a)()


def test_an_unforeseen_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def main(error: Exception) -> None:
        raise error

    with pytest.raises(ZeroDivisionError):
        plain_errors(main)(ZeroDivisionError())
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RecordError):
        plain_errors(main)(RecordError("x"))


def test_a_project_may_add_messages_of_its_own() -> None:
    assert ending(OSError("disk"), more=lambda error: f"the {error}").code == "\nerror: the disk"


def test_it_works_without_hydra_and_lets_the_result_through(tmp_path: Path) -> None:
    code = (
        "import sys, samerun\n"
        "@samerun.plain_errors\n"
        "def main(x): return x + 1\n"
        "assert main(1) == 2\n"
        "assert 'omegaconf' not in sys.modules\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    assert subprocess.run([sys.executable, script]).returncode == 0


def test_a_leftover_module_of_hydra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None: ...

    main.__module__ = "__main__"
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "other.script")
    with pytest.raises(SystemExit, match=r"HYDRA_MAIN_MODULE=other\.script is set"):
        plain_errors(main)


def test_values_that_a_pydantic_model_refuses_are_named_as_they_were_typed() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Training(pydantic.BaseModel, strict=True):  # type: ignore[misc,name-defined]
        epochs: pydantic.PositiveInt
        hidden: list[pydantic.PositiveInt]
        mirror: bool
        seed: int

    class Settings(pydantic.BaseModel, strict=True):  # type: ignore[misc,name-defined]
        training: Training

    def main() -> None:
        asked = {"epochs": "abc", "hidden": [3, 0], "mirror": None}
        Settings.model_validate({"training": asked})

    with pytest.raises(SystemExit) as ended:
        plain_errors(main)()
    assert str(ended.value.code).splitlines() == [
        "",
        "error: training.epochs=abc: it should be a valid integer.",
        "  training.hidden[1]=0: it should be greater than 0.",
        "  training.mirror=null: it should be a valid boolean.",
        "  training.seed is missing.",
    ]
