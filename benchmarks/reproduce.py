"""What it takes to reproduce a run, beyond the run itself: the seconds of `workshop reproduce`.

uv run benchmarks/reproduce.py
uv run benchmarks/reproduce.py --rounds 5

Both are whole commands, timed from the start of Python to its end, in turns, and the medians count.
The run is typed into this checkout as a participant types it; its repetition finds code, packages
and data unchanged. The budget is for two idle cores.
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
BUDGET = 8.0  # seconds
RUNS = {
    "part 1": ("solutions/part1_logistic_regression/train.py", "data=digits"),
    "part 2": ("solutions/part2_mlp_cnn/train.py", "data=digits", "training.epochs=2"),
}


def timed(*words: str, **variables: str) -> tuple[float, str]:
    """Run a command of this environment; return the seconds it took and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        encoding="utf-8",
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        where = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{Path(folder).as_posix()}/mlflow.db",
            "SAMERUN_CACHE": f"{folder}/caches",
        }
        timed("-m", "workshop.cli", "--help", **where)
        for part, words in RUNS.items():
            run, repetition = [], []
            for turn in range(rounds + 1):
                seconds, said = timed(*words, **where)
                found = re.findall(r"samerun trace (\w+)", said)
                again, said = timed("-m", "workshop.cli", "reproduce", found[-1], **where)
                if "Bit for bit the same" not in said:
                    raise SystemExit(said)
                if turn:  # the first one makes the store, and that which repetitions begin with
                    run.append(seconds)
                    repetition.append(again)
            overhead = statistics.median(repetition) - statistics.median(run)
            print(
                f"{part}: the run {statistics.median(run):.1f} s ({min(run):.1f} to "
                f"{max(run):.1f}), its repetition {statistics.median(repetition):.1f} s "
                f"({min(repetition):.1f} to {max(repetition):.1f}): {overhead:.1f} s more, "
                f"budget {BUDGET:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
