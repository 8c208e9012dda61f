"""What the board shows."""

import json

import sqlalchemy as sa

from workshop.leaderboard.live_log import chunks
from workshop.leaderboard.records import (
    MINUTE_MS,
    BoardState,
    Entry,
    HistoryRecord,
    LiveRun,
    Participant,
    Queue,
    Submission,
)
from workshop.leaderboard.store import PARTICIPANT, SUBMISSION, Store, read_competition
from workshop.leaderboard.tables import live_runs, participants, submissions

LIVE_QUIET_MS = 15 * MINUTE_MS  # after which a run counts as given up
LIVE_ENDED_MS = 2 * MINUTE_MS  # for which an ended run stays on the board
MOST_LIVE = 500
MOST_HISTORY = 10_000


class Shown(Store):
    """The operations of the web workers that follow the board."""

    def board(self) -> BoardState:
        """Return everything that the board shows."""
        return self.changes_since(0)

    def changes_since(self, revision: int) -> BoardState:
        """Return what changed after `revision`, and the competition and the queue as they are."""
        with self._reading() as connection:
            current = read_competition(connection)
            return BoardState(
                revision=current.revision,
                competition=current,
                entries=self._entries(connection, revision),
                live=self._live(connection, revision),
                queue=self._queue(connection),
            )

    def history(self) -> list[HistoryRecord]:
        """Return all personal bests in order of time, the last 10,000 if there are more."""
        table = submissions.c
        query = sa.select(
            table.participant_id, participants.c.name, table.id, table.created, table.score,
            table.test,
        )  # fmt: skip
        query = query.join(participants, participants.c.id == table.participant_id)
        query = query.where(table.personal_best.is_(sa.true()))
        query = query.order_by(table.created.desc(), table.id.desc()).limit(MOST_HISTORY)
        with self._reading() as connection:
            return [HistoryRecord(*row) for row in connection.execute(query)][::-1]

    def _entries(self, connection: sa.Connection, revision: int) -> list[Entry]:
        query = sa.select(*PARTICIPANT).where(participants.c.revision > revision)
        if revision == 0:  # of those who never had a score there is nothing to show
            query = query.where(
                participants.c.best_submission_id.is_not(None)
                | participants.c.unranked_submission_id.is_not(None)
            )
        people = [Participant(*row) for row in connection.execute(query)]
        wanted = {person.best_submission_id for person in people}
        wanted |= {person.unranked_submission_id for person in people}
        found: dict[int | None, Submission] = {}
        for some in chunks(sorted(wanted - {None}), 500):
            query = sa.select(*SUBMISSION).where(submissions.c.id.in_(some))
            found |= {row.id: Submission(*row) for row in connection.execute(query)}
        return [
            Entry(
                person,
                found.get(person.best_submission_id),
                found.get(person.unranked_submission_id),
            )
            for person in people
        ]

    def _live(self, connection: sa.Connection, revision: int) -> list[LiveRun]:
        table, now = live_runs.c, self.now()
        fresh = sa.or_(
            (table.status == "running") & (table.updated > now - LIVE_QUIET_MS),
            table.updated > now - LIVE_ENDED_MS,
        )
        query = sa.select(
            table.id, table.participant_id, participants.c.name.label("participant"),
            table.run_id, table.name, table.status, table.epochs, table.step, table.latest,
            table.started, table.updated, table.revision,
        )  # fmt: skip
        query = query.join(participants, participants.c.id == table.participant_id)
        query = query.where(table.revision > revision, fresh)
        query = query.order_by(table.revision.desc()).limit(MOST_LIVE)
        return [
            LiveRun(**dict(row._mapping) | {"latest": json.loads(row.latest)})
            for row in connection.execute(query)
        ]

    def _queue(self, connection: sa.Connection) -> Queue:
        table, now = submissions.c, self.now()
        waits = sa.select(table.state, sa.func.count(), sa.func.min(table.created))
        waits = waits.where(table.state.in_(("queued", "scoring"))).group_by(table.state)
        by_state = {state: (count, oldest) for state, count, oldest in connection.execute(waits)}
        done = sa.select(sa.func.count()).select_from(submissions)
        done = done.where(table.scored_at > now - MINUTE_MS)
        return Queue(
            waiting=by_state.get("queued", (0, 0))[0],
            scoring=by_state.get("scoring", (0, 0))[0],
            per_minute=connection.execute(done).scalar_one(),
            oldest=min((oldest for _, oldest in by_state.values()), default=None),
        )
