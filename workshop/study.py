"""An Optuna study that many workers share: its storage, its parent run, its beginning and end.

Workers are Hydra jobs, on one machine or on many. The process that launches them makes the study
and the run store first, for a fresh database does not survive several workers that open it at once,
and sums the study up when they are done.
"""

import contextlib
import datetime
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import ClassVar

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import (
    BaseStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from samerun.command.of_mlflow import see_all
from samerun.command.repeat import command_for, keep_as_typed
from samerun.config import flatten
from samerun.errors import innermost
from samerun.process import surviving
from samerun.process.ending import cancelled_by_signals, held
from samerun.process.messages import message_of
from samerun.secrets.masking import masked_text
from samerun.sweep import wait_for_jobs
from workshop.course import ROOT
from workshop.errors import WorkshopError
from workshop.study_state import StateChanged, check_state, keep_state

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
BEATS = 6  # a trial without a sign of life for so many intervals has lost its worker
REPEATS = 3  # of a trial whose workers die: it may be what kills them
DATABASE = "OPTUNA_STORAGE"

# What a study keeps of itself, as user attributes of the study and of its trials.
SETTINGS, PARENT = "settings", "parent_run"
RUN, OVERRIDES, ERROR = "run", "overrides", "error"
CONTINUES = "continues"  # the run of an interrupted trial, for the one that is queued in its place

log = logging.getLogger(__name__)
_holding = contextlib.ExitStack()  # the parent run, while this process works on its study
optuna.logging.set_verbosity(optuna.logging.ERROR)  # our own lines say it without tracebacks


# ----------------------------------------------------------------------------------- storages


class _Journal(JournalStorage, BaseHeartbeat):
    """A journal with signs of life, which Optuna gives to databases alone."""

    def __init__(self, backend: JournalFileBackend, heartbeat: int):
        super().__init__(backend)
        self._heartbeat = heartbeat

    def record_heartbeat(self, trial_id: int) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):  # it was given up meanwhile
            self.set_trial_system_attr(trial_id, "heartbeat", time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        latest = time.time() - BEATS * self._heartbeat
        return [trial._trial_id for trial in running if _last_sign(trial) < latest]

    def get_heartbeat_interval(self) -> int:
        return self._heartbeat

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None]:
        return repeat_lost_trial


def _last_sign(trial: FrozenTrial) -> float:
    return trial.system_attrs.get("heartbeat") or trial.datetime_start.timestamp()


def journal(path: str, heartbeat: int) -> BaseStorage:
    """Open a study's journal, a file that all workers can reach; `path` counts from the root."""
    file = ROOT / path  # absolute: a relative one with a dead lock-holder is waited for for ever
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Windows lets only administrators make the symbolic links that Optuna locks with.
        lock = JournalFileOpenLock(str(file)) if os.name == "nt" else None
        with _experiments_allowed():
            return _Journal(JournalFileBackend(str(file), lock), heartbeat)
    except OSError as error:
        raise WorkshopError(
            f"The study's journal {file} cannot be opened: {error}. Make its folder writable, or "
            "name another file: storage.path=..."
        ) from error


def database(url: str | None, heartbeat: int) -> BaseStorage:
    """Open a study's database, which is made if need be.

    Parameters
    ----------
    url : SQLAlchemy's; a relative path of SQLite counts from the root, None stands for
        $OPTUNA_STORAGE
    heartbeat : seconds between two signs of life of a trial

    Raises
    ------
    WorkshopError
        There is no address, or the database cannot be opened.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    address = url or os.environ.get(DATABASE)
    if not address:
        raise WorkshopError(
            f"This storage is a database, and ${DATABASE} does not name it. Set it to "
            "postgresql+psycopg://USER:PASSWORD@HOST/NAME, or take another storage: storage=journal"
        )
    shown = "the address"
    try:
        parsed = make_url(address)
        shown = parsed.render_as_string(hide_password=True)
        if parsed.drivername.startswith("sqlite"):
            file = ROOT / (parsed.database or "")
            file.parent.mkdir(parents=True, exist_ok=True)
            parsed = parsed.set(database=file.as_posix())
        with _experiments_allowed():
            return RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=heartbeat,
                grace_period=BEATS * heartbeat,
                heartbeat_stale_trial_callback=repeat_lost_trial,
            )
    except (ArgumentError, SQLAlchemyError, ImportError, OSError) as error:
        reason = str(innermost(error)).strip().splitlines()[0]
        raise WorkshopError(
            f"The study's database cannot be opened: {shown}: {reason}\n"
            "Expected a server that runs and a database that exists, as "
            f"postgresql+psycopg://USER:PASSWORD@HOST/NAME in ${DATABASE}."
        ) from None


@contextlib.contextmanager
def _experiments_allowed() -> Iterator[None]:
    """Say nothing of the features that Optuna calls experimental, which these are for years."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def draws(space: DictConfig) -> dict[str, dict]:
    """Return a space whose choices mean, behind `name=` in an override, what they are in the file.

    Written as Python shows them, null would become the word None, and the text "1e4" a number.
    """
    plain = OmegaConf.to_container(space)
    return {
        name: how | {"choices": [as_override(choice) for choice in how["choices"]]}
        if "choices" in how
        else dict(how)
        for name, how in plain.items()
    }


