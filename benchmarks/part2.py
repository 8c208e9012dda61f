"""Part 2 against the plain way, on all of Fashion-MNIST, and against the project's budgets.

uv run --group maintain benchmarks/part2.py          everything: 5 minutes, 20 on busy cores
uv run --group maintain benchmarks/part2.py --only mlp --rounds 3
uv run --group maintain benchmarks/part2.py --only bookkeeping start

mlp, cnn     Whole commands in turn, ours with everything that it records. The budget counts epochs;
             the commands add the same start to both, which weighs the more the faster an epoch is.
             The CNN trains for fewer epochs: they all take the same time.
bookkeeping  A run of about a minute of the MLP, whose short epochs bring the most of it, here in
             this process. A stopwatch around the functions of the bare loop and those that load
             the data tells what is left: Hydra, the store, the trace, metrics, checkpoints. On a
             busy machine this says more than a difference of two runs. Epochs of the bare loop
             before and after the run show whether the loop itself is slower in a run.
start        From the start of Python to the end of the first optimizer step. The plain way imports
             at its top what a script that does the same as ours does.
"""

import argparse
import contextlib
import functools
import gzip
import importlib
import io
import os
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ROOT / "benchmarks" / "plain_mlp_cnn.py"
OURS = ROOT / "solutions" / "part2_mlp_cnn" / "train.py"
CORES = os.cpu_count() or 1
OUR_MODEL = {
    "mlp": ("model=mlp", "model.hidden=[32,32,32,32]", "model.dropout=0"),
    # As many threads as the plain way takes by itself: that pays for a CNN, on idle cores.
    "cnn": ("model=cnn", "model.channels=[64]", "model.dropout=0", f"training.threads={CORES}"),
}
BUDGETS = {"mlp": 1 / 8, "cnn": 1 / 2, "bookkeeping": 0.03, "start": 1 / 2}
LEAST_DIFFERENCE = -0.005  # of the accuracies, ours minus theirs

EAGER_IMPORTS = ("hydra", "mlflow", "matplotlib.pyplot", "sklearn.metrics")
UNTIL_FIRST_STEP = """
import importlib, os, runpy, sys, time
from torch.optim.optimizer import register_optimizer_step_post_hook

def stop(*_):
    print("first step", time.time())
    raise SystemExit

register_optimizer_step_post_hook(stop)
for name in os.environ["EAGER_IMPORTS"].split():
    importlib.import_module(name)
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def python(*arguments: str | Path, **variables: str) -> str:
    """Run a Python of this environment; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def timed(script: Path, *arguments: str) -> tuple[float, float, str]:
    """Run a script; return its seconds, the best validation accuracy and all that it printed."""
    start = time.perf_counter()
    printed = python(script, *arguments)
    seconds = time.perf_counter() - start
    return seconds, max(map(float, re.findall(r"val accuracy (\d\.\d+)", printed))), printed


def epoch_of_latest_run() -> float:
    """Return the seconds of an epoch of the run that was recorded last, its record included."""
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("part2-mlp-cnn")
    latest = client.search_runs([experiment.experiment_id], max_results=1)[0]
    points = client.get_metric_history(latest.info.run_id, "val_accuracy")
    times = sorted(point.timestamp for point in points)
    return (times[-1] - times[0]) / 1000 / (len(times) - 1)


def first_step(script: Path, *arguments: str, imports: Sequence[str] = ()) -> float:
    """Return the seconds from the start of Python to a script's first optimizer step."""
    start = time.time()
    names = {"EAGER_IMPORTS": " ".join(imports)}
    printed = python("-c", UNTIL_FIRST_STEP, script, *arguments, **names)
    return float(re.findall(r"first step (\S+)", printed)[-1]) - start


def compare_training(model: str, epochs: int, rounds: int, folder: str, ours: Sequence[str]) -> str:
    ratios, differences = [], []
    for _ in range(rounds):
        plain_s, plain_accuracy, said = timed(PLAIN, folder, model, f"--epochs={epochs}")
        plain_epoch = statistics.median(map(float, re.findall(r", (\d+\.\d+) s\n", said)))
        our_s, accuracy, _ = timed(OURS, *OUR_MODEL[model], f"training.epochs={epochs}", *ours)
        epoch = epoch_of_latest_run()
        ratios.append(epoch / plain_epoch)
        differences.append(accuracy - plain_accuracy)
        print(
            f"{model}: an epoch of the plain way {plain_epoch:.2f} s, of part 2 {epoch:.2f} s, "
            f"ratio 1/{plain_epoch / epoch:.1f}; whole commands of {epochs} epochs {plain_s:.1f} s "
            f"(val accuracy {plain_accuracy:.4f}) and {our_s:.1f} s ({accuracy:.4f}), "
            f"ratio 1/{plain_s / our_s:.1f}",
            flush=True,
        )
    difference = statistics.median(differences)
    what = "as good" if difference >= LEAST_DIFFERENCE else "NOT AS GOOD"
    return f"{verdict(model, ratios)}; accuracy {difference:+.4f}, {what}"


