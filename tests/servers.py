"""Real servers for the tests of many workers: PostgreSQL and a Slurm of one node, on 127.0.0.1.

Each is made in a folder of the test, on free ports, and ended by the ids of its processes.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=600
KillWait=5
SchedulerParameters=sched_interval=1
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=32000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.1)


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start PostgreSQL with an empty database; yield its address for SQLAlchemy."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("needs PostgreSQL: apt install postgresql")
    if IS_ROOT:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres")
        for parent in folder.parents:  # pytest makes them for root alone
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(parent.stat().st_mode | 0o011)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs[-1] / program), *arguments]
        if IS_ROOT:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    port, data = free_port(), folder / "data"
    run("initdb", "-D", str(data), "-U", "tester", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start a Slurm of one node; yield the environment in which its commands work.

    It keeps no accounts, so sacct fails, as on clusters that have none.
    """
    if not IS_ROOT or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch"))):
        pytest.skip("needs root and Slurm: apt install slurmctld slurmd slurm-client munge")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = {"controller": free_port(), "node": free_port()}
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(folder=folder, **ports), encoding="utf-8")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(conf)}
    logs = [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    munge = ["munged", "-F", "-f", f"--socket={folder}/munge.socket", f"--key-file={key}", *logs]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    started = []
    try:
        started.append(subprocess.Popen(munge, **quiet))
        wait_until((folder / "munge.socket").exists, 10, "munged")
        started.append(subprocess.Popen(["slurmctld", "-D", "-f", str(conf)], **quiet))
        started.append(
            subprocess.Popen(["slurmd", "-D", "-N", "localhost", "-f", str(conf)], **quiet)
        )

        def is_idle() -> bool:
            said = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True)
            return said.stdout.strip() == b"idle"

        wait_until(is_idle, 30, "an idle node of Slurm")
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=20)
