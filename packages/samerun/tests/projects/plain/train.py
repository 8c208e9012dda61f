"""Tell wines apart.

python train.py --strength 0.1
"""

import argparse
import json
from pathlib import Path

import mlflow
import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import samerun  # added


def train(options: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> None:
    parts = train_test_split(x, y, random_state=options.seed, stratify=y)
    x_train, x_test, y_train, y_test = parts
    model = make_pipeline(StandardScaler(), LogisticRegression(C=options.strength))
    model.fit(x_train, y_train)
    scores = {"accuracy": model.score(x_test, y_test)}
    mlflow.log_metrics(scores)

    options.out.mkdir(exist_ok=True)
    np.savez(options.out / "weights.npz", coef=model[-1].coef_, intercept=model[-1].intercept_)
    (options.out / "scores.json").write_text(json.dumps(scores), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs"))
    options = parser.parse_args()
    x, y = load_wine(return_X_y=True)
    data = samerun.dataset("wine", x, y)  # added
    with samerun.start_run(vars(options), data, experiment="wine"):  # added
        train(options, x, y)
