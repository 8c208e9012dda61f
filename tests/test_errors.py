"""What a person reads in place of a traceback."""

import shutil
from pathlib import Path

import pytest
from commands import run

TOY = Path(__file__).parent / "toy_course" / "solutions" / "part9_toy"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"number: 1\nnumber: 2\n", "found duplicate key number"),
        (b"number: 1\n\tother: 2\n", "found character '\\t' that cannot start any token"),
        (b"number 1\nother: 2\n", "mapping values are not allowed here"),
        (b"number: 1 # \xe9\n", "cannot be read as UTF-8 text"),
        (b"\xef\xbb\xbf# @package _global_\nnumber: 2\n", "begins with a byte-order mark"),
        (b"\xef\xbb\xbf# a command\n# @package _global_\nn: 2\n", "Save it as UTF-8 without"),
    ],
)
def test_a_file_that_is_not_yaml_is_named(written, message, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(TOY, part)
    (part / "conf" / "broken.yaml").write_bytes(written)
    done = run(part / "train.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "broken.yaml" in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mark_that_hides_nothing_is_no_error(tmp_path):
    part = tmp_path / "part"
    shutil.copytree(TOY, part)
    config = part / "conf" / "config.yaml"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    done = run(part / "train.py", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_hydras_full_error_is_shown_where_it_is_asked_for(tmp_path):
    part = tmp_path / "part"
    shutil.copytree(TOY, part)
    (part / "conf" / "config.yaml").write_bytes(b"number: 1\nnumber: 2\n")
    done = run(part / "train.py", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr
    assert "found duplicate key number" in done.stderr
