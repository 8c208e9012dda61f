"""Connections to SQLite and PostgreSQL, and what their errors mean."""

import errno
import time

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

DatabaseError = SQLAlchemyError  # all that a statement may raise
NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def connect(url: str) -> sa.Engine:
    """Return an engine; connections with the execution option `writing` lock SQLite at once."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url)
    return _postgresql(url)


def journal_ahead(engine: sa.Engine) -> None:
    """Switch SQLite to its write-ahead log; others that do the same are waited for."""
    for left in range(100, -1, -1):
        try:
            with engine.connect() as connection:
                connection.connection.driver_connection.execute(
                    "PRAGMA journal_mode=WAL"
                ).fetchone()
            return
        except Exception as error:
            if left == 0 or "locked" not in str(error):
                raise
            time.sleep(0.05)


def is_full(error: BaseException) -> bool:
    """Say whether a disk had no room left."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    said = str(getattr(error, "orig", error)).lower()
    return isinstance(error, DBAPIError) and (
        "disk is full" in said or "no space left" in said or "disk full" in said
    )


def is_away(error: BaseException) -> bool:
    """Say whether the database could not be reached, or not in time."""
    return isinstance(error, (OperationalError, PoolTimeout)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _sqlite(url: str) -> sa.Engine:
    engine = sa.create_engine(
        url, connect_args={"timeout": 30, "check_same_thread": False}, pool_size=20
    )

    @event.listens_for(engine, "connect")
    def prepare(connection, _) -> None:
        connection.isolation_level = None  # transactions begin where we say, below
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _postgresql(url: str) -> sa.Engine:
    arguments = {"connect_timeout": 5}
    if "options" not in sa.make_url(url).query:
        arguments["options"] = "-c statement_timeout=30000"
    return sa.create_engine(
        url, connect_args=arguments, pool_pre_ping=True, pool_size=10, max_overflow=10
    )
