"""A sweep that survives its members: all jobs run, and those that failed are named at its end.

Hydra's sweeper raises the error of the first job that failed, once all have run, and so hides the
others. Here the launcher gives it none to raise.
"""

import contextlib
import functools
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from samerun.errors import RecordError
from samerun.process.ending import cancelled_by_signals
from samerun.secrets.masking import masked_arguments, masked_text

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    Launch = Callable[..., Sequence[JobReturn]]

INTERRUPTED = 130  # the exit status that shells give to Ctrl+C

log = logging.getLogger(__name__)


class JobFailed(RecordError):
    """A job of a sweep did not come to its end; the message says why.

    It travels from a worker to the launcher, and is no SystemExit, which would end the sweep.
    """


@dataclass
class Outcome:
    """How the jobs of this process's sweep ended.

    asked : the overrides of every job
    failures : of each failed job the overrides, and why it failed
    lost : what a launcher said that lost its jobs: a worker was killed, say
    """

    asked: list[tuple[str, ...]] = field(default_factory=list)
    failures: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.failures and not self.lost

    def report(self) -> str:
        """Return the list of the jobs that failed, those of one message together."""
        common = set.intersection(*map(set, self.asked)) if len(self.asked) > 1 else set()
        together: dict[str, list[str]] = {}
        for overrides, message in self.failures:
            varied = [word for word in overrides if word not in common]
            together.setdefault(message, []).append(" ".join(masked_arguments(varied or overrides)))
        lines = [f"{len(self.failures)} of {len(self.asked)} jobs failed:"] if together else []
        for message, jobs in together.items():
            lines += [f"  {job}" for job in jobs]
            lines += [f"    {line}" for line in masked_text(message).strip().splitlines()]
        lines += [f"The launcher lost jobs: {masked_text(message)}" for message in self.lost]
        return "\n".join(lines)


outcome = Outcome()  # of the sweep of this process


def failed(error: BaseException, message: str | None) -> JobFailed:
    """Return what a job of a sweep raises in place of an error.

    message : what a person can mend; None shows the traceback of the error
    """
    if message is None:
        traceback.print_exception(error)
        return JobFailed(f"{type(error).__name__}: {error}")
    log.error("%s", message)
    return JobFailed(message)


def let_all_run(launcher: str, interrupted: Callable[[], None], lost: Callable[[], None]) -> None:
    """Let launchers of a class run all their jobs, whatever becomes of one; then see `outcome`.

    launcher : the name of the class, as Hydra's configuration has it
    interrupted : called after Ctrl+C, to end what the launcher left; for jobs of this machine,
        which would be left alone, also after a signal that asks this process to end
    lost : called when the launcher itself has failed, to wait for what it left
    """
    from hydra.utils import get_class

    global outcome
    outcome = Outcome()
    kind: Any = get_class(launcher)
    launch = getattr(kind.launch, "__wrapped__", kind.launch)  # of an earlier sweep
    # Jobs on a cluster go on when a connection to it is lost.
    signals = contextlib.nullcontext if "Slurm" in launcher else cancelled_by_signals
    kind.launch = _surviving(launch, signals, interrupted, lost)


def _surviving(
    launch: "Launch",
    signals: Callable[[], contextlib.AbstractContextManager[None]],
    interrupted: Callable[[], None],
    lost: Callable[[], None],
) -> "Launch":
    from hydra.core.utils import JobStatus

    @functools.wraps(launch)
    def launch_all(
        self: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> "Sequence[JobReturn]":
        outcome.asked += map(tuple, job_overrides)
        try:
            with signals():
                results = launch(self, job_overrides, initial_job_idx=initial_job_idx)
        except (KeyboardInterrupt, SystemExit) as error:
            if isinstance(error, SystemExit) and error.code != INTERRUPTED:
                raise
            interrupted()
            raise SystemExit(INTERRUPTED) from None
        except Exception as error:
            lost()
            outcome.lost.append(f"{type(error).__name__}: {error}")
            return []
        for overrides, job in zip(job_overrides, results, strict=True):
            if job.status != JobStatus.COMPLETED:
                why = job._return_value
                why = why if isinstance(why, JobFailed) else failed(why, None)
                outcome.failures.append((tuple(overrides), str(why)))
                job.status, job.return_value = JobStatus.COMPLETED, None
        return results

    return launch_all
