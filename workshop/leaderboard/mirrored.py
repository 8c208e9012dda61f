"""What of the leaderboard MLflow has and has not yet."""

import json
from collections.abc import Iterable

import sqlalchemy as sa

from workshop.leaderboard.records import LiveToMirror, Submission, SubmissionToMirror, Unmirrored
from workshop.leaderboard.store import (
    SUBMISSION,
    Store,
    next_revision,
    read_points,
    read_submission,
)
from workshop.leaderboard.tables import live_runs, participants, removed_runs, submissions


class Mirrored(Store):
    """The operations of the mirror."""

    def unmirrored(
        self, limit: int = 100, points: int = 5_000, sent_limit: int | None = None
    ) -> Unmirrored:
        """Return at most `limit` live runs and submissions that MLflow lacks, oldest first.

        points : the most per live run; the rest comes at the next call
        sent_limit : the most submissions, if it is not `limit`
        """
        table = live_runs.c
        behind = sa.or_(
            table.mirrored_position < table.position,
            table.mirrored_status.is_distinct_from(table.status),
        )
        query = sa.select(live_runs, participants.c.name.label("participant"))
        query = query.join(participants, participants.c.id == table.participant_id)
        query = query.where(behind).order_by(table.id).limit(limit)
        sent = sa.select(*SUBMISSION, participants.c.name, submissions.c.record)
        sent = sent.join(participants, participants.c.id == submissions.c.participant_id)
        sent = sent.where(submissions.c.mirrored.is_(sa.false()))
        sent = sent.order_by(submissions.c.id).limit(limit if sent_limit is None else sent_limit)
        with self._reading() as connection:
            live = [
                LiveToMirror(
                    id=row.id,
                    participant_id=row.participant_id,
                    participant=row.participant,
                    run_id=row.run_id,
                    name=row.name,
                    status=row.status,
                    mirrored_status=row.mirrored_status,
                    epochs=row.epochs,
                    params=json.loads(row.params),
                    started=row.started,
                    updated=row.updated,
                    position=row.position,
                    mirrored_position=row.mirrored_position,
                    points=read_points(connection, row.id, row.mirrored_position, points)
                    if row.mirrored_position < row.position
                    else [],
                )
                for row in connection.execute(query).all()
            ]
            rows = connection.execute(sent).all()
        found = [
            SubmissionToMirror(row[-2], Submission(*row[:-2]), json.loads(row[-1])) for row in rows
        ]
        return Unmirrored(live, found)

    def mark_live_mirrored(self, live_run_id: int, position: int, status: str | None) -> None:
        """Remember that MLflow has the first `position` points and the status of a live run."""
        self.mark_many_live_mirrored([(live_run_id, position, status)])

    def mark_many_live_mirrored(self, marks: Iterable[tuple[int, int, str | None]]) -> None:
        """Remember it of many live runs in one transaction: (number, position, status) each."""
        # By number, as the live log writes them, too.
        rows = [
            {"run": id, "up_to": position, "ended": status}
            for id, position, status in sorted(marks)
        ]
        change = live_runs.update().where(live_runs.c.id == sa.bindparam("run"))
        change = change.values(
            mirrored_position=sa.bindparam("up_to"), mirrored_status=sa.bindparam("ended")
        )
        if rows:
            with self._writing() as connection:
                connection.execute(change, rows)

    def mark_submission_mirrored(
        self, submission_id: int, revision: int, experiment: str, run: str
    ) -> bool:
        """Remember that MLflow has a submission as it was at `revision`, and where.

        False if it has changed since: it is to be mirrored again.
        """
        where = submissions.c.id == submission_id
        with self._writing() as connection:
            found = read_submission(connection, where)
            if found is None:
                return False
            link = {"mlflow_experiment": experiment, "mlflow_run": run}
            if (found.mlflow_experiment, found.mlflow_run) != (experiment, run):
                shown = next_revision(connection)
                connection.execute(submissions.update().where(where).values(**link))
                connection.execute(
                    participants.update()
                    .where(participants.c.id == found.participant_id)
                    .values(revision=shown)
                )
            same = where & (submissions.c.revision == revision)
            return (
                connection.execute(submissions.update().where(same).values(mirrored=True)).rowcount
                == 1
            )

    def removed(self, kind: str) -> list[tuple[int, str]]:
        """Return (participant, key) of runs that MLflow shall no longer have."""
        query = sa.select(removed_runs.c.participant_id, removed_runs.c.key)
        with self._reading() as connection:
            found = connection.execute(query.where(removed_runs.c.kind == kind).limit(500))
            return [tuple(row) for row in found]

    def forget_removed(self, kind: str, whose: tuple[int, str]) -> None:
        """Remember that MLflow no longer has a run."""
        table = removed_runs.c
        where = (table.kind == kind, table.participant_id == whose[0], table.key == whose[1])
        with self._writing() as connection:
            connection.execute(removed_runs.delete().where(*where))

    def forget_mirrored(self) -> None:
        """Let everything be mirrored again, into an MLflow database that is new."""
        with self._writing() as connection:
            connection.execute(live_runs.update().values(mirrored_position=0, mirrored_status=None))
            connection.execute(submissions.update().values(mirrored=False))
