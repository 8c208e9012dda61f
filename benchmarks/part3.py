"""Part 3: how soon the recipe is good, what each line of it is worth, what a second worker brings.

uv run benchmarks/part3.py time --seeds 0              some ten minutes on two cores
uv run benchmarks/part3.py ablation                    some three hours on two cores, by estimate
uv run benchmarks/part3.py ablation --epochs 5 --width 8
uv run benchmarks/part3.py ablation --width 8 --without augmentation average
uv run benchmarks/part3.py workers                     some ten minutes

time      The recipe, trained and then evaluated: the seconds from the start of the run to the first
          epoch of 94 % validation accuracy, those of the whole command, the test accuracy, and on
          which graphics card, or processor.
ablation  The recipe, and the recipe without one of its lines, for several seeds, as one Hydra
          multirun: best validation accuracy, mean and standard deviation, and the difference.
workers   A study of random trials with one worker and with two, in turn. Efficiency is the speed-up
          over the number of workers, of the whole command and of its trials alone, from the start
          of the first one to the end of the last one.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from samerun.store.tracking import no_progress_bars

ROOT = Path(__file__).resolve().parents[1]
PART = ROOT / "solutions" / "part3_competition"
# What can be left out of the recipe.
LINES = sorted({path.stem for path in PART.glob("conf/ablation/*.yaml")} - {"nothing"})


def run(folder: Path, script: str, *overrides: str) -> float:
    """Run a script of the part with a store in `folder`; return the seconds it took."""
    store = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, str(PART / script), *overrides],
        cwd=folder,
        env=os.environ | {"MLFLOW_TRACKING_URI": store},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    mlflow.set_tracking_uri(store)
    return time.perf_counter() - began


def time_to(folder: Path, goal: float, epochs: int, width: int, seeds: list[int]) -> None:
    for seed in seeds:
        asked = (f"seed={seed}", f"training.epochs={epochs}", f"model.width={width}")
        whole = run(folder, "train.py", "+recipe=strong", *asked)
        run(folder, "evaluate.py", "run_id=latest")
        recorded = max(
            mlflow.search_runs(experiment_names=["part3-competition"], output_format="list"),
            key=lambda found: found.info.start_time,
        )
        with no_progress_bars():
            trace = mlflow.artifacts.load_dict(f"{recorded.info.artifact_uri}/trace/trace.json")
        machine, metrics = trace["machine"], recorded.data.metrics
        reached = [
            (point.timestamp - recorded.info.start_time, point.step)
            for point in MlflowClient().get_metric_history(recorded.info.run_id, "val_accuracy")
            if point.value >= goal
        ]
        when = "not reached"
        if reached:
            milliseconds, epoch = min(reached)
            when = f"after {milliseconds / 1000:.1f} s, in epoch {epoch} of {epochs}"
        print(
            f"seed {seed}, {', '.join(machine['gpus']) or machine['cpu']}: "
            f"{goal:g} validation accuracy {when}; best {metrics['best_val_accuracy']:.4f}, "
            f"test {metrics['test_accuracy']:.4f}, whole command {whole:.1f} s",
            flush=True,
        )


def ablation(folder: Path, epochs: int, width: int, seeds: list[int], without: list[str]) -> None:
    run(
        folder,
        "train.py",
        "-m",
        "+recipe=strong",
        f"+ablation={','.join(['nothing', *without])}",
        f"seed={','.join(map(str, seeds))}",
        f"training.epochs={epochs}",
        f"model.width={width}",
        "training.threads=1",
        "experiment=${hydra:runtime.choices.ablation}",
        "hydra/launcher=laptop",
    )
    found = {}
    for name in ["nothing", *without]:
        runs = mlflow.search_runs(experiment_names=[name], output_format="list")
        values = [r.data.metrics["best_val_accuracy"] for r in runs if r.info.status == "FINISHED"]
        found[name] = [100 * value for value in values]
    whole = statistics.mean(found["nothing"])
    print(f"\n{epochs} epochs, width {width}: best validation accuracy in %, mean ± sd\n")
    print("| left out | runs | accuracy | difference |\n|---|---|---|---|")
    for name, values in sorted(found.items(), key=lambda item: statistics.mean(item[1])):
        mean, spread = statistics.mean(values), statistics.stdev(values)
        print(f"| {name} | {len(values)} | {mean:.2f} ± {spread:.2f} | {mean - whole:+.2f} |")


def workers(folder: Path, rounds: int, trials: int) -> None:
    asked = [f"trials={trials}", "sampler=random", "pruner=none", "training.epochs=2"]
    seconds = {1: [], 2: []}
    for turn in range(rounds):
        for number, found in seconds.items():
            study = f"round-{turn}-workers-{number}"
            storage = f"storage.path={folder / study}.journal"
            many = ["-m", "worker=0,1", "hydra/launcher=laptop"] if number == 2 else []
            whole = run(folder, "tune.py", *many, *asked, storage, f"study={study}")
            runs = mlflow.search_runs(experiment_names=["part3-tuning"], output_format="list")
            (parent,) = (r.info.run_id for r in runs if r.info.run_name == study)
            trial_runs = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent]
            first = min(r.info.start_time for r in trial_runs)
            last = max(r.info.end_time for r in trial_runs)
            # Two workers may begin a last trial at the same time.
            per_trial = (last - first) / 1000 / len(trial_runs)
            found.append((whole, per_trial))
            print(f"{study}: {whole:.1f} s, {per_trial:.2f} s a trial, {len(trial_runs)} trials")
    for part, what in enumerate(("whole command", "a trial")):
        ratios = [a[part] / b[part] / 2 for a, b in zip(seconds[1], seconds[2], strict=True)]
        print(
            f"efficiency of two workers, {what}: {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {rounds} rounds)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["time", "ablation", "workers"])
    parser.add_argument("--goal", type=float, default=0.94, help="validation accuracy to time")
    parser.add_argument("--epochs", type=int, default=26, help="the recipe's own: 26")
    parser.add_argument("--width", type=int, default=16, help="the recipe's own: 16")
    parser.add_argument("--without", nargs="+", default=LINES, choices=LINES, help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="where to keep the store")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = (asked.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if asked.what == "time":
            time_to(folder, asked.goal, asked.epochs, asked.width, asked.seeds)
        elif asked.what == "ablation":
            ablation(folder, asked.epochs, asked.width, asked.seeds, asked.without)
        else:
            workers(folder, asked.rounds, asked.trials)


if __name__ == "__main__":
    main()
