"""Every reading and writing of the leaderboard's tables, on SQLite or PostgreSQL.

All changes take the next number of `competition.revision` first. Its row lock puts writers in a
line, so that whoever has seen revision r misses nothing by asking for what is above r.
"""

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from workshop.errors import WorkshopError
from workshop.leaderboard import names
from workshop.leaderboard.live_log import LiveLog, chunks
from workshop.leaderboard.mirrored import Mirrored
from workshop.leaderboard.records import (
    HOUR_MS,
    MINUTE_MS,
    REMOVED,
    Competition,
    LiveBatch,
    LivePoint,
    NewSubmission,
    Participant,
    Quota,
    Rejected,
    Submission,
)
from workshop.leaderboard.scores import Scores, in_turn
from workshop.leaderboard.shown import Shown
from workshop.leaderboard.store import (
    PARTICIPANT,
    next_revision,
    read_competition,
    read_participant,
    read_points,
    read_submission,
)
from workshop.leaderboard.tables import (
    competition,
    live_points,
    live_runs,
    participants,
    removed_runs,
    submissions,
    uploads,
)

MOST_PARTICIPANTS = 5_000
CODE_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U
RULE = (
    "What ranks is the accuracy on hidden images: test images that were shifted, dimmed, made "
    "noisy or partly covered, as a secret seed decides. Models that a paired test (McNemar, 5 %) "
    "on these images cannot tell from the best of a rank share it."
)


