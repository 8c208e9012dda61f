"""A run as its own store has it: its points in the order in which they were logged.

A local store is read with sqlite3 alone, without MLflow, beside the training that writes to it.
"""

import math
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from samerun.secrets.masking import masked, masked_text
from samerun.store.tracking import local_store
from workshop.errors import WorkshopError

if TYPE_CHECKING:
    from mlflow.entities import Run

LARGEST = 1.7976931348623157e308  # what MLflow's databases hold in place of infinity
STATUS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}  # else: running
SETTLED = 50  # ms after which no other point of the same time is expected from a remote store


class Gone(WorkshopError):
    """The store or the run is no longer there."""


@dataclass(frozen=True)
class About:
    """`status` is running, finished, failed or killed; `started` in ms."""

    id: str
    name: str
    started: int
    status: str
    params: dict[str, str]

    @property
    def epochs(self) -> int | None:
        epochs = self.params.get("training.epochs", "")
        return int(epochs) if epochs.isdecimal() else None


class RunLog(Protocol):
    def about(self) -> About:
        """Return what the run is at this moment; raises Gone."""

    def points(self, position: int, most: int) -> list[dict]:
        """Return the points from this position on, at most so many."""

    def close(self) -> None: ...


def open_log(store: str, run_id: str) -> RunLog:
    """Open the log of a run for reading. `store` is an address as MLflow takes it."""
    file = local_store(store)
    return SqliteLog(file, run_id) if file else RemoteLog(store, run_id)


def point(metric: str, step: int, time: int, value: float, is_nan: bool = False) -> dict:
    """Return a point of a metric as it travels; `time` in ms."""
    shown = "NaN" if is_nan else as_json(value)
    return {"metric": metric, "step": step, "time": time, "value": shown}


def as_json(value: float) -> float | str:
    """Return a value as JSON can hold it: NaN and the infinities become text."""
    if math.isnan(value):
        return "NaN"
    if abs(value) >= LARGEST:
        return "Infinity" if value > 0 else "-Infinity"
    return value


class SqliteLog:
    """The log of a run in an SQLite store.

    SQLite numbers the rows of `metrics` as they come, so their order is that of the logging, and a
    point's position in it never changes.
    """

    def __init__(self, file: Path, run_id: str):
        self._file, self._run_id = file, run_id
        self._opened: sqlite3.Connection | None = None
        self._read = (0, 0)  # a position, and the number of the row before it

    def about(self) -> About:
        runs = self._select(
            "SELECT name, start_time, status FROM runs WHERE run_uuid = ?", self._run_id
        )
        if not runs:
            raise Gone(f"The run {self._run_id} is not in {self._file}.")
        params = self._select("SELECT key, value FROM params WHERE run_uuid = ?", self._run_id)
        name, started, status = runs[0]
        return _about(self._run_id, name, started, status, dict(params))

    def points(self, position: int, most: int) -> list[dict]:
        at, row = self._read if self._read[0] <= position else (0, 0)
        rows = self._select(
            "SELECT rowid, key, step, timestamp, value, is_nan FROM metrics "
            "WHERE run_uuid = ? AND rowid > ? ORDER BY rowid LIMIT ? OFFSET ?",
            self._run_id, row, most, position - at,
        )  # fmt: skip
        if rows:
            self._read = (position + len(rows), rows[-1][0])
        return [point(*values) for _, *values in rows]

    def _select(self, query: str, *values: object) -> list[tuple]:
        try:
            if self._opened is None:
                if not self._file.exists():
                    raise Gone(f"The run store {self._file} is not there any more.")
                # Not read-only: SQLite takes back what a killed process had half written.
                address = f"{self._file.as_uri()}?mode=rw"
                self._opened = sqlite3.connect(
                    address, uri=True, timeout=5, check_same_thread=False
                )
            return self._opened.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise WorkshopError(
                f"The run store {self._file} cannot be read now: {error}."
            ) from error

    def close(self) -> None:
        if self._opened:
            self._opened.close()
            self._opened = None


class RemoteLog:
    """The log of a run in any other store, through MLflow's client.

    The order is that of the points' times. While the run goes on, the newest ones are held back
    until nothing can come between them.
    """

    def __init__(self, store: str, run_id: str):
        from mlflow import MlflowClient

        self._client, self._run_id = MlflowClient(store), run_id

    def about(self) -> About:
        run = self._run()
        info = run.info
        return _about(info.run_id, info.run_name, info.start_time, info.status, run.data.params)

    def points(self, position: int, most: int) -> list[dict]:
        run = self._run()
        latest = math.inf
        if run.info.status == "RUNNING":
            latest = time.time() * 1000 - SETTLED
        found = [
            m
            for key in run.data.metrics
            for m in self._client.get_metric_history(self._run_id, key)
            if m.timestamp <= latest
        ]
        found.sort(key=lambda m: (m.timestamp, m.step, m.key))
        chosen = found[position : position + most]
        return [point(m.key, m.step, m.timestamp, m.value) for m in chosen]

    def _run(self) -> "Run":
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(self._run_id)
        except MlflowException as error:
            kind = Gone if error.error_code == "RESOURCE_DOES_NOT_EXIST" else WorkshopError
            raise kind(f"The run {self._run_id} cannot be read: {error.message}") from None

    def close(self) -> None:
        pass


def _about(id: str, name: str, started: int, status: str, params: dict[str, str]) -> About:
    return About(
        id,
        masked_text(name or "") or id[:8],
        started or 0,
        STATUS.get(status, "running"),
        {key: str(masked(value, key)) for key, value in params.items()},
    )
