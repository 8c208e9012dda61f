"""Part 3: open the test set for a final model, once, and add the result to its record.

uv run part3_competition/evaluate.py run_id=latest
uv run part3_competition/evaluate.py run_id=best
"""

import logging

import hydra
import mlflow
from engine import PRECISIONS, predict
from mlflow.entities import Run
from omegaconf import DictConfig
from sklearn.metrics import f1_score
from trained import NEEDS, load_trained

from samerun import choose_run
from samerun.compare.intervals import wilson_interval
from samerun.compare.predictions import as_csv
from samerun.run import record_addition
from workshop.errors import plain_errors
from workshop.sealed import open_test_set, warn_of_many_looks

from data import to_tensors

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
@plain_errors
def main(cfg: DictConfig) -> None:
    run = choose_run(cfg.run_id, cfg.experiment, "best_val_accuracy", NEEDS)
    run_id, metrics = run.info.run_id, run.data.metrics
    if "test_accuracy" in metrics:
        log.info("The run %s has seen the test set already: nothing is computed again.", run_id)
    else:
        metrics = score(run, cfg)
        record_addition(run, cfg)  # whoever repeats the run will evaluate it, too
        # The run has ended and shall not be opened again: this names it instead.
        mlflow.log_metrics(metrics, run_id=run_id, timestamp=run.info.end_time)
    values = [metrics[f"test_accuracy{end}"] for end in ("", "_low", "_high")]
    log.info("test accuracy %.4f  (95 %% interval %.4f to %.4f)", *values)

    warn_of_many_looks(run)


def score(run: Run, cfg: DictConfig) -> dict[str, float]:
    """Return the metrics of a run's best weights on the test set; the run keeps the answers."""
    trained, model, dataset, device = load_trained(run, cfg.device, cfg)
    dataset = open_test_set(run, dataset)
    images, _ = to_tensors(dataset, dataset.test, device, trained.training.normalise)
    precision = PRECISIONS[trained.training.precision]
    logits = predict(model, images, trained.training.mirror, precision)
    labels, predicted = dataset.test.labels, logits.argmax(dim=1).cpu().numpy()
    # Where two runs kept their answers, `workshop diff` compares them image by image.
    mlflow.log_text(as_csv(labels, predicted), "predictions/test.csv", run_id=run.info.run_id)
    low, high = wilson_interval(int((predicted == labels).sum()), len(labels))
    return {
        "test_accuracy": float((predicted == labels).mean()),
        "test_accuracy_low": low,  # the 95 % interval, as far as the number of images decides it
        "test_accuracy_high": high,
        "test_f1_macro": float(f1_score(labels, predicted, average="macro")),
    }


if __name__ == "__main__":
    main()
