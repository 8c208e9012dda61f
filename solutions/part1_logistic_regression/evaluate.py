"""Part 1: open the test set for the run that you have chosen, and add the result to its record.

uv run part1_logistic_regression/evaluate.py run_id=best
uv run part1_logistic_regression/evaluate.py run_id=latest

Evaluate a run as often as you like: the second time changes nothing.
"""

import logging

import hydra
import mlflow
from mlflow import MlflowClient
from omegaconf import DictConfig
from sklearn.metrics import accuracy_score, f1_score

from samerun import choose_run
from samerun.compare.intervals import wilson_interval
from samerun.compare.predictions import as_csv
from samerun.run import record_addition
from samerun.store.tracking import no_progress_bars
from workshop.data import load_training_data
from workshop.errors import WorkshopError, plain_errors
from workshop.sealed import open_test_set, warn_of_many_looks

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@plain_errors
def main(cfg: DictConfig) -> None:
    run = choose_run(cfg.run_id, cfg.experiment, "val_accuracy")
    run_id = run.info.run_id
    log.info("Evaluating the run %s (%s)", run_id, run.info.run_name)
    if not MlflowClient().list_artifacts(run_id, "model"):
        raise WorkshopError(
            f"The run {run_id} kept no model. Let train.py log one under the name model, and train "
            "again."
        )

    dataset = load_training_data(run.data.tags.get("trace.dataset"))
    test = open_test_set(run, dataset).test
    with no_progress_bars():
        model = mlflow.sklearn.load_model(f"runs:/{run_id}/model")
    predicted = model.predict(test.images)
    low, high = wilson_interval(int((predicted == test.labels).sum()), len(test.labels))
    metrics = {
        "test_accuracy": accuracy_score(test.labels, predicted),
        "test_accuracy_low": low,  # the 95 % interval, as far as the number of images decides it
        "test_accuracy_high": high,
        "test_f1_macro": f1_score(test.labels, predicted, average="macro"),
    }
    record_addition(run, cfg, dataset)  # whoever repeats the run will evaluate it, too
    # The run has ended and shall not be opened again: this names it, and the time of its end.
    mlflow.log_metrics(metrics, run_id=run_id, timestamp=run.info.end_time)
    # Where two runs kept their answers, `workshop diff` compares them image by image.
    mlflow.log_text(as_csv(test.labels, predicted), "predictions/test.csv", run_id=run_id)
    log.info("test accuracy %.4f  (95 %% interval %.4f to %.4f)", *list(metrics.values())[:3])
    warn_of_many_looks(run)


if __name__ == "__main__":
    main()
