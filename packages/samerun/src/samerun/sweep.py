"""A sweep of Hydra's: what is looked at before its jobs start, and the table of its runs.

A Hydra callback, to be named in a configuration:

hydra:
  callbacks:
    sweep:
      _target_: samerun.sweep.Sweep
"""

import contextlib
import logging
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from samerun.command.repeat import keep_as_typed
from samerun.display.screen import printable
from samerun.errors import RecordError
from samerun.machine.portable import use_portable
from samerun.process import surviving
from samerun.process.ending import end_lost_runs
from samerun.process.job import NUMBER, OVERRIDES, SWEEP, let_modules_travel
from samerun.store.tracking import use_store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from rich.table import Table

NAMES = ("experiment", "run_id", "resume")  # last words of keys whose values are names or ids
MOST_SCORES = 3  # columns of the table
SECONDS = 30  # between two looks at Slurm's queue
# What decides whether Slurm takes a job: sbatch's words for the settings of the launcher.
SBATCH = {
    "partition": "--partition={}",
    "timeout_min": "--time={}",
    "cpus_per_task": "--cpus-per-task={}",
    "mem_gb": "--mem={}G",
    "nodes": "--nodes={}",
    "tasks_per_node": "--ntasks-per-node={}",
    "gpus_per_node": "--gpus-per-node={}",
    "gres": "--gres={}",
    "qos": "--qos={}",
    "constraint": "--constraint={}",
    "account": "--account={}",
}

log = logging.getLogger(__name__)


class Sweep(Callback):
    """Readies a sweep, lets all its jobs run, and shows their runs; names the jobs that failed.

    Before the jobs start, `portable: true` is heeded, since a worker of a launcher such as joblib
    cannot start itself again, but has the variables of the process that started it. A Slurm that
    would refuse the jobs is refused. An experiment or a run is the one that was typed.
    """

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        keep_as_typed(config, NAMES)
        if config.get("portable"):
            use_portable(True)

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        self.on_run_start(config)
        let_modules_travel()
        launcher = config.hydra.launcher
        if "Slurm" in launcher.get("_target_", ""):
            try:
                check_slurm(launcher)
            except RecordError as error:  # Hydra makes a warning of any exception of a callback
                raise SystemExit(f"\nerror: {error}") from error
            _watch_the_queue()
        surviving.let_all_run(launcher._target_, interrupted=_end_jobs, lost=wait_for_jobs)

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        found = runs(str(Path(config.hydra.sweep.dir).absolute()))
        if found:
            from rich.console import Console

            console = Console(width=80)
            console.print(table(found))
        if not surviving.outcome.is_good:
            raise SystemExit(f"\n{surviving.outcome.report()}")


# --------------------------------------------------------------------------------- the table


def runs(sweep: str) -> "list[Run]":
    """Return the runs of a sweep, in the order of its jobs; those of a study's trials left out."""
    use_store()
    from mlflow import MlflowClient

    client = MlflowClient()
    every = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(every, f"tags.`{SWEEP}` = {_quoted(sweep)}", max_results=1000)
    own = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return sorted(own, key=lambda run: (int(run.data.tags[NUMBER]), run.info.start_time))


def _quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def table(found: "list[Run]") -> "Table":
    """Return a table of runs, 80 columns wide: ids, names, what varied, the scores."""
    from rich.table import Table
    from rich.text import Text

    asked = [shlex.split(run.data.tags.get(OVERRIDES, "")) for run in found]
    common = set.intersection(*map(set, asked)) if len(found) > 1 else set()
    scores = _scores(found)
    result = Table(box=None, pad_edge=False, header_style="bold")
    result.add_column("run", no_wrap=True)
    result.add_column("name", overflow="fold")
    result.add_column("what varied", overflow="fold")
    unfinished = any(run.info.status != "FINISHED" for run in found)
    if unfinished:
        result.add_column("status")
    for name in scores:
        result.add_column(name, justify="right", overflow="fold")
    for run, words in zip(found, asked, strict=True):
        varied = " ".join(word for word in words if word not in common)
        cells = [run.info.run_id[:8], run.info.run_name, varied]
        cells += [run.info.status] if unfinished else []
        values = [run.data.metrics.get(name) for name in scores]
        cells += ["" if value is None else f"{value:.4f}" for value in values]
        result.add_row(*(Text(printable(cell)) for cell in cells))
    return result