class Database(Scores, Mirrored, Shown):
    """All operations on the leaderboard's tables.

    url : as SQLAlchemy takes it, sqlite:///… or postgresql+psycopg://…
    clock : returns milliseconds since 1970
    """

    # The competition

    def start_competition(
        self,
        data: str,
        name: str,
        quota_per_hour: int = 10,
        data_digest: str | None = None,
        references: list[dict] | None = None,
    ) -> Competition:
        """Draw seed and join code, if there is no competition yet; return the one there is."""
        seed = secrets.token_bytes(32)
        row = {
            "id": 1,
            "name": name,
            "data": data,
            "data_digest": data_digest,
            "state": "open",
            "seed": seed.hex(),
            "seed_sha256": hashlib.sha256(seed).hexdigest(),
            "images_sha256": None,
            "join_code": new_join_code(),
            "quota_per_hour": quota_per_hour,
            "created": self.now(),
            "closed_at": None,
            "revision": 1,
            "reference_scores": json.dumps(references or []),
            "rule": RULE,
        }
        try:
            with self._writing() as connection:
                if connection.execute(sa.select(competition.c.id)).first() is None:
                    connection.execute(competition.insert().values(row))
        except IntegrityError:
            pass  # another process was quicker
        return self.competition()

    def competition(self) -> Competition:
        """Return the competition.

        Raises
        ------
        Rejected
            There is none yet.
        """
        with self._reading() as connection:
            return read_competition(connection)

    def revision(self) -> int:
        """Return the number of the last change: one cheap query. 0 without a competition."""
        with self._reading() as connection:
            return connection.execute(sa.select(competition.c.revision)).scalar() or 0

    def update_competition(self, **changes: object) -> Competition:
        """Set columns of the competition, such as images_sha256=…, reference_scores=[…]."""
        if "reference_scores" in changes:
            changes["reference_scores"] = json.dumps(changes["reference_scores"])
        with self._writing() as connection:
            next_revision(connection)
            connection.execute(competition.update().values(**changes))
            return read_competition(connection)

    def set_state(self, state: str) -> Competition:
        """Open, freeze or close the competition.

        Raises
        ------
        Rejected
            It is closed: the seed is public, so that no later score would mean anything.
        """
        if state not in ("open", "frozen", "closed"):
            raise Rejected(422, f"The state {state!r} is not one of open, frozen, closed.")
        with self._writing() as connection:
            next_revision(connection)
            if read_competition(connection).state == "closed" and state != "closed":
                raise Rejected(
                    409,
                    "The competition is closed and its seed published, so it cannot be opened "
                    "again. Start a new one in another folder: uv run workshop serve --folder …",
                )
            closed = self.now() if state == "closed" else None
            connection.execute(competition.update().values(state=state, closed_at=closed))
            return read_competition(connection)

    # Participants

    def join(self, name: str, code: str) -> tuple[Participant, str]:
        """Add a participant; return them and their token, which is stored only as a hash.

        Raises
        ------
        Rejected
            403 wrong code or closed, 409 a name that is taken or looks like one, 422 a bad name.
        """
        name = _checked_name(name)
        self._admit(self.competition(), code)  # before the turn to write is taken
        token = secrets.token_urlsafe(32)
        try:
            with self._writing() as connection:
                self._admit(read_competition(connection, lock=True), code)
                count = sa.select(sa.func.count()).select_from(participants)
                if connection.execute(count).scalar_one() >= MOST_PARTICIPANTS:
                    raise Rejected(
                        403,
                        f"There are already {MOST_PARTICIPANTS} participants. Ask the instructor.",
                    )
                id = connection.execute(
                    participants.insert()
                    .values(
                        name=name,
                        skeleton=names.skeleton(name),
                        token_sha256=_sha256(token),
                        joined=self.now(),
                        submissions=0,
                        revision=next_revision(connection),
                    )
                    .returning(participants.c.id)
                ).scalar_one()
                return read_participant(connection, id), token
        except IntegrityError:
            raise _taken(name) from None

    def participant_of(self, token: str) -> Participant | None:
        """Return whose token it is, None if nobody's."""
        with self._reading() as connection:
            query = sa.select(*PARTICIPANT).where(participants.c.token_sha256 == _sha256(token))
            row = connection.execute(query).first()
        return Participant(*row) if row else None

    def participant(self, id: int) -> Participant | None:
        """Return a participant by number."""
        with self._reading() as connection:
            return read_participant(connection, id)

    def participants(self) -> list[Participant]:
        """Return everybody, in the order in which they joined."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(*PARTICIPANT).order_by(participants.c.id))
            return [Participant(*row) for row in rows]

    def issue_token(self, participant_id: int) -> str:
        """Return a new token for a participant; the old one is void."""
        token = secrets.token_urlsafe(32)
        with self._writing() as connection:
            connection.execute(
                participants.update()
                .where(participants.c.id == participant_id)
                .values(token_sha256=_sha256(token))
            )
        return token

    def rename(self, participant_id: int, name: str) -> Participant:
        """Give a participant another name.

        Raises
        ------
        Rejected
            409 a name that is taken or looks like one, 422 a bad name.
        """
        name = _checked_name(name)
        mine = submissions.c.participant_id == participant_id
        try:
            with self._writing() as connection:
                revision = next_revision(connection)
                connection.execute(
                    participants.update()
                    .where(participants.c.id == participant_id)
                    .values(name=name, skeleton=names.skeleton(name), revision=revision)
                )
                connection.execute(
                    submissions.update().where(mine).values(mirrored=False, revision=revision)
                )
                connection.execute(
                    live_runs.update()
                    .where(live_runs.c.participant_id == participant_id)
                    .values(mirrored_status=None, revision=revision)
                )
                return read_participant(connection, participant_id)
        except IntegrityError:
            raise _taken(name) from None

    def remove(self, participant_id: int) -> None:
        """Delete a participant's name, token, live runs, uploads and submissions.

        A row without a name is left, by which the board and MLflow learn of it.
        """
        with self._writing() as connection:
            revision = next_revision(connection)
            for kind, table, key in (("live", live_runs, "run_id"),
                                     ("submissions", submissions, "key")):  # fmt: skip
                found = sa.select(sa.literal(kind), table.c.participant_id, table.c[key]).where(
                    table.c.participant_id == participant_id
                )
                columns = ["kind", "participant_id", "key"]
                connection.execute(removed_runs.insert().from_select(columns, found))
            mine = sa.select(live_runs.c.id).where(live_runs.c.participant_id == participant_id)
            connection.execute(live_points.delete().where(live_points.c.live_run_id.in_(mine)))
            for table in (live_runs, submissions, uploads):
                connection.execute(table.delete().where(table.c.participant_id == participant_id))
            nobody = secrets.token_hex(32)
            connection.execute(
                participants.update()
                .where(participants.c.id == participant_id)
                .values(
                    name=REMOVED,
                    skeleton=nobody,
                    token_sha256=nobody,
                    submissions=0,
                    best_submission_id=None,
                    unranked_submission_id=None,
                    revision=revision,
                )
            )

    # Live runs

    def append_live(self, participant_id: int, batch: LiveBatch) -> int:
        """Append what is new of a batch to a run's log; return how many points it has now.

        Raises
        ------
        Rejected
            409 the batch begins beyond the end of the log (`more["position"]` is the end), 422
            too many metrics or points, 429 too many runs.
        """
        (answer,) = self.append_live_many([(participant_id, batch)])
        if isinstance(answer, Rejected):
            raise answer
        return answer

    def append_live_many(self, batches: Sequence[tuple[int, LiveBatch]]) -> list[int | Rejected]:
        """Append batches of several runs in one transaction; each is answered for itself."""
        with self._writing() as connection:
            log = LiveLog(connection, batches, self.now(), next_revision(connection))
            answers = [log.append(participant_id, batch) for participant_id, batch in batches]
            log.write()
        return answers

    def live_points(self, live_run_id: int, first: int = 0, limit: int = 10_000) -> list[LivePoint]:
        """Return points of a live run from position `first` on, in order."""
        with self._reading() as connection:
            return read_points(connection, live_run_id, first, limit)

    # Submissions

    def quota(self, participant_id: int) -> Quota:
        """Return how many submissions a participant has left."""
        with self._reading() as connection:
            return self._quota(connection, participant_id)

    def submit(self, participant_id: int, new: NewSubmission) -> tuple[Submission, bool]:
        """Queue a submission; return it and whether it is new. A repeated one is the first again.

        Raises
        ------
        Rejected
            403 frozen or closed, 409 another data set, 429 no quota left (`more["next"]` says
            when, ms).
        """
        record = json.dumps(new.record)
        with self._writing() as connection:
            current = read_competition(connection, lock=True)
            same = (submissions.c.participant_id == participant_id) & (submissions.c.key == new.key)
            if found := read_submission(connection, same):
                return found, False
            if current.state != "open":
                raise Rejected(
                    403, f"The competition is {current.state}: no new submissions are taken."
                )
            self._check_data(current, new)
            quota = self._quota(connection, participant_id)
            if not quota.left:
                raise Rejected(
                    429,
                    f"All {quota.per_hour} submissions of this hour are used. The next is possible "
                    f"in {_minutes(quota.next - self.now())}.",
                    next=quota.next,
                )
            revision = next_revision(connection)
            id = connection.execute(
                submissions.insert()
                .values(
                    participant_id=participant_id,
                    key=new.key,
                    run_id=new.run_id,
                    model_sha256=new.model_sha256,
                    data_digest=new.data_digest,
                    claim_metric=new.claim_metric,
                    claim_value=new.claim_value,
                    created=self.now(),
                    state="queued",
                    attempts=0,
                    counts=True,
                    training_seconds=new.training_seconds,
                    commit_id=new.commit_id,
                    dirty=new.dirty,
                    reproduced="untried",
                    personal_best=False,
                    mirrored=False,
                    revision=revision,
                    summary=new.summary,
                    record=record,
                )
                .returning(submissions.c.id)
            ).scalar_one()
            connection.execute(
                participants.update()
                .where(participants.c.id == participant_id)
                .values(submissions=participants.c.submissions + 1, revision=revision)
            )
            return read_submission(connection, submissions.c.id == id), True

    def submission(self, id: int) -> Submission | None:
        """Return a submission by number."""
        with self._reading() as connection:
            return read_submission(connection, submissions.c.id == id)

    def record(self, submission_id: int) -> dict:
        """Return a submission as it was sent."""
        query = sa.select(submissions.c.record).where(submissions.c.id == submission_id)
        with self._reading() as connection:
            return json.loads(connection.execute(query).scalar_one())

    def ahead(self, submission_id: int) -> int:
        """Return how many submissions will be scored before this one."""
        turns, own = in_turn(), in_turn().alias("own")
        query = (
            sa.select(sa.func.count())
            .select_from(turns.join(own, own.c.id == submission_id))
            .where(sa.tuple_(turns.c.turn, turns.c.id) < sa.tuple_(own.c.turn, own.c.id))
        )
        with self._reading() as connection:
            return connection.execute(query).scalar_one()

    def record_upload(self, participant_id: int, sha256: str, size: int) -> None:
        """Remember that a participant sent a file of `size` bytes."""
        row = {"participant_id": participant_id, "sha256": sha256, "size": size}
        with self._writing() as connection:
            connection.execute(uploads.insert().values(created=self.now(), **row))

    def not_uploaded(self, participant_id: int, hashes: Iterable[str]) -> set[str]:
        """Return which of some files a participant has never sent.

        Whoever knows only the hash of another's model cannot submit it.
        """
        missing = set(hashes)
        with self._reading() as connection:
            for some in chunks(sorted(missing), 500):
                query = sa.select(uploads.c.sha256).where(
                    uploads.c.participant_id == participant_id, uploads.c.sha256.in_(some)
                )
                missing -= set(connection.execute(query).scalars())
        return missing

    def uploaded(self, participant_id: int) -> int:
        """Return the bytes that a participant sent within an hour."""
        query = sa.select(sa.func.coalesce(sa.func.sum(uploads.c.size), 0)).where(
            uploads.c.participant_id == participant_id, *self._within_an_hour(uploads)
        )
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    # Inside

    def _within_an_hour(self, table: sa.Table) -> tuple[sa.ColumnElement, sa.ColumnElement]:
        # What a clock that jumped back left in the future must not block anybody.
        now = self.now()
        return table.c.created > now - HOUR_MS, table.c.created <= now + MINUTE_MS

    def _quota(self, connection: sa.Connection, participant_id: int) -> Quota:
        per_hour = read_competition(connection).quota_per_hour
        query = sa.select(submissions.c.created).where(
            submissions.c.participant_id == participant_id,
            submissions.c.counts.is_(sa.true()),
            *self._within_an_hour(submissions),
        )
        used = connection.execute(query.order_by(submissions.c.created)).scalars().all()
        left = max(0, per_hour - len(used))
        following = None
        if not left:
            # A quota that was lowered may be overdrawn: then not the oldest one has to go.
            following = (used[len(used) - per_hour] if per_hour else self.now()) + HOUR_MS
        return Quota(per_hour, left, following)

    def _admit(self, current: Competition, code: str) -> None:
        if not hmac.compare_digest(_code(current.join_code), _code(code)):
            raise Rejected(403, "The join code is wrong. Compare it with the one on the board.")
        if current.state == "closed":
            raise Rejected(403, "The competition is closed: nobody can join any more.")

    def _check_data(self, current: Competition, new: NewSubmission) -> None:
        if new.data != current.data:
            raise Rejected(
                409,
                f"The run was trained on {new.data}, but this competition is on {current.data}. "
                f"Train with data={current.data} and submit that run.",
            )
        if current.data_digest not in (None, new.data_digest):
            raise Rejected(
                409,
                f"The run's copy of {new.data} differs from the server's (its digest is "
                f"{new.data_digest}, expected {current.data_digest}). Verify yours: uv run "
                "workshop data",
            )


def new_join_code() -> str:
    """Return a join code, drawn at random, such as K7QM-2XPD."""
    code = "".join(secrets.choice(CODE_SIGNS) for _ in range(8))
    return f"{code[:4]}-{code[4:]}"


def _code(text: str) -> bytes:
    """Return the signs of a join code as bytes, however it was typed."""
    plain = "".join(text.upper().split()).replace("-", "")
    return plain.translate(str.maketrans("OIL", "011")).encode(errors="replace")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _minutes(milliseconds: int) -> str:
    minutes = max(1, math.ceil(milliseconds / MINUTE_MS))
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def _checked_name(text: str) -> str:
    try:
        return names.check_name(text)
    except WorkshopError as error:
        raise Rejected(422, str(error)) from None


def _taken(name: str) -> Rejected:
    return Rejected(409, f"The name {name!r} is taken, or looks like one that is. Choose another.")
