"""A competition from its first minute to its last, by the commands that people type."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, run
from test_leaderboard_page import browser, names, wait_for_names  # noqa: F401  a fixture
from test_leaderboard_serve import Served

PART1 = ROOT / "solutions" / "part1_logistic_regression"
PART3 = ROOT / "solutions" / "part3_competition"


class Participant:
    """A laptop with a run store and a configuration folder of its own."""

    def __init__(self, name: str, folder: Path, store_template: Path) -> None:
        self.name, self.folder = name, folder
        folder.mkdir()
        shutil.copy(store_template, folder / "mlflow.db")
        self.variables = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{(folder / 'mlflow.db').as_posix()}",
            "WORKSHOP_CONFIG_DIR": str(folder / "config"),
        }

    def script(self, path: Path, *arguments: str) -> str:
        done = run(path, *arguments, cwd=self.folder, **self.variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def workshop(self, *arguments: str) -> str:
        return self.script(ROOT / "workshop" / "cli.py", *arguments)

    def join(self, served: Served) -> None:
        self.workshop("join", f"{served.code}@127.0.0.1:{served.port}", "--name", self.name)


@pytest.mark.slow
def test_a_competition_from_joining_to_the_recomputation(browser, store_template, tmp_path):  # noqa: F811
    folder = tmp_path / "leaderboard"
    served = Served(folder)
    try:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{served.port}/")
        page.locator("#no-entries").wait_for()

        grace = Participant("Grace Hopper", tmp_path / "grace", store_template)
        grace.join(served)
        grace.script(PART1 / "train.py", "data=digits")
        sent = ("run_id=latest", "experiment=part1-logistic-regression")
        assert "rank   1 of 1" in grace.script(PART3 / "submit.py", *sent)
        wait_for_names(page, "Grace Hopper")

        ada = Participant("Ada Lovelace", tmp_path / "ada", store_template)
        ada.join(served)
        ada.script(PART3 / "train.py", "data=digits", "tracking=shared", "training.epochs=4")
        page.locator("#run-list li", has_text="Ada Lovelace").wait_for()
        assert "rank   1 of 2" in ada.script(PART3 / "submit.py", "run_id=best")
        wait_for_names(page, "Ada Lovelace", "Grace Hopper")  # without a reload

        shown = page.locator("#rows tr", has_text="Grace Hopper").locator("a[href^='/mlflow/']")
        mlflow = browser.new_page()
        mlflow.set_default_timeout(60_000)
        mlflow.goto(f"http://127.0.0.1:{served.port}{shown.get_attribute('href')}")
        mlflow.get_by_text("Grace Hopper").first.wait_for()
        mlflow.get_by_text("score_low").first.wait_for()
        mlflow.close()

        port = served.port
        assert served.stop() in (0, 130)
        page.locator("#connection[data-state=live]").wait_for(state="detached")
        served.close()
        served = Served(folder, port=port)
        page.locator("#connection[data-state=live]").wait_for()
        assert names(page) == ["Ada Lovelace", "Grace Hopper"]
        assert "rank   1 of 2" in ada.script(PART3 / "submit.py", "run_id=best")  # nothing new

        admin = ("admin", "--folder", str(folder))
        ada.workshop(*admin, "close")
        ada.workshop(*admin, "export", str(tmp_path / "results"))
        page.get_by_text("closed", exact=True).wait_for()
    finally:
        served.close()
    recompute = [sys.executable, "-m", "workshop.cli", "recompute", str(tmp_path / "results")]
    done = subprocess.run(recompute, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
