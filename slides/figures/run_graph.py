"""A run of part 1 as `workshop trace RUN_ID --graph` draws it: from its data to its metrics."""

from runs import part1_sweep
from style import FOLDER

MADE_OF = (
    "slides/figures/runs.py",
    "packages/samerun/src/samerun/display/graph.py",
    "solutions/part1_logistic_regression/train.py",
    "solutions/part1_logistic_regression/conf/sweep/regularisation.yaml",
)


def draw() -> None:  # for all languages: the words are those of the command
    from samerun.display import graph

    best = max(part1_sweep(), key=lambda run: run.data.metrics["val_accuracy"])
    graph.write(best.info.run_id, FOLDER / "run_graph.svg")