def _scores(found: "list[Run]") -> list[str]:
    """Return the names of the metrics to choose a run by: the best ones, else of validation."""
    names = sorted({name for run in found for name in run.data.metrics})
    for begins in ("best_", "val", ""):
        chosen = [name for name in names if name.startswith(begins)]
        if chosen:
            # The accuracy before others.
            return sorted(chosen, key=lambda name: "acc" not in name)[:MOST_SCORES]
    return []


# --------------------------------------------------------------------------------------- Slurm


def check_slurm(launcher: DictConfig) -> None:
    """Ask Slurm whether it would take a job with the settings of the launcher.

    Raises
    ------
    RecordError
        There is no Slurm here, or it says no; the message repeats what it said.
    """
    if not shutil.which("sbatch"):
        raise RecordError(
            "hydra/launcher=slurm needs a Slurm cluster, and there is no command sbatch here. Log "
            "in to a login node of your cluster, or use the cores of this machine: "
            "hydra/launcher=laptop"
        )
    flags = [
        flag.format(launcher[name])
        for name, flag in SBATCH.items()
        if launcher.get(name) is not None
    ]
    said = _ask("sbatch", "--test-only", "--wrap=true", *flags)
    if said.returncode:
        partitions = ", ".join(sorted(set(_ask("sinfo", "-h", "-o", "%R").stdout.split())))
        reason = said.stderr.strip().replace("\n", "\n  ") or f"exit status {said.returncode}"
        raise RecordError(
            f"Slurm refuses these jobs:\n  {reason}\n"
            f"Asked for: {' '.join(flags)}\nPartitions here: {partitions or 'none that answer'}. "
            "Change a setting: hydra.launcher.partition=NAME, hydra.launcher.mem_gb=4 ..., or "
            "conf/hydra/launcher/slurm.yaml"
        )


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def _watch_the_queue() -> None:
    """Let submitit ask squeue how its jobs are: sacct needs accounting, which not all have.

    Without it, submitit would wait for ever for a job that was killed.
    """
    from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

    class Queue(SlurmInfoWatcher):
        def _make_command(self) -> list[str] | None:
            if not self._registered - self._finished:
                return None
            return ["squeue", "--me", "--noheader", "--array", "--states=all", "-o", "%i|%T|%N"]

        def read_info(self, string: str | bytes) -> dict[str, dict[str, str]]:
            text = string if isinstance(string, str) else string.decode()
            rows = [line.strip().split("|") for line in text.splitlines()]
            # Slurm forgets a job some minutes after its end.
            states = dict.fromkeys(self._registered, "ENDED")
            states |= {row[0]: row[1] for row in rows if len(row) == 3}
            return {job: {"JobID": job, "State": state} for job, state in states.items()}

        def wait(self) -> None:
            while self._registered - self._finished:
                self.update()
                time.sleep(2)

    SlurmJob.watcher = Queue(delay_s=SECONDS)


def _end_jobs() -> None:
    """After Ctrl+C: cancel jobs on Slurm; end the runs of local workers, which are gone by now."""
    submitit = sys.modules.get("submitit.slurm.slurm")
    if submitit is not None and isinstance(submitit.SlurmJob.watcher, submitit.SlurmInfoWatcher):
        jobs = sorted(submitit.SlurmJob.watcher._registered)
        if jobs:
            log.warning("Cancelling the jobs %s.", " ".join(jobs))
            _ask("scancel", *jobs)
            wait_for_jobs()
    end_lost_runs()


def wait_for_jobs() -> None:
    """Wait until the last job of this process's sweep on Slurm has ended, if it made one."""
    submitit = sys.modules.get("submitit.slurm.slurm")
    if submitit is not None:
        with contextlib.suppress(AttributeError):  # it watches in its own way
            submitit.SlurmJob.watcher.wait()
