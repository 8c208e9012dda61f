"""What all operations on the leaderboard's tables share: transactions, revisions, single rows."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import groupby, islice

import sqlalchemy as sa

from workshop.leaderboard import engines
from workshop.leaderboard.records import Competition, LivePoint, Participant, Rejected, Submission
from workshop.leaderboard.tables import (
    competition,
    live_points,
    live_runs,
    metadata,
    participants,
    submissions,
    uploads,
)

PARTICIPANT = [participants.c[item.name] for item in fields(Participant)]
SUBMISSION = [submissions.c[item.name] for item in fields(Submission)]


class Store:
    """The leaderboard's tables in one database.

    url : as SQLAlchemy takes it, sqlite:///… or postgresql+psycopg://…
    clock : returns milliseconds since 1970
    """

    def __init__(self, url: str, clock: Callable[[], int] | None = None) -> None:
        self.url = url
        self.now = clock or (lambda: int(time.time() * 1000))
        self.is_sqlite = sa.make_url(url).get_backend_name() == "sqlite"
        self._engine = engine = engines.connect(url)
        self._writer = engine.execution_options(writing=True)
        self._reader = engine
        if not self.is_sqlite:
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ")

    def create(self) -> None:
        """Make the tables that are missing; harmless when several processes do it at once."""
        if self.is_sqlite:
            engines.journal_ahead(self._engine)
        with self._writing() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7236401)"))
            metadata.create_all(connection)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def rows(self, table: sa.Table) -> Iterator[dict]:
        """Yield all rows of a table, in the order of their keys."""
        with self.frozen() as read:
            yield from read(table)

    @contextmanager
    def frozen(self) -> Iterator[Callable[[sa.Table], Iterator[dict]]]:
        """Let several tables be read as they are at one moment, whatever is written meanwhile."""
        with self._reading() as connection:

            def read(table: sa.Table) -> Iterator[dict]:
                query = sa.select(table).order_by(*table.primary_key.columns)
                with connection.execute(query.execution_options(yield_per=1000)) as found:
                    for row in found:
                        yield dict(row._mapping)

            yield read

    def is_empty(self) -> bool:
        """Say whether there is no competition and nobody in it."""
        with self._reading() as connection:
            return not any(
                connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
                for table in metadata.sorted_tables
            )

    def fill(self, rows: Iterable[tuple[sa.Table, dict]]) -> None:
        """Insert rows as they are, of several tables, all or none."""
        with self._writing() as connection:
            for table, some in groupby(rows, key=lambda row: row[0]):
                while found := [row for _, row in islice(some, 1000)]:
                    connection.execute(table.insert(), found)
            if not self.is_sqlite:
                for table in (participants, live_runs, submissions, uploads):
                    highest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
                    counter = sa.func.pg_get_serial_sequence(table.name, "id")
                    connection.execute(sa.select(sa.func.setval(counter, highest)))

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._writer.connect() as connection, connection.begin():
            yield connection


def next_revision(connection: sa.Connection) -> int:
    """Take the next revision, and with it the turn to write."""
    revision = connection.execute(
        competition.update()
        .values(revision=competition.c.revision + 1)
        .returning(competition.c.revision)
    ).scalar()
    if revision is None:
        raise no_competition()
    return revision


def read_competition(connection: sa.Connection, lock: bool = False) -> Competition:
    """Return the competition; with `lock`, nobody else writes until the transaction ends."""
    query = sa.select(*[competition.c[item.name] for item in fields(Competition)])
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise no_competition()
    return Competition(
        **dict(row._mapping) | {"reference_scores": json.loads(row.reference_scores)}
    )


def read_participant(connection: sa.Connection, id: int) -> Participant | None:
    """Return a participant by number."""
    row = connection.execute(sa.select(*PARTICIPANT).where(participants.c.id == id)).first()
    return Participant(*row) if row else None


def read_submission(connection: sa.Connection, where: sa.ColumnElement) -> Submission | None:
    """Return the submission that fits."""
    row = connection.execute(sa.select(*SUBMISSION).where(where)).first()
    return Submission(*row) if row else None


def read_points(
    connection: sa.Connection, live_run_id: int, first: int, limit: int
) -> list[LivePoint]:
    """Return points of a live run from position `first` on, in order."""
    table = live_points.c
    query = sa.select(table.metric, table.step, table.time, table.value)
    query = query.where(table.live_run_id == live_run_id, table.position >= first)
    query = query.order_by(table.position).limit(limit)
    return [
        LivePoint(metric, step, time, math.nan if value is None else value)
        for metric, step, time, value in connection.execute(query)
    ]


def no_competition() -> Rejected:
    """Return the error of a database in which nothing was started."""
    return Rejected(503, "There is no competition yet. Start the server: uv run workshop serve")