def as_override(value: object) -> object:
    """Return a value of a configuration as Hydra's grammar writes it; numbers are as they are."""
    match value:
        case None:
            return "null"
        case str():
            return value if _read_back(value) == value else _quoted(value)
        case list():
            return f"[{','.join(str(as_override(item)) for item in value)}]"
        case dict():
            pairs = (f"{key}:{as_override(item)}" for key, item in value.items())
            return f"{{{','.join(pairs)}}}"
    return value


def _read_back(text: str) -> object:
    try:
        override = OverridesParser.create().parse_override(f"name={text}")
        return None if override.is_sweep_override() else override.value()
    except HydraException:
        return None


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def repeat_lost_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again whose worker died, and end its MLflow run, which nobody else will."""
    log.warning("The worker of trial %d is gone: the trial will be repeated.", trial.number)
    with _experiments_allowed():
        RetryHeartbeatStaleTrialCallback(max_retry=REPEATS)(study, trial)
    with contextlib.suppress(Exception):  # the search goes on, whatever became of the record
        _end_run_of(study, trial)


def trial_name(number: int) -> str:
    """Return the name of the run of a trial."""
    return f"trial {number}"


def _end_run_of(study: optuna.Study, trial: FrozenTrial) -> None:
    from mlflow import MlflowClient

    client, parent = MlflowClient(), study.user_attrs[PARENT]
    for run in client.search_runs(
        [client.get_run(parent).info.experiment_id],
        f"tags.mlflow.parentRunId = '{parent}' and attributes.status = 'RUNNING' and "
        f"attributes.run_name = '{trial_name(trial.number)}'",
    ):
        client.set_terminated(run.info.run_id, "KILLED")


# ------------------------------------------------------------------------------------- search


def search(
    study: optuna.Study, objective: Callable[[Trial], float], trials: int, failures: int
) -> None:
    """Work on a study until it has this many trials, together with whoever else does.

    Waits for the trials of others, one of which may be left by its worker and has to be repeated.
    Ctrl+C, or a signal that puts a job back into the queue, queues the trial that it interrupts,
    for its run to go on.

    Parameters
    ----------
    trials : how many finished and pruned ones the study shall have
    failures : after so many failed ones in a row there is no point in going on

    Raises
    ------
    WorkshopError
        That many trials failed, since this worker began; the message shows the first error. Or
        code or configuration are no longer those of the study.
    """
    began, pause, errors = datetime.datetime.now(), 0.2, []

    def guarded(trial: Trial) -> float:
        try:
            value = objective(trial)
            check_state(study)  # once more, for what was imported meanwhile
            return value
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            run = study.get_trials(deepcopy=False)[trial.number].user_attrs.get(RUN)
            study.enqueue_trial(trial.params, user_attrs={CONTINUES: run} if run else None)
            raise
        except Exception as error:
            reason = masked_text(f"{type(innermost(error)).__name__}: {innermost(error)}")
            log.warning("Trial %d failed: %s", trial.number, reason)
            trial.set_user_attr(ERROR, reason)
            errors.append(error)
            raise

    while True:
        with _experiments_allowed():
            optuna.storages.fail_stale_trials(study)
        found = study.get_trials(deepcopy=False)
        ended = sum(trial.state in FINISHED for trial in found)
        running = sum(trial.state == TrialState.RUNNING for trial in found)
        queued = any(trial.state == TrialState.WAITING for trial in found)
        if ended >= trials:
            return
        if ended + running >= trials and not queued:
            time.sleep(pause)  # another worker may die, and its trial be left
            pause = min(2 * pause, 5.0)
            continue
        check_state(study)
        study.optimize(guarded, n_trials=1, catch=(Exception,))
        if errors and isinstance(innermost(errors[-1]), (NotImplementedError, StateChanged)):
            raise errors[-1]  # an open hole, or a trial that began while files were edited
        _check_failures(study, began, failures)


def _check_failures(study: optuna.Study, since: datetime.datetime, failures: int) -> None:
    ended = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if (trial.state in FINISHED or ERROR in trial.user_attrs)
        and trial.datetime_complete
        and trial.datetime_start >= since
    ]
    last = sorted(ended, key=lambda trial: trial.datetime_complete)[-failures:]
    if len(last) == failures and all(ERROR in trial.user_attrs for trial in last):
        raise WorkshopError(
            f"The last {failures} trials all failed, so the search has stopped. The first error, "
            f"of trial {last[0].number}:\n  {last[0].user_attrs[ERROR]}\n"
            f"  with {' '.join(last[0].user_attrs.get(OVERRIDES, ['what the space draws']))}\n"
            "Mend the space or the code and call again: finished trials are kept."
        )


# --------------------------------------------------------------------------- beginning and end


class SharedStudy(Callback):
    """Makes what the workers share before they start, and sums the study up after they end.

    A Hydra callback (hydra.callbacks in conf/tune.yaml), called in the process that was started.
    Its end is not called if a worker failed: that is for `summed_up`.
    """

    begun: ClassVar[DictConfig | None] = None

    def __init__(self, check: str | None = None):
        """check : the path of a function that refuses a configuration, as Python would import it"""
        self.check = get_method(check) if check else None

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        with _as_message():  # Hydra makes a warning of any exception of a callback
            if self.check:
                self.check(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
            keep_as_typed(config, ["study"])
            begin(config)
            SharedStudy.begun = config

    def on_run_end(self, config: DictConfig, **_: object) -> None:
        with _as_message():
            SharedStudy.begun = None
            conclude(config)

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        with _as_message():
            SharedStudy.begun = None
            conclude(config, "FINISHED" if surviving.outcome.is_good else "FAILED")

    on_multirun_start = on_run_start


@contextlib.contextmanager
def summed_up() -> Iterator[None]:
    """Sum up the study that a command works on, too, if the command fails or is cancelled.

    A worker that died ends its command with a failure, but the trials of the others count. On a
    cluster the others may still be at work: they are waited for.
    """
    try:
        with cancelled_by_signals():
            yield
    except BaseException as error:
        cancelled = isinstance(error, KeyboardInterrupt) or getattr(error, "code", None) == 130
        if SharedStudy.begun is not None:
            if not cancelled:
                wait_for_jobs()
            conclude(SharedStudy.begun, "KILLED" if cancelled else "FAILED")
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(130) from None
        raise


@contextlib.contextmanager
def _as_message() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        raise SystemExit(f"\nerror: {message}") from error


def begin(config: DictConfig) -> None:
    """Make or find the study and its parent run.

    Raises
    ------
    WorkshopError
        The study was begun with another configuration, or its storage cannot be opened.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from samerun.run import start_run
    from samerun.store.tracking import use_store

    if not isinstance(config.study, str):
        raise WorkshopError(
            f"The name of the study is {config.study!r}, which is no text: YAML reads digits, with "
            "or without an e between, as a number. In conf/, put the name in quotes."
        )
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    study = optuna.create_study(
        study_name=config.study,
        storage=instantiate(config.storage),
        direction="maximize",
        load_if_exists=True,
    )
    _check_settings(study, own)
    keep_state(study, own, config.hydra)
    use_store()
    parent = study.user_attrs.get(PARENT)
    with contextlib.suppress(MlflowException):  # it was deleted, or is in another store
        if parent and MlflowClient().get_run(parent).info.lifecycle_stage == "active":
            MlflowClient().update_run(parent, "RUNNING")
            _holding.enter_context(held(parent))
            return
    overrides = list(config.hydra.overrides.task)
    with start_run(
        own, instantiate(config.data), run_name=config.study, overrides=overrides
    ) as run:
        study.set_user_attr(PARENT, run.info.run_id)
    MlflowClient().update_run(run.info.run_id, "RUNNING")  # until the last worker is done
    _holding.enter_context(held(run.info.run_id))


