"""Part 1 against the plain way: whole commands, side by side, on all of Fashion-MNIST.

uv run benchmarks/part1.py              one round of the plain way takes minutes
uv run benchmarks/part1.py --rounds 3
uv run benchmarks/part1.py preprocessing    what each file of conf/preprocessing buys, as a sweep

All are timed from the start of Python to its end, ours with everything that it records; the plain
way without a record, which is what the budget counts, and with MLflow's defaults. Ours on the
digits, which take no time to fit, is what it takes to import and to record: the least there can be.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ROOT / "benchmarks" / "plain_logistic_regression.py"
OURS = ROOT / "solutions" / "part1_logistic_regression" / "train.py"
BUDGET = 1 / 8


def timed(script: Path, *arguments: str, **variables: str) -> tuple[float, float]:
    """Run a script; return the seconds it took and the validation accuracy it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, float(re.findall(r"val +accuracy (\d\.\d+)", done.stdout)[-1])


def loading() -> float:
    """Return the seconds that reading, verifying and decoding take, the best of five times."""
    from workshop.data import load_dataset

    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        load_dataset("fashion_mnist")
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def compare_preprocessing(store: dict[str, str], scratch: str) -> None:
    """Run the sweep of part 1's README on both data sets; print what its runs recorded."""
    import mlflow

    from samerun.store.tracking import no_progress_bars

    sweep = ["-m", "preprocessing=pixels,standardised,whitened", f"hydra.sweep.dir={scratch}"]
    mlflow.set_tracking_uri(store["MLFLOW_TRACKING_URI"])
    for data in ("digits", "fashion_mnist"):
        timed(OURS, *sweep, f"data={data}", **store)
        found = mlflow.search_runs(
            search_all_experiments=True,
            filter_string=f"params.`data.name` = '{data}'",
            order_by=["attributes.start_time"],
            output_format="list",
        )
        for run in found:
            uri = f"runs:/{run.info.run_id}/model"
            with no_progress_bars():
                iterations = max(mlflow.sklearn.load_model(uri)["classifier"].n_iter_)
            scores = {name: run.data.metrics[f"{name}_accuracy"] for name in ("train", "val")}
            print(
                f"{data} {run.data.params['preprocessing.name']:12} "
                f"{(run.info.end_time - run.info.start_time) / 1000:5.1f} s of the run, "
                f"{iterations} iterations, converged: {run.data.tags['converged']}, "
                f"accuracy {scores['train']:.4f} of training, {scores['val']:.4f} of validation",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["plain", "preprocessing"], default="plain")
    parser.add_argument("--rounds", type=int, default=1, help="how often both are run, in turn")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{Path(scratch).as_posix()}/mlflow.db"}
        if asked.what == "preprocessing":
            compare_preprocessing(store, scratch)
        else:
            compare_with_the_plain_way(asked.rounds, store, scratch)


def compare_with_the_plain_way(rounds: int, store: dict[str, str], scratch: str) -> None:
    print(f"loading Fashion-MNIST: {loading():.2f} s", flush=True)
    timed(OURS, "data=digits", f"hydra.run.dir={scratch}", **store)  # creates the store
    ratios = []
    for number in range(1, rounds + 1):
        plain, plain_accuracy = timed(PLAIN)
        recording, _ = timed(PLAIN, "record", **store)
        ours, accuracy = timed(OURS, f"hydra.run.dir={scratch}", **store)
        least, _ = timed(OURS, "data=digits", f"hydra.run.dir={scratch}", **store)
        ratios.append(ours / plain)
        print(
            f"round {number}: plain {plain:.1f} s (validation accuracy {plain_accuracy:.4f}), "
            f"plain that records {recording:.1f} s, part 1 {ours:.1f} s ({accuracy:.4f}), "
            f"on the digits {least:.1f} s; "
            f"ratios 1/{plain / ours:.1f} and 1/{recording / ours:.1f}",
            flush=True,
        )
    median = statistics.median(ratios)
    verdict = "within" if median <= BUDGET else "OVER"
    print(f"median ratio 1/{1 / median:.1f}, {verdict} the budget of 1/{1 / BUDGET:.0f}")


if __name__ == "__main__":
    main()
