"""Part 3: search for better settings, by many trainings of which the bad ones end early.

uv run part3_competition/tune.py data=digits
uv run part3_competition/tune.py space=recipe training.epochs=8 study=recipe
uv run part3_competition/tune.py -m "worker=0,1" hydra/launcher=laptop
"""

import logging
from collections.abc import Mapping, Sequence

import hydra
import mlflow
import optuna
from hydra import compose
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna import Study, Trial
from resuming import Interrupted, download_state
from train import experiment

from samerun import RecordError
from samerun.command.repeat import hydra_overrides
from samerun.finite import Diverged
from samerun.secrets.masking import masked_arguments
from workshop.errors import plain_errors
from workshop.study import (
    CONTINUES,
    OVERRIDES,
    PARENT,
    RUN,
    draws,
    search,
    summed_up,
    trial_name,
)
from workshop.study_state import check_state

log = logging.getLogger(__name__)

# What belongs to the search and not to the training of a trial.
SEARCH = ("space", "sampler", "pruner", "storage", "study", "trials", "failures", "worker")


def make_study(cfg: DictConfig) -> Study:
    """Open the study that all workers share, or make it."""
    ##TODO 3.5## Create a study named cfg.study that wants a high value, with the storage, sampler
    ## and pruner of the config; if it exists already, load it. Workers with the same seed would
    ## draw the same trials: instantiate the sampler with seed=cfg.seed + cfg.worker.
    return optuna.create_study(
        study_name=cfg.study,
        storage=instantiate(cfg.storage),
        sampler=instantiate(cfg.sampler, seed=cfg.seed + cfg.worker),
        pruner=instantiate(cfg.pruner),
        direction="maximize",
        load_if_exists=True,
    )
    ##END##


def draw(trial: Trial, space: Mapping[str, Mapping]) -> list[str]:
    """Let a trial choose a value for each entry of a space; return them as Hydra overrides."""
    ##TODO 3.6## For every name in the space, call the method of `trial` that `suggest` names
    ## (float: trial.suggest_float) with the name and the other entries as arguments. Return a list
    ## of strings name=value.
    overrides = []
    for name, how in space.items():
        arguments = dict(how)
        suggest = getattr(trial, f"suggest_{arguments.pop('suggest')}")
        overrides.append(f"{name}={suggest(name, **arguments)}")
    return overrides
    ##END##


def interrupted_run(trial: Trial) -> Interrupted | None:
    """Return the run that an interrupted trial goes on with; None for a trial that begins."""
    run_id = trial.user_attrs.get(CONTINUES)
    if run_id is None:
        return None
    trial.set_user_attr(CONTINUES, None)  # for this once
    run = mlflow.get_run(run_id)
    try:
        interrupted = Interrupted(run, download_state(run))
    except (RecordError, mlflow.MlflowException) as error:
        log.warning("Trial %d begins anew, in a new run: %s", trial.number, error)
        return None
    for point in mlflow.MlflowClient().get_metric_history(run_id, "val_accuracy"):
        if point.step <= interrupted.state["progress"]["epoch"]:
            trial.report(point.value, point.step)
    return interrupted


def objective(trial: Trial, cfg: DictConfig, fixed: Sequence[str], parent: str) -> float:
    """Train once, with what the trial draws, in a run below the study's; return its accuracy.

    Raises
    ------
    optuna.TrialPruned
        The trial was worse than others at the same epoch, or it diverged: it ended early.
    """
    overrides = [*fixed, *draw(trial, draws(cfg.space))]
    trial.set_user_attr(OVERRIDES, masked_arguments(overrides))
    # Composed anew, as on a command line: a trial may choose whole groups, such as another model.
    composed = compose("config", [*overrides, f"experiment={cfg.experiment}"])
    check_state(trial.study, composed)  # files may have been edited since the study began
    pruned = False

    def stop(epoch: int, val_accuracy: float) -> bool:
        nonlocal pruned
        if RUN not in trial.user_attrs:
            trial.set_user_attr(RUN, mlflow.active_run().info.run_id)
        ##TODO 3.7## Report the accuracy of this epoch to the trial, and set `pruned` to whether the
        ## pruner wants the trial to end. If so, set the tag "pruned" of the active run to the
        ## epoch: the run ends well, and whoever looks at it must know that it is a short one.
        trial.report(val_accuracy, epoch)
        pruned = trial.should_prune()
        if pruned:
            mlflow.set_tag("pruned", epoch)
        ##END##
        return pruned

    name = trial_name(trial.number)
    recorded = {"overrides": overrides, "script": "train.py"}  # which repeats this trial alone
    options = {"run_name": name, "parent": parent, **recorded}
    try:
        accuracy = experiment(composed, stop, interrupted=interrupted_run(trial), **options)
    except Diverged as error:  # a bad place, of which the sampler shall know
        log.warning("Trial %d: %s", trial.number, error)
        raise optuna.TrialPruned from error
    if pruned:  # after the run, which would end as failed otherwise
        raise optuna.TrialPruned
    log.info("Trial %d: %.4f with %s", trial.number, accuracy, " ".join(overrides[len(fixed) :]))
    return accuracy


@hydra.main(version_base="1.3", config_path="conf", config_name="tune")
@plain_errors
def main(cfg: DictConfig) -> None:
    names = {override: override.lstrip("+~").split("=")[0] for override in hydra_overrides()}
    fixed = [
        override
        for override, name in names.items()
        if name.partition(".")[0].partition("/")[0] not in (*SEARCH, "experiment")
    ]
    study = make_study(cfg)
    if earlier := len(study.trials):  # a study that goes on shall not draw the same ones again
        study.sampler = instantiate(cfg.sampler, seed=cfg.seed + cfg.worker + 1000 * earlier)
    check_state(study, cfg)  # a worker may begin hours after its study, on another machine
    parent = study.user_attrs[PARENT]
    try:
        search(study, lambda t: objective(t, cfg, fixed, parent), cfg.trials, cfg.failures)
    except KeyboardInterrupt:
        log.warning("Stopped. The same command continues the study %s.", cfg.study)
        raise


if __name__ == "__main__":
    with summed_up():
        main()
