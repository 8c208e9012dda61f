"""How runs end that do not end by themselves: cancelled ones, and those whose process was lost.

While a run lasts, its process holds a lock on a file, and the system lets go of a lock however the
process ends. So a run that is called RUNNING, and whose lock is free, has lost its process.
"""

import contextlib
import logging
import platform
import signal
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import Run

HOST = "samerun.host"  # tags of a run: where it runs,
LOST = "samerun.lost"  # and that its process was found to be gone
RUNNING = ".running"  # a folder of locks, beside the artifacts
# What a batch system, a container or a closed terminal sends, as a person presses Ctrl+C.
CANCEL = ("SIGTERM", "SIGHUP")
REQUEUE = "SIGUSR2"  # submitit's: it puts the job back into the queue and leaves by SystemExit

log = logging.getLogger(__name__)


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Let signals that ask the process to end raise KeyboardInterrupt in here.

    Whatever handled them before does so again afterwards, such as submitit, which lets no SIGTERM
    through in a Slurm job. Signals that are ignored (nohup) stay so. Outside of the main thread,
    where Python hears no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(number: int, frame: FrameType | None) -> None:
        ignore_more()  # what comes next is the ending of the run, which takes a moment
        raise KeyboardInterrupt

    def requeue(number: int, frame: FrameType | None) -> None:
        ignore_more()  # Slurm ends a job that goes back into the queue
        try:
            before[number](number, frame)
        except SystemExit as leaving:
            raise KeyboardInterrupt from leaving

    handlers = {name: cancel for name in CANCEL} | {REQUEUE: requeue}
    before: dict[int, Any] = {}  # handlers, as the module signal knows them

    def ignore_more() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows has SIGTERM alone
        if number is None:
            continue
        found = signal.getsignal(number)
        if found is None or found == signal.SIG_IGN or (name == REQUEUE and not callable(found)):
            continue
        before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


@contextlib.contextmanager
def held(run_id: str) -> Iterator[None]:
    """Show in here that the process of a run is alive. A lock that cannot be had costs no run."""
    from filelock import FileLock
    from mlflow import MlflowClient

    lock = None
    try:
        file = _locks() / f"{run_id}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, thread_local=False)
        lock.acquire(timeout=5)  # another process may be looking at it
        MlflowClient().set_tag(run_id, HOST, platform.node())
    except Exception as error:
        log.debug("No lock for the run %s: %s", run_id, error)
    try:
        yield
        if lock is not None and lock.is_locked:
            file.unlink(missing_ok=True)  # otherwise it stays, for others to see how the run ended
    finally:
        if lock is not None:
            lock.release()


def end_lost_runs() -> None:
    """Mark the runs of this machine as KILLED whose process is gone: killed, or the power failed.

    A run of another machine is left alone, and so is one that lasts. Never raises.
    """
    with contextlib.suppress(OSError):
        for file in sorted(_locks().glob("*.lock")):
            try:
                _end_if_lost(file)
            except Exception as error:  # the store, a permission: others will look again
                log.debug("%s was not looked at: %s", file, error)


def _end_if_lost(file: Path) -> None:
    from filelock import FileLock, Timeout
    from mlflow import MlflowClient

    client, run_id = MlflowClient(), file.stem
    try:
        with FileLock(file, timeout=0):
            run = client.get_run(run_id)  # now, for it may just have ended
            if run.data.tags.get(HOST) != platform.node():
                return
            if run.info.status == "RUNNING":
                mark_lost(run)
            file.unlink(missing_ok=True)
    except Timeout:
        pass  # it runs


def mark_lost(run: "Run") -> None:
    """End a run as KILLED that nobody works on any more, at its last sign of life."""
    from mlflow import MlflowClient

    client, run_id = MlflowClient(), run.info.run_id
    moments = [
        point.timestamp
        for name in run.data.metrics
        for point in client.get_metric_history(run_id, name)
    ]
    found = datetime.now(UTC).isoformat(timespec="seconds")
    client.set_tag(run_id, LOST, f"its process on {run.data.tags.get(HOST)} was gone on {found}")
    client.set_terminated(run_id, "KILLED", max([run.info.start_time, *moments]))
    log.warning("The run %s (%s) had lost its process: KILLED.", run_id, run.info.run_name)


def _locks() -> Path:
    """Return the folder of locks: beside a local store, else among this machine's own files."""
    from samerun.store.moved import ARTIFACTS
    from samerun.store.tracking import local_store, tracking_uri

    store = local_store(tracking_uri())
    if store:
        return store.parent / ARTIFACTS / RUNNING
    return Path(tempfile.gettempdir()) / f"samerun{RUNNING}"
