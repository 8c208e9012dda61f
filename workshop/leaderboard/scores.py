"""Who scores which submission, what was found, and which submission is whose best."""

import json
import math
from dataclasses import fields

import sqlalchemy as sa

from workshop.leaderboard.live_log import chunks
from workshop.leaderboard.records import Job, Rejected, Score, Submission
from workshop.leaderboard.store import Store, next_revision, read_submission
from workshop.leaderboard.tables import participants, submissions

ATTEMPTS = 3
RETRY_MS = 5_000  # before a job that was given back is claimed again
CLOCKS_DIFFER_MS = 1_000  # between two machines, or after a small step backwards


class Scores(Store):
    """The operations of the scorer, and those of the instructor that change a score or rank."""

    def claim(self, owner: str, lease_ms: int) -> Job | None:
        """Take the next submission that waits, or whose scorer went silent; None if none does."""
        table = submissions.c
        while True:
            with self._reading() as connection:
                if connection.execute(_due(self.now(), lease_ms)).first() is None:
                    return None
            with self._writing() as connection:
                revision = next_revision(connection)
                # The time is looked up when it is our turn: an older one would find the lease that
                # another has just got too far in the future.
                now = self.now()
                query = _due(now, lease_ms).with_for_update(of=submissions, skip_locked=True)
                row = connection.execute(query).first()
                if row is None:
                    connection.rollback()
                    return None
                if row.attempts >= ATTEMPTS:
                    reason = "The scorer died three times on this model."
                    self._end(connection, row.id, revision, state="refused", reason=reason)
                    continue
                connection.execute(
                    submissions.update()
                    .where(table.id == row.id)
                    .values(
                        state="scoring",
                        attempts=row.attempts + 1,
                        lease_until=now + lease_ms,
                        lease_owner=owner,
                        revision=revision,
                    )
                )
            return Job(row.id, row.model_sha256, row.attempts + 1, json.loads(row.record))

    def renew(self, job_id: int, owner: str, lease_ms: int) -> bool:
        """Prolong a lease; False if it was lost meanwhile."""
        with self._writing() as connection:
            changed = connection.execute(
                submissions.update()
                .where(*_held(job_id, owner))
                .values(lease_until=self.now() + lease_ms)
            )
            return changed.rowcount == 1

    def finish(self, job_id: int, owner: str, score: Score) -> bool:
        """Record a score; False, and nothing recorded, if the lease was lost meanwhile."""
        values = {item.name: getattr(score, item.name) for item in fields(Score)}
        return self._finish(job_id, owner, state="scored", reason=None, **values)

    def refuse(self, job_id: int, owner: str, reason: str) -> bool:
        """Record that a model cannot be scored, by its own fault: it counts towards the quota."""
        return self._finish(job_id, owner, state="refused", reason=reason)

    def give_back(self, job_id: int, owner: str, reason: str) -> bool:
        """Queue a submission again that could not be scored by our fault, after a pause."""
        with self._writing() as connection:
            revision = next_revision(connection)
            changed = connection.execute(
                submissions.update()
                .where(*_held(job_id, owner))
                .values(
                    state="queued",
                    attempts=sa.case(
                        (submissions.c.attempts > 0, submissions.c.attempts - 1), else_=0
                    ),
                    lease_until=self.now() + RETRY_MS,
                    lease_owner=None,
                    reason=reason,
                    revision=revision,
                )
            )
            return changed.rowcount == 1

    def change_submission(self, id: int, **values: object) -> Submission:
        """Set columns of a submission and find the participant's best anew.

        Raises
        ------
        Rejected
            There is no such submission.
        """
        with self._writing() as connection:
            revision = next_revision(connection)
            if read_submission(connection, submissions.c.id == id) is None:
                raise Rejected(
                    404, f"There is no submission {id}. See: workshop admin participants"
                )
            self._end(connection, id, revision, ended=False, **values)
            return read_submission(connection, submissions.c.id == id)

    def rescore(self, id: int | None = None) -> int:
        """Queue one submission again, or all but the refused; return how many.

        Until the new score is there the entry has none.
        """
        which = submissions.c.id == id
        if id is None:  # with those whose scorer is at work: it may follow the old rule
            which = submissions.c.state.in_(("scored", "scoring"))
        cleared = dict.fromkeys(
            [item.name for item in fields(Score)] + ["scored_at", "reason", "lease_until"]
        )
        with self._writing() as connection:
            revision = next_revision(connection)
            changed = connection.execute(
                submissions.update()
                .where(which)
                .values(
                    **cleared,
                    state="queued",
                    attempts=0,
                    lease_owner=None,
                    personal_best=False,
                    mirrored=False,
                    revision=revision,
                )
                .returning(submissions.c.participant_id)
            )
            owners = changed.scalars().all()
            for participant_id in set(owners):
                _find_best(connection, participant_id, revision)
        return len(owners)

    def _finish(self, job_id: int, owner: str, **values: object) -> bool:
        with self._writing() as connection:
            revision = next_revision(connection)
            held = sa.select(submissions.c.id).where(*_held(job_id, owner))
            if connection.execute(held).first() is None:
                connection.rollback()
                return False
            self._end(connection, job_id, revision, **values)
            return True

    def _end(
        self,
        connection: sa.Connection,
        id: int,
        revision: int,
        ended: bool = True,
        **values: object,
    ) -> None:
        """Set columns of a submission, end its lease, find the participant's best anew."""
        if ended:
            values |= {"scored_at": self.now(), "lease_until": None, "lease_owner": None}
        participant_id = connection.execute(
            submissions.update()
            .where(submissions.c.id == id)
            .values(mirrored=False, revision=revision, **values)
            .returning(submissions.c.participant_id)
        ).scalar_one()
        _find_best(connection, participant_id, revision)


