"""The fingerprint of the arithmetic, and what the trace says of libraries, threads, processor."""

import json
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import threadpoolctl

from samerun.machine import arithmetic, processor
from samerun.machine import description as machine

STEERED = {
    "ATEN_CPU_CAPABILITY": ("avx2", {"torch softmax"}),
    "ONEDNN_MAX_CPU_ISA": ("AVX2", {"torch convolution", "torch bfloat16 convolution"}),
    "MKL_CBWR": ("COMPATIBLE", {"torch matrix product"}),
    "OPENBLAS_CORETYPE": ("Haswell", {"numpy matrix product", "numpy eigen-decomposition"}),
    "NPY_DISABLE_CPU_FEATURES": ("X86_V3", {"numpy exponential"}),
}
with_avx512 = pytest.mark.skipif(
    "avx512bw" not in processor.flags() or platform.machine() != "x86_64",
    reason="these settings change what a processor with AVX-512 computes",
)


def fingerprints_under(**variables: str) -> dict[str, str]:
    script = (
        "import json, torch, scipy.linalg; torch.set_num_threads(1)\n"
        "from samerun.machine import arithmetic; print(json.dumps(arithmetic.fingerprints()))"
    )
    plain = {k: v for k, v in os.environ.items() if k not in STEERED}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env={**plain, **variables}, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def unsteered() -> dict[str, str]:
    return fingerprints_under()


@pytest.mark.slow
@with_avx512
@pytest.mark.parametrize("name", STEERED)
def test_a_setting_that_changes_bits_shows_in_what_it_changes(
    name: str, unsteered: dict[str, str]
) -> None:
    value, changed = STEERED[name]
    seen = fingerprints_under(**{name: value})
    differ = {item for item in seen if seen[item] != unsteered[item]}
    assert differ - {"scipy eigen-decomposition"} == changed


@pytest.mark.slow
def test_another_process_has_the_same_arithmetic(unsteered: dict[str, str]) -> None:
    assert fingerprints_under() == unsteered


def test_the_fingerprint_leaves_random_numbers_threads_and_gradients_alone() -> None:
    import numpy
    import torch

    torch.manual_seed(3)
    numpy.random.seed(3)
    threads = torch.get_num_threads(), threadpoolctl.threadpool_info()
    expected = torch.rand(1), numpy.random.rand(1)
    torch.manual_seed(3)
    numpy.random.seed(3)
    arithmetic.fingerprints()
    assert (torch.rand(1), numpy.random.rand(1)) == expected
    assert (torch.get_num_threads(), threadpoolctl.threadpool_info()) == threads
    assert torch.is_grad_enabled()


def test_what_the_script_set_of_types_and_devices_does_not_change_the_fingerprint() -> None:
    import torch

    expected = arithmetic.fingerprints()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
            assert arithmetic.fingerprints() == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_script_without_torch_has_the_fingerprint_of_numpy_alone() -> None:
    script = (
        "import sys, numpy; from samerun.machine import arithmetic\n"
        "print(*{name.split()[0] for name in arithmetic.fingerprints()}, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert done.stdout.split() == [b"numpy", b"False"]


def test_every_openmp_library_has_its_own_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pools = [
        {"filepath": f"/v/site-packages/{path}", "user_api": "openmp", "num_threads": threads}
        for path, threads in (("torch/lib/libgomp.so.1", 1), ("scikit_learn.libs/libgomp.so.1", 2))
    ]
    seen = []
    for order in (pools, pools[::-1]):  # the system lists them in any order
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda order=order: order)
        threads = machine.machine().threads
        seen.append([(name, count) for name, count in threads.items() if name != "torch"])
    assert seen[0] == seen[1]
    assert seen[0] == [("scikit_learn.libs/libgomp.so.1", 2), ("torch/libgomp.so.1", 1)]


def test_build_and_kernels_of_torch_and_the_linear_algebra_are_named() -> None:
    import numpy
    import torch

    libraries = machine.machine().libraries
    assert libraries["torch"] == torch.__version__
    assert libraries["torch kernels"] == torch.backends.cpu.get_cpu_capability()
    assert libraries["numpy"].startswith(f"{numpy.__version__}, ")
    pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
    for pool in pools:
        named = f"{pool['internal_api']} {pool['version']} {pool.get('architecture')}"
        assert named in libraries.values()


@pytest.mark.parametrize(
    "name",
    ["ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "OPENBLAS_CORETYPE"],
)
def test_a_variable_that_steers_the_arithmetic_is_recorded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "some")
    assert machine.machine().variables[name] == "some"


def test_generations_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "sys", SimpleNamespace(platform="linux"))
    names = set()
    for number in ("1", "17"):
        described = {"model name": "AMD EPYC", "cpu family": "25", "model": number}
        monkeypatch.setattr(processor, "_cpuinfo", lambda described=described: described)
        names.add(processor.model.__wrapped__())
    assert names == {"AMD EPYC, family 25 model 1", "AMD EPYC, family 25 model 17"}


def test_the_level_of_the_instructions_is_the_highest_without_a_gap() -> None:
    assert processor.level(processor.V2 | processor.V3 | {"avx512_bf16"}) == "x86-64-v3 avx512_bf16"
    assert processor.level(processor.V2 | processor.V4) == "x86-64-v2"
    assert processor.level({"asimd", "sve"}) == "sve"
    assert processor.level(()) is None
