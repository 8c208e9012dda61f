"""The job that a run is: one of a sweep, one of Slurm's; and what a job was at that starts again.

A Slurm job starts again under its old number after its time limit (submitit asks for that), a
pre-emption, or the loss of its node.
"""

import copyreg
import hashlib
import importlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from samerun.command.repeat import hydra_job, hydra_overrides, running_script
from samerun.root import project_root
from samerun.secrets.masking import masked_arguments
from samerun.store.tracking import use_store

if TYPE_CHECKING:
    from mlflow.entities import Run

# Tags of a run: the folder of its sweep, its number and what it was asked there,
SWEEP, NUMBER, OVERRIDES = "samerun.sweep", "samerun.sweep_job", "samerun.overrides"
# its Slurm job, how often that had been started again,
JOB, RESTARTS = "samerun.job", "samerun.job_restarts"
ASKED = "samerun.asked"  # and a digest of what was asked for, since one job may train many things


def in_sweep() -> bool:
    """Say whether this is a job of a sweep, in the process of the sweep or in a worker of it."""
    job = hydra_job()
    return job is not None and str(job.mode).rpartition(".")[2] == "MULTIRUN"


def job_tags(overrides: Sequence[str] | None = None) -> dict[str, str]:
    """Return the tags by which a sweep finds its runs, and a Slurm job the run that it was at.

    overrides : what the run was asked to do, if that is not what the Hydra job was asked
    """
    return _sweep_tags(overrides) | _slurm_tags(overrides)


def _sweep_tags(overrides: Sequence[str] | None) -> dict[str, str]:
    hydra = hydra_job()
    if hydra is None or not in_sweep():
        return {}
    asked = masked_arguments(overrides or hydra_overrides())
    return {
        SWEEP: str(Path(hydra.sweep.dir).absolute()),
        NUMBER: str(hydra.job.num),
        OVERRIDES: shlex.join(asked)[:1000],
    }


def _slurm_tags(overrides: Sequence[str] | None) -> dict[str, str]:
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return {}
    script = running_script(project_root()) or ""
    asked = [script, *(overrides or hydra_overrides() or sys.argv[1:])]
    return {
        JOB: f"{os.environ.get('SLURM_CLUSTER_NAME', '')}/{job}",
        RESTARTS: os.environ.get("SLURM_RESTART_COUNT", "0"),
        ASKED: hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16],
    }


def requeued_run(experiment: str) -> "Run | None":
    """Return the unfinished run that an earlier start of this Slurm job left; None without one."""
    here = _slurm_tags(None)
    if here.get(RESTARTS, "0") == "0":
        return None
    use_store()
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    same = " and ".join(f"tags.`{tag}` = '{here[tag]}'" for tag in (JOB, ASKED))
    for run in client.search_runs([found.experiment_id], same):  # the latest first
        earlier = int(run.data.tags[RESTARTS]) < int(here[RESTARTS])
        if earlier and run.info.status in ("RUNNING", "KILLED"):
            return run
    return None


def let_modules_travel() -> None:
    """Let a launcher send a script to its workers that says `dataset.classes` and imports torch.

    Called where a sweep starts, and in a job, which sends itself when it goes back into the queue.

    Scripts travel by cloudpickle, which takes that for the module torch.classes. It and torch.ops
    are modules of a kind of their own, of which cloudpickle does not know that a name is enough.
    """
    for name in ("torch.classes", "torch.ops"):
        if name in sys.modules:
            copyreg.pickle(type(sys.modules[name]), _by_name)


def _by_name(module: ModuleType) -> tuple[Callable[[str], ModuleType], tuple[str]]:
    return importlib.import_module, (module.__name__,)