def _held(job_id: int, owner: str) -> tuple[sa.ColumnElement, ...]:
    table = submissions.c
    return table.id == job_id, table.state == "scoring", table.lease_owner == owner


def _due(now: int, lease_ms: int) -> sa.Select:
    """Select the first submission in turn that waits or whose lease has run out.

    A lease that ends later than any that could be given now is from before the clock jumped back.
    """
    table = submissions.c
    until = table.lease_until
    pause, lease = RETRY_MS + CLOCKS_DIFFER_MS, lease_ms + CLOCKS_DIFFER_MS
    waits = (table.state == "queued") & (until.is_(None) | (until <= now) | (until > now + pause))
    is_lost = (table.state == "scoring") & (
        until.is_(None) | (until <= now) | (until > now + lease)
    )
    turns = in_turn()
    query = sa.select(table.id, table.model_sha256, table.attempts, table.record)
    query = query.join(turns, turns.c.id == table.id).where(waits | is_lost)
    return query.order_by(turns.c.turn, table.id).limit(1)


def in_turn() -> sa.Subquery:
    """Select what is to be scored with its turn: everybody's first comes before anyone's second."""
    table = submissions.c
    turn = sa.func.row_number().over(partition_by=table.participant_id, order_by=table.id)
    waiting = sa.select(table.id, turn.label("turn")).where(table.state.in_(("queued", "scoring")))
    return waiting.subquery()


def _find_best(connection: sa.Connection, participant_id: int, revision: int) -> None:
    """Set a participant's best submission and the marks of all their personal bests."""
    table = submissions.c
    query = sa.select(
        table.id, table.score, table.personal_best, table.disqualified, table.suspect
    ).where(table.participant_id == participant_id, table.state == "scored")
    best, best_score, unranked = None, -math.inf, None
    marks: dict[bool, list[int]] = {True: [], False: []}
    for row in connection.execute(query.order_by(table.id)):
        ranked = row.disqualified is None and row.suspect is None
        is_best = ranked and row.score > best_score
        if is_best:
            best, best_score = row.id, row.score
        if not ranked:
            unranked = row.id
        if is_best != row.personal_best:
            marks[is_best].append(row.id)
    for mark, ids in marks.items():
        for some in chunks(ids, 500):
            connection.execute(
                submissions.update().where(table.id.in_(some)).values(personal_best=mark)
            )
    connection.execute(
        participants.update()
        .where(participants.c.id == participant_id)
        .values(best_submission_id=best, unranked_submission_id=unranked, revision=revision)
    )
    # What left the state scored is nobody's best.
    connection.execute(
        submissions.update()
        .where(
            table.participant_id == participant_id,
            table.state != "scored",
            table.personal_best.is_(sa.true()),
        )
        .values(personal_best=False)
    )
