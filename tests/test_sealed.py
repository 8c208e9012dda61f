"""The test set is opened once, in every part: by evaluate.py, never where models are compared."""

import copy
import logging
import pickle

import mlflow
import numpy as np
import pytest
from commands import ROOT
from record_fixtures import FakeDataset

from samerun.run import start_run
from samerun.store.tracking import use_store
from workshop.data import load_dataset, load_training_data, unsealed
from workshop.drive import Crash, Driver
from workshop.errors import WorkshopError
from workshop.sealed import open_test_set, warn_of_many_looks

SOLUTIONS = ROOT / "solutions"
SMALL = ("data=digits", "training.epochs=1")
SWEEPS = {  # that of part 1 is looked at in test_part1.py
    "part2": ("part2_mlp_cnn", "train.py", "-m", *SMALL, "model.hidden=[4]", "seed=0,1"),
    "part3": ("part3_competition", "train.py", "-m", *SMALL, "seed=0,1"),
    "search": ("part3_competition", "tune.py", *SMALL, "trials=2", "pruner=none"),
}


def runs():
    use_store()  # the one that the environment names
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


@pytest.mark.slow
@pytest.mark.parametrize("which", SWEEPS)
def test_no_run_of_a_sweep_holds_a_metric_of_the_test_set(which, mlflow_store, tmp_path):
    part, script, *asked = SWEEPS[which]
    where = [f"hydra.sweep.dir={tmp_path / 'sweep'}", f"hydra.run.dir={tmp_path / 'run'}"]
    where += [f"storage.path={tmp_path / 'study.journal'}"] if which == "search" else []
    Driver(SOLUTIONS / part).command(script, *asked, *where, own_store=False)
    metrics = [recorded.data.metrics for recorded in runs()]
    assert sum("val_accuracy" in names for names in metrics) == 2
    assert not [name for names in metrics for name in names if "test" in name]


@pytest.mark.parametrize("data", ["digits", "fashion_mnist"])
@pytest.mark.parametrize("part", ["part2_mlp_cnn", "part3_competition"])
def test_no_part_is_configured_to_see_the_test_set_in_training(part, data):
    cfg = Driver(SOLUTIONS / part).compose(f"data={data}")
    assert cfg.data._target_ == "workshop.data.load_training_data"


@pytest.mark.parametrize("part", ["part1_logistic_regression", "part2_mlp_cnn"])
def test_to_look_at_the_test_set_in_training_is_one_message(part):
    driver = Driver(SOLUTIONS / part)
    until = {"part1_logistic_regression": "taking_images", "part2_mlp_cnn": "to_tensors"}[part]
    looked = []

    def look(*_):
        looked.append(driver)
        return load_training_data("digits").test.images

    with pytest.raises(Crash, match=r"test set is sealed.*asked for its images.*evaluate\.py"):
        driver.run("train.py", "data=digits", replaced={until: look})
    assert looked


# ---------------------------------------------------------------------------- what is sealed


@pytest.mark.parametrize("look", [len, lambda test: test.images, lambda test: test.labels])
def test_every_look_at_a_sealed_test_set_is_refused(look):
    with pytest.raises(WorkshopError, match="The test set is sealed here"):
        look(load_training_data("digits").test)


def test_a_sealed_data_set_can_be_copied_and_sent_to_another_process():
    sealed = load_training_data("digits")
    for copied in (copy.deepcopy(sealed), pickle.loads(pickle.dumps(sealed))):
        with pytest.raises(WorkshopError, match="The test set is sealed here"):
            len(copied.test)
        assert len(unsealed(copied).test) == 300


def test_what_is_unsealed_is_the_test_set_and_nothing_else_changes():
    sealed, whole = load_training_data("digits"), load_dataset("digits")
    opened = unsealed(sealed)
    assert np.array_equal(opened.test.images, whole.test.images)
    assert np.array_equal(opened.test.labels, whole.test.labels)
    assert opened.train is sealed.train and opened.digest == sealed.digest == whole.digest
    assert unsealed(whole).test is whole.test
    with pytest.raises(WorkshopError):
        len(sealed.test)


# --------------------------------------------------------------------------- who may open it


def finished(dataset, accuracy=None, **options):
    with start_run({"experiment": "looks"}, dataset, **options) as run:
        if accuracy is not None:
            mlflow.log_metric("test_accuracy", accuracy)
    return mlflow.get_run(run.info.run_id)


def test_a_trial_of_a_search_is_not_evaluated(mlflow_store):
    dataset = load_training_data("digits")
    parent = finished(dataset)
    assert len(open_test_set(parent, dataset).test) == 300
    trial = finished(dataset, parent=parent.info.run_id)
    with pytest.raises(WorkshopError, match="is a trial of a search"):
        open_test_set(trial, dataset)


def test_other_data_than_that_of_the_run_are_refused(mlflow_store):
    other = finished(FakeDataset(digest="f" * 32))
    with pytest.raises(WorkshopError, match=r"with the digest f{32}, but the data here has"):
        open_test_set(other, load_training_data("digits"))


def test_the_models_that_have_seen_one_test_set_are_counted(mlflow_store, caplog):
    first, other = FakeDataset(digest="1" * 32), FakeDataset(digest="2" * 32)
    run = finished(first, 0.5)
    finished(first)  # was never evaluated
    finished(other, 0.5)  # of other data
    with caplog.at_level(logging.WARNING):
        warn_of_many_looks(run)
    assert "have seen the test set" not in caplog.text
    finished(first, 0.0)
    with caplog.at_level(logging.WARNING):
        warn_of_many_looks(run)
    assert "2 models of this experiment have seen the test set" in caplog.text
