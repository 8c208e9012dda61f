"""The append-only logs of runs in progress, many written in one transaction."""

import json
import math
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from workshop.leaderboard.records import HOUR_MS, MINUTE_MS, LiveBatch, Rejected, as_json
from workshop.leaderboard.tables import live_points, live_runs

MOST_METRICS = 100  # names per run
MOST_POINTS = 1_000_000  # per run
MOST_RUNS = 60  # per participant and hour


class LiveLog:
    """Batches of one transaction, gathered in memory and written at once."""

    def __init__(
        self,
        connection: sa.Connection,
        batches: Sequence[tuple[int, LiveBatch]],
        now: int,
        revision: int,
    ) -> None:
        self.connection, self.now, self.revision = connection, now, revision
        self.runs: dict[tuple[int, str], dict] = {}
        self.changed: dict[int, dict] = {}
        self.points: list[dict] = []
        table = live_runs.c
        query = sa.select(
            table.id, table.participant_id, table.run_id, table.status, table.position,
            table.step, table.latest,
        )  # fmt: skip
        # By run alone: for pairs SQLite reads the whole index.
        wanted = {(participant_id, batch.run_id) for participant_id, batch in batches}
        for some in chunks(sorted({run_id for _, run_id in wanted}), 500):
            for row in connection.execute(query.where(table.run_id.in_(some))):
                if (row.participant_id, row.run_id) in wanted:
                    self.runs[row.participant_id, row.run_id] = dict(row._mapping)

    def append(self, participant_id: int, batch: LiveBatch) -> int | Rejected:
        """Take a batch; return the position after it."""
        run = self.runs.get((participant_id, batch.run_id))
        have = run["position"] if run else 0
        if batch.position > have:
            return Rejected(
                409,
                f"The batch begins at point {batch.position}, but the server has {have}. Send the "
                "points from there on.",
                position=have,
            )
        new = list(batch.points[have - batch.position :])
        if have + len(new) > MOST_POINTS:
            return Rejected(422, f"A run can have {MOST_POINTS} points at most. Log less often.")
        latest = json.loads(run["latest"]) if run else {}
        latest |= {point.metric: as_json(point.value) for point in new}
        if len(latest) > MOST_METRICS:
            return Rejected(422, f"A run can have {MOST_METRICS} metrics at most. Log fewer names.")
        if run is None:
            run = self._start(participant_id, batch)
            if isinstance(run, Rejected):
                return run
        # A repeated old batch must not bring an ended run back.
        if new or run["status"] == "running":
            run["status"] = batch.status
        run["latest"] = json.dumps(latest)
        run["position"] = have + len(new)
        steps = [point.step for point in new]
        if steps:
            run["step"] = max(steps) if run["step"] is None else max(run["step"], *steps)
        self.changed[run["id"]] = run
        self.points += [
            {
                "live_run_id": run["id"],
                "position": position,
                "metric": point.metric,
                "step": point.step,
                "time": point.time,
                "value": None if math.isnan(point.value) else point.value,
            }
            for position, point in enumerate(new, have)
        ]
        return run["position"]

    def write(self) -> None:
        """Write all that was taken."""
        if self.points:
            self.connection.execute(live_points.insert(), self.points)
        if self.changed:
            self.connection.execute(
                live_runs.update()
                .where(live_runs.c.id == sa.bindparam("run"))
                .values(
                    status=sa.bindparam("new_status"),
                    position=sa.bindparam("new_position"),
                    step=sa.bindparam("new_step"),
                    latest=sa.bindparam("new_latest"),
                    updated=self.now,
                    revision=self.revision,
                ),
                [
                    {
                        "run": id,
                        "new_status": run["status"],
                        "new_position": run["position"],
                        "new_step": run["step"],
                        "new_latest": run["latest"],
                    }
                    # By number, as the mirror writes them, too: two transactions that lock the same
                    # rows in different orders would wait for each other.
                    for id, run in sorted(self.changed.items())
                ],
            )

    def _start(self, participant_id: int, batch: LiveBatch) -> dict | Rejected:
        recent = (
            sa.select(sa.func.count())
            .select_from(live_runs)
            .where(
                live_runs.c.participant_id == participant_id,
                live_runs.c.created > self.now - HOUR_MS,
                live_runs.c.created <= self.now + MINUTE_MS,
            )
        )
        if self.connection.execute(recent).scalar_one() >= MOST_RUNS:
            return Rejected(
                429,
                f"More than {MOST_RUNS} runs within an hour are not shown live. Training goes on; "
                "the next runs are shown again later.",
            )
        run = {"status": batch.status, "position": 0, "step": None, "latest": "{}"}
        run["id"] = self.connection.execute(
            live_runs.insert()
            .values(
                **run,
                participant_id=participant_id,
                run_id=batch.run_id,
                name=batch.name,
                epochs=batch.epochs,
                params=json.dumps(batch.params),
                started=batch.started,
                created=self.now,
                updated=self.now,
                revision=self.revision,
                mirrored_position=0,
            )
            .returning(live_runs.c.id)
        ).scalar_one()
        self.runs[participant_id, batch.run_id] = run
        return run


def chunks(items: Sequence, size: int) -> Iterator[Sequence]:
    """Yield the items in pieces: a statement takes a limited number of values."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
