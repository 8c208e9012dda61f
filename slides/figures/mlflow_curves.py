"""The curves of one run in MLflow: a CNN of part 2 on the digits."""

import time

from runs import part2_networks
from screens import browser, keep, server

MADE_OF = ("slides/figures/runs.py", "slides/figures/screens.py")

SEARCH = """
const box = document.querySelector('input[placeholder="Search metric charts"]');
const value = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value');
value.set.call(box, '^train_loss|^val_');
box.dispatchEvent(new Event('input', {bubbles: true}));
// Larger than on a desk: the last row reads it, too.
document.head.insertAdjacentHTML('beforeend', `<style>
  .modebar {display: none !important}
  .js-plotly-plot text, h4 {font-size: 15px !important}
</style>`);
for (const one of document.querySelectorAll('body *')) {
  if (getComputedStyle(one).position === 'fixed') one.style.display = 'none';
}
"""


def draw() -> None:  # for all languages: MLflow speaks English
    run = next(r for r in part2_networks() if "CNN" in r.data.params["model._target_"])
    metrics = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics"
    with server() as address, browser() as page:
        page.size(900, 660)
        page.open(address)
        page.run("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        page.open(f"{address}/?fresh=1{metrics}?workflowType=machine_learning")
        page.run(SEARCH)
        time.sleep(5)
        keep(page, "mlflow_curves", 208, 244, 675, 312)  # without the legends
