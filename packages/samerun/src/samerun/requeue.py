"""A Slurm job that starts again: which run it was at when it was put back into the queue.

A job starts again under its old number after its time limit (submitit asks for that), a
pre-emption, or the loss of its node.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from samerun.command import hydra_overrides, running_script
from samerun.root import project_root
from samerun.store import use_store

if TYPE_CHECKING:
    from mlflow.entities import Run

# Tags of a run: its job, how often that had been started again,
JOB, RESTARTS = "samerun.job", "samerun.job_restarts"
ASKED = "samerun.asked"  # and a digest of what was asked for, since one job may train many things


def job_tags(overrides: Sequence[str] | None = None) -> dict[str, str]:
    """Return the tags by which a Slurm job knows its run again; none outside of Slurm.

    overrides : what the run was asked to do, if that is not what the Hydra job was asked
    """
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
    here = job_tags()
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