def compare_start(rounds: int, folder: str, ours: Sequence[str]) -> str:
    ratios = []
    for _ in range(rounds):
        bare = first_step(PLAIN, folder, "mlp")
        plain = first_step(PLAIN, folder, "mlp", imports=EAGER_IMPORTS)
        our = first_step(OURS, *OUR_MODEL["mlp"], *ours)
        ratios.append(our / plain)
        print(
            f"start: plain {plain:.1f} s ({bare:.1f} s with torch and torchvision alone), "
            f"part 2 {our:.1f} s, ratio 1/{plain / our:.1f}",
            flush=True,
        )
    return verdict("start", ratios)


def verdict(section: str, ratios: Sequence[float]) -> str:
    median, budget = statistics.median(ratios), BUDGETS[section]
    what = "within" if median <= budget else "OVER"
    return f"{section}: median ratio 1/{1 / median:.1f}, {what} the budget of 1/{1 / budget:.0f}"


class Stopwatch:
    """Adds up the seconds spent in the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, module: ModuleType, *names: str) -> None:
        for name in names:
            setattr(module, name, self._wrapped(getattr(module, name)))

    def _wrapped(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return wrapper


def bare_epochs(number: int) -> Iterator[float]:
    """Yield the seconds of each epoch of the MLP on tensors, with nothing recorded."""
    import engine
    import torch

    from samerun import set_up
    from workshop.data import load_dataset

    import data
    import models

    device = set_up(seed=0, threads=1, device="auto")
    dataset = load_dataset("fashion_mnist")
    images, labels = data.to_tensors(dataset, dataset.train, device)
    val_images, _ = data.to_tensors(dataset, dataset.val, device)
    model = models.MLP([32, 32, 32, 32]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    loss, order = torch.nn.CrossEntropyLoss(), torch.Generator().manual_seed(0)
    for _ in range(number):
        start = time.perf_counter()
        batches = data.shuffled(labels, 64, order)
        engine.train_epoch(model, images, labels, batches, loss, optimizer)
        engine.predict(model, val_images).cpu()
        yield time.perf_counter() - start


def measure_bookkeeping(seconds: float, ours: Sequence[str]) -> str:
    """Train for about so many seconds; return what all but the loop took, as a share of it."""
    sys.path.insert(0, str(OURS.parent))  # as Python does for the command
    before = statistics.median(bare_epochs(10))
    epochs = max(1, round(seconds / before))

    start = time.perf_counter()
    for name in ("hydra", "mlflow"):
        importlib.import_module(name)
    imports = time.perf_counter() - start

    import engine

    import workshop.data

    import data

    loop, loading = Stopwatch(), Stopwatch()
    loop.around(engine, "train_epoch", "predict")
    loop.around(data, "shuffled")
    loading.around(workshop.data, "load_dataset")
    loading.around(data, "to_tensors")
    sys.argv = [str(OURS), *OUR_MODEL["mlp"], f"training.epochs={epochs}", *ours]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(OURS), run_name="__main__")
    looped = loop.seconds  # the bare epochs below would add to it
    rest = time.perf_counter() - start - looped - loading.seconds

    after = statistics.median(bare_epochs(10))
    print(
        f"bookkeeping: {epochs} epochs in {looped:.1f} s, {looped / epochs:.3f} s each (in a bare "
        f"loop {before:.3f} s before, {after:.3f} s after), all else {rest:.2f} s; to import Hydra "
        f"and MLflow {imports:.1f} s more",
        flush=True,
    )
    share, budget = rest / looped, BUDGETS["bookkeeping"]
    what = "within" if share <= budget else "OVER"
    return f"bookkeeping: {share:.1%} of the loop, {what} the budget of {budget:.0%}"


def unpack(raw: Path) -> None:
    """Lay out Fashion-MNIST as torchvision reads it."""
    from workshop.data import fetch_fashion_mnist

    raw.mkdir(parents=True)
    for packed in fetch_fashion_mnist().glob("*.gz"):
        with gzip.open(packed) as source, (raw / packed.stem).open("wb") as target:
            shutil.copyfileobj(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--rounds", type=int, default=1, help="of mlp and cnn, in turn")
    parser.add_argument("--starts", type=int, default=3, help="rounds of start")
    parser.add_argument("--epochs", type=int, default=10, help="of the MLP")
    parser.add_argument("--cnn-epochs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="of the run for bookkeeping")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(scratch).as_posix()}/mlflow.db"
        ours = (f"hydra.run.dir={scratch}",)
        unpack(Path(scratch) / "FashionMNIST" / "raw")
        timed(OURS, "data=digits", "training.epochs=1", *ours)  # creates the store
        verdicts = []
        for model, epochs in (("mlp", chosen.epochs), ("cnn", chosen.cnn_epochs)):
            if model in chosen.only:
                verdicts.append(compare_training(model, epochs, chosen.rounds, scratch, ours))
        if "start" in chosen.only:
            verdicts.append(compare_start(chosen.starts, scratch, ours))
        if "bookkeeping" in chosen.only:
            verdicts.append(measure_bookkeeping(chosen.seconds, ours))
    print("", *verdicts, sep="\n")


if __name__ == "__main__":
    main()
