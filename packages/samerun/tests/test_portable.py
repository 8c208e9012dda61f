"""`portable`: the process starts again with what every processor has, and says so if it cannot."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from samerun import RecordError, set_up
from samerun.machine import portable

OTHERS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3",
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",
}
SCRIPT = """
import os, sys
print("started")
from samerun import set_up
from samerun.machine.arithmetic import fingerprints
import scipy.linalg
{more}
set_up(0, 1, {device}, portable=True)
import json
print(json.dumps([sys.argv[1:], os.getcwd(), fingerprints()]))
sys.exit(7)
"""


@pytest.fixture(autouse=True)
def _undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_decided", None)
    monkeypatch.delenv(portable.STARTED_AGAIN, raising=False)


def run(folder: Path, device: str, more: str = "", **variables: str) -> tuple[int, list[str]]:
    script = folder / "a script.py"
    script.write_text(SCRIPT.format(device=device, more=more), encoding="utf-8")
    command = [sys.executable, str(script), "an argument", "--x='1'"]
    plain = {k: v for k, v in os.environ.items() if k not in OTHERS}
    done = subprocess.run(
        command, env={**plain, **variables}, cwd=folder, stdout=subprocess.PIPE, text=True
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.slow
def test_a_script_starts_again_once_with_its_arguments_folder_and_exit_status(
    tmp_path: Path,
) -> None:
    status, lines = run(tmp_path, "None")
    assert (status, lines[:2], len(lines)) == (7, ["started", "started"], 3)
    assert json.loads(lines[2])[:2] == [["an argument", "--x='1'"], str(tmp_path)]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the settings are those of x86")
@pytest.mark.parametrize("device", ["None", "'cpu'"])
def test_whatever_the_shell_set_the_arithmetic_is_the_same(tmp_path: Path, device: str) -> None:
    seen = {
        run(tmp_path, device, **chosen)[1][-1]
        for chosen in ({}, *({name: value} for name, value in OTHERS.items()))
    }
    assert len(seen) == 1


@pytest.mark.slow
def test_a_process_that_shall_not_be_portable_keeps_what_the_shell_set(tmp_path: Path) -> None:
    script = "import os; from samerun import set_up; set_up(0, 1); print(os.environ['MKL_CBWR'])"
    environment = {**os.environ, "MKL_CBWR": "AVX2"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "AVX2\n"


def test_a_notebook_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_is_a_script", lambda: False)
    with pytest.raises(RecordError, match=r"SAMERUN_PORTABLE=1 .*ATEN_CPU_CAPABILITY='default'"):
        set_up(0, 1, portable=True)


def test_what_a_run_computed_before_is_not_lost_by_starting_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portable, "_replace_process", lambda *_: pytest.fail("started again"))
    set_up(0, 1)
    with pytest.raises(RecordError, match="portable=false already"):
        set_up(0, 1, portable=True)


def test_a_portable_process_does_not_pretend_to_be_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(portable.STARTED_AGAIN, "1")
    with pytest.raises(RecordError, match="portable=false is wanted"):
        set_up(0, 1, portable=False)


def test_variables_that_something_changes_again_do_not_start_it_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(portable.STARTED_AGAIN, "1")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setattr(portable, "_replace_process", lambda *_: pytest.fail("started again"))
    with pytest.raises(RecordError, match="something changed"):
        set_up(0, 1, portable=True)


def test_a_run_that_has_begun_is_not_left_behind(
    mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setattr(portable, "_is_a_script", lambda: True)
    monkeypatch.setattr(portable, "_replace_process", lambda *_: pytest.fail("started again"))
    mlflow.start_run()
    with pytest.raises(RecordError, match="after a run had started"):
        set_up(0, 1, portable=True)


@pytest.mark.slow
def test_square_roots_are_rounded_as_ieee_754_says() -> None:
    script = """
import numpy, torch, warnings
warnings.simplefilter("error")
from samerun.machine.portable import round_square_roots
round_square_roots()
x = torch.rand(50, 70)
for given in (x, x.double(), x.T[::2], x[0, 0], x.view(2, 25, 7, 10).to(
    memory_format=torch.channels_last)):
    expected = numpy.sqrt(given.numpy())
    assert (given.sqrt().numpy() == expected).all()
    assert given.sqrt().stride() == torch.empty_like(given).stride()
    assert (torch.sqrt(given, out=torch.empty(0, dtype=given.dtype)).numpy() == expected).all()
    assert (given.clone().sqrt_().numpy() == expected).all()
assert torch.tensor([-1.0]).sqrt().isnan().all()
assert torch.tensor(4).sqrt() == torch.tensor(2.0) and torch.tensor(4).sqrt().dtype == torch.float32
assert torch.tensor([2j]).sqrt().dtype == torch.complex64
assert torch.tensor([4.0]).bfloat16().sqrt().dtype == torch.bfloat16
leaf = torch.tensor([4.0], requires_grad=True)
leaf.sqrt().backward()
assert leaf.grad == 0.25
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
