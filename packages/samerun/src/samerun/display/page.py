"""A run on MLflow's page: its address, and whether the page is there."""

import contextlib
import json
import urllib.request
import webbrowser
from typing import TYPE_CHECKING

from samerun.command.of_mlflow import PORT, see_all
from samerun.errors import RecordError
from samerun.store.tracking import tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

ANSWERS_WITHIN = 3.0  # seconds


def address(run: "Run", port: int = PORT) -> str:
    """Return the address of a run: of its server, or of `mlflow ui` on this machine.

    It opens the half of the page that is called Model training.
    """
    where = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return f"{_base(port)}/{where}?workflowType=machine_learning"


def open_run(run: "Run", port: int = PORT) -> str:
    """Show a run in the browser, where there is one, and return its address.

    Raises
    ------
    RecordError
        No page shows the run: the message says how to start one.
    """
    found = address(run, port)
    known = _asked(f"{_base(port)}/ajax-api/2.0/mlflow/runs/get?run_id={run.info.run_id}")
    if known is None:
        raise RecordError(
            f"No MLflow answers at {_base(port)} yet. Start it in a second terminal, and leave it "
            f"running:\n  {see_all(port)}\nThen the run {run.info.run_name} is at {found}"
        )
    if not known:
        raise RecordError(
            f"What answers at {_base(port)} does not know the run {run.info.run_name}: it is the "
            f"MLflow of another store, or something else. Start one on another port:\n"
            f"  {see_all(port + 1)}\nand open the run with --port {port + 1}"
        )
    with contextlib.suppress(webbrowser.Error):  # there is none, as on a server
        webbrowser.open(found)
    return found


def _base(port: int) -> str:
    uri = tracking_uri()
    return uri.rstrip("/") if uri.startswith("http") else f"http://127.0.0.1:{port}"


def _asked(url: str) -> bool | None:
    """Say whether an address answers with a run; None if nothing answers."""
    try:
        # No proxy: it is this machine, or the server to which runs are recorded.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=ANSWERS_WITHIN) as answer:
            return "run" in json.loads(answer.read())
    except urllib.error.HTTPError:
        return False
    except ValueError:
        return False
    except OSError:
        return None