def _check_settings(study: optuna.Study, config: DictConfig) -> None:
    """Refuse to mix trials of different questions in one study."""
    parts = (
        "sampler", "pruner", "storage", "study", "trials", "failures", "worker", "experiment",
        "tracking",
    )  # fmt: skip
    now = {
        key: str(value)
        for key, value in flatten(config).items()
        if key.partition(".")[0] not in parts
    }
    then = study.user_attrs.get(SETTINGS)
    if then is None:
        study.set_user_attr(SETTINGS, now)
        return
    differs = [
        f"\n  {key}: {then.get(key)} in the study, {now.get(key)} now"
        for key in sorted({*now, *then})
        if now.get(key) != then.get(key)
    ]
    if differs:
        raise WorkshopError(
            f"The study {study.study_name!r} was begun with another configuration:"
            f"{''.join(differs)}\nIts trials could not be compared. Give the new question its own "
            "name: study=NAME"
        )


def conclude(config: DictConfig, status: str = "FINISHED") -> None:
    """Log the study's pictures and table to the parent run, and say how to train its best trial.

    status : how the parent run ends
    """
    import mlflow
    from mlflow import MlflowClient

    study = optuna.load_study(study_name=config.study, storage=instantiate(config.storage))
    found, parent = study.get_trials(deepcopy=False), study.user_attrs[PARENT]
    counts = {
        state: sum(trial.state == state for trial in found)
        for state in (*FINISHED, TrialState.FAIL)
    }
    client = MlflowClient()
    for state, count in counts.items():
        client.log_metric(parent, f"trials_{state.name.lower()}", count)
    print(
        f"\nStudy {study.study_name}: {counts[TrialState.COMPLETE]} trials finished, "
        f"{counts[TrialState.PRUNED]} pruned, {counts[TrialState.FAIL]} failed or interrupted"
    )
    if counts[TrialState.COMPLETE]:
        best = study.best_trial
        client.log_metric(parent, "best_val_accuracy", best.value, step=best.number)
        client.set_tag(parent, "best_trial", best.user_attrs[RUN])
        print(f"Best: trial {best.number}, val accuracy {best.value:.4f}")
        print(f"To train it: {command_for('train.py', *best.user_attrs[OVERRIDES])}")
    mlflow.log_text(study.trials_dataframe().to_csv(index=False), "study/trials.csv", run_id=parent)
    for name, figure in pictures(study).items():
        whole = {"bbox_inches": "tight"}  # long names stand outside of the axes
        client.log_figure(parent, figure, f"study/{name}.png", save_kwargs=whole)
    missing = config.trials - sum(counts[state] for state in FINISHED)
    if missing > 0:
        print(f"{missing} of {config.trials} trials are missing: the same command goes on.")
    client.set_terminated(parent, status)
    _holding.close()
    print(f"Pictures: {see_all()}, the run {parent}, Artifacts, study/")


def pictures(study: optuna.Study) -> dict:
    """Draw the study with Optuna's own plots: a matplotlib figure by name, where it has enough."""
    import matplotlib.pyplot as plt
    import numpy as np
    from optuna.visualization import matplotlib as plots

    plt.switch_backend("agg")  # draws into files and needs no screen
    kinds = {
        "history": plots.plot_optimization_history,
        "importances": plots.plot_param_importances,
        "parallel_coordinates": plots.plot_parallel_coordinate,
        "slice": plots.plot_slice,
    }
    drawn = {}
    for name, plot in kinds.items():
        with _experiments_allowed(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                figure = np.ravel(plot(study, target_name="validation accuracy"))[0].figure
            except (ValueError, RuntimeError) as error:  # of too few trials, or all alike
                log.info("No picture %s of the study: %s", name, error)
                continue
        figure.set_size_inches(max(12, figure.get_size_inches()[0]), 5)
        drawn[name] = figure
    plt.close("all")
    return drawn
