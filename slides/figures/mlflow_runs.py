"""The list of runs in MLflow: the sweep of part 1 on the digits, sorted by validation accuracy."""

import json

from runs import part1_sweep
from screens import browser, keep, server

MADE_OF = (
    "slides/figures/runs.py",
    "slides/figures/screens.py",
    "solutions/part1_logistic_regression/train.py",
    "solutions/part1_logistic_regression/conf/preprocessing/whitened.yaml",
)

COLUMNS = ("params.`model.C`", "metrics.`train_accuracy`", "metrics.`val_accuracy`")
STATE = {
    "searchFilter": "", "orderByKey": "metrics.`val_accuracy`", "orderByAsc": False,
    "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [],
    "modelVersionFilter": "All Runs", "selectedColumns": COLUMNS,
}  # fmt: skip
# The time of creation is left out: the last row reads what remains.
NARROW = """
document.head.insertAdjacentHTML('beforeend', `<style>
  [col-id="runDateAndNestInfo"] {display: none !important}
  .ag-pinned-left-header, .ag-pinned-left-cols-container, .ag-pinned-left-sticky-top {
    width: 263px !important; min-width: 263px !important; max-width: 263px !important}
</style>`);
"""


def draw() -> None:  # for all languages: MLflow speaks English
    experiment = part1_sweep()[0].info.experiment_id
    # The columns are chosen as a person's clicks leave them: in the browser's own store.
    key = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment}"]-ReactComponentState'
    with server() as address, browser() as page:
        page.size(1050, 640)
        page.open(address)
        page.run("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        page.run(f"localStorage.setItem({key!r}, {json.dumps(json.dumps(STATE))})")
        runs = f"#/experiments/{experiment}/runs?workflowType=machine_learning"
        page.open(f"{address}/?fresh=1{runs}")
        top = page.run("document.querySelector('.ag-root-wrapper').getBoundingClientRect().top")
        page.run(NARROW)
        keep(page, "mlflow_runs", 290, int(top) + 32, 576, 196)
