"""`portable=true` computes the same bits, whatever kernels the shell asks the libraries for.

The four settings stand for four other processors: they make a library take the kernels which it
would take there.
"""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from commands import ROOT

SETTINGS = {
    "as it is": {},
    "PyTorch": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "MKL": {"MKL_CBWR": "COMPATIBLE"},
    "OpenBLAS": {"OPENBLAS_CORETYPE": "Haswell"},
}
# One process trains all three parts: most of its time are imports.
TRAIN = """
import hashlib, json, sys
from pathlib import Path
from samerun import set_up

solutions, portable = Path(sys.argv[1]), sys.argv[2]
if portable == "true":
    set_up(0, 1, portable=True)  # the process starts again here, not after its imports
from workshop.drive import Driver

small = ["data=digits", f"portable={portable}"]
for folder, more in {
    "part1_logistic_regression": [],
    "part2_mlp_cnn": ["model=cnn", "training.epochs=1"],
    "part3_competition": ["+recipe=strong", "model.width=2", "training.epochs=1"],
}.items():
    Driver(solutions / folder).command("train.py", *small, *more, own_store=False)

import mlflow, torch
found = {}
for run in mlflow.search_runs(search_all_experiments=True, output_format="list"):
    address = f"runs:/{run.info.run_id}"
    if "part1" in run.data.params["experiment"]:
        model = mlflow.sklearn.load_model(f"{address}/model")[-1]
        values = [model.coef_, model.intercept_]
    else:
        path = mlflow.artifacts.download_artifacts(f"{address}/checkpoints/best.pt")
        weights = torch.load(path, weights_only=True)
        values = [weights[name].numpy() for name in sorted(weights)]
    digest = hashlib.sha256()
    for value in values:
        digest.update(value.tobytes())
    machine = mlflow.artifacts.load_dict(f"{address}/trace/trace.json")["machine"]
    found[run.data.params["experiment"]] = {
        "weights": digest.hexdigest(),
        "arithmetic": machine["arithmetic"],
        "instructions": machine["instructions"],
    }
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the settings are those of x86")
def test_portable_learns_the_same_bits_under_every_setting_and_else_the_trace_tells_them_apart(
    store_template, tmp_path
):
    trained = train_under_every_setting(store_template, tmp_path)
    first = trained["as it is", "true"]
    assert len(first) == 3
    for name in SETTINGS:
        assert trained[name, "true"] == first, name

    first = trained["as it is", "false"]
    showing = set()
    for name in SETTINGS:
        for part, run in trained[name, "false"].items():
            if run["arithmetic"] != first[part]["arithmetic"]:
                showing.add(name)
            else:
                assert run["weights"] == first[part]["weights"], f"{name} changes {part} unseen"
    expected = {"MKL"}  # its slowest kernels are nobody's choice
    if first["part2-mlp-cnn"]["instructions"] == "x86-64-v4":
        expected = set(SETTINGS) - {"as it is"}
    assert showing >= expected


def train_under_every_setting(store_template, folder):
    """Return what each setting comes to, with and without `portable`, by part."""
    script = folder / "train_all.py"
    script.write_text(TRAIN, encoding="utf-8")
    plain = {
        k: v for k, v in os.environ.items() if k not in {n for s in SETTINGS.values() for n in s}
    }

    def train(asked):
        name, portable = asked
        cwd = folder / f"{name} {portable}"
        cwd.mkdir()
        (cwd / "mlflow.db").write_bytes(store_template.read_bytes())
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{(cwd / 'mlflow.db').as_posix()}"}
        done = subprocess.run(
            [sys.executable, script, ROOT / "solutions", portable],
            cwd=cwd, env=plain | store | SETTINGS[name], capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    asked = [(name, portable) for portable in ("true", "false") for name in SETTINGS]
    with ThreadPoolExecutor(2) as two:
        return dict(zip(asked, two.map(train, asked), strict=True))
