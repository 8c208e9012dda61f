"""The plain way to write part 1: scikit-learn's defaults on raw pixels, until 500 iterations.

uv run benchmarks/plain_logistic_regression.py
uv run benchmarks/plain_logistic_regression.py record    and log to MLflow, with its defaults
"""

import sys

from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

from workshop.data import load_dataset

dataset = load_dataset("fashion_mnist")
splits = (dataset.train, dataset.val, dataset.test)
rows = [split.images.reshape(len(split), -1) / 255 for split in splits]
model = LogisticRegression(max_iter=500)
model.fit(rows[0], dataset.train.labels)
predicted = [model.predict(x) for x in rows]
accuracies = [accuracy_score(s.labels, p) for s, p in zip(splits, predicted, strict=True)]
print(f"val accuracy {accuracies[1]:.4f}")

if "record" in sys.argv:
    import mlflow

    with mlflow.start_run():
        mlflow.log_params(model.get_params())
        for name, accuracy, split, p in zip(
            ("train", "val", "test"), accuracies, splits, predicted, strict=True
        ):
            scores = {"accuracy": accuracy, "f1": f1_score(split.labels, p, average="macro")}
            mlflow.log_metrics({f"{name}_{metric}": value for metric, value in scores.items()})
        mlflow.sklearn.log_model(model, name="model", input_example=rows[0][:5])
