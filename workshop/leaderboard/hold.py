"""A lock on a PostgreSQL database, so that one server alone works on it.

It belongs to a connection: PostgreSQL lets go of it as soon as the process that holds it ends, by
whatever means, or its machine was not heard for half a minute.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from workshop.errors import WorkshopError

LET_GO = 5.0  # seconds; a server that was killed may hold it so long
LOOK = 5.0  # seconds between two looks at whether it is still ours
# Each schema is a database of its own.
TAKE = sa.text("SELECT pg_try_advisory_lock(7236402, hashtext(current_schema()))")
KEEPALIVE = {"idle": 10, "interval": 5, "count": 4}  # seconds, but for the last


@contextlib.contextmanager
def alone(url: str, say: Callable[[str], None]) -> Iterator[None]:
    """Let no other server work on a database; SQLite's lies in a folder, which is locked itself.

    After a restart of the database the lock is taken again; `say` tells if another was quicker.

    Raises
    ------
    WorkshopError
        Another server works on it.
    """
    if sa.make_url(url).get_backend_name() == "sqlite":
        yield
        return
    hold = _Hold(url)
    deadline = time.monotonic() + LET_GO
    while not hold.take():
        if time.monotonic() > deadline:
            hold.let_go()
            shown = sa.make_url(url).render_as_string(hide_password=True)
            raise WorkshopError(
                f"Another `workshop serve` works on the database {shown}, perhaps on another "
                "machine or in another folder. Expected one server for each database. Stop that "
                "one, or name another with --database-url. A machine that was cut off counts for "
                "half a minute: then try again."
            )
        time.sleep(0.1)
    over = threading.Event()
    threading.Thread(target=hold.keep, args=(over, say), daemon=True).start()
    try:
        yield
    finally:
        over.set()  # the connection ends with this process, or when the thread has seen it


class _Hold:
    """A connection of its own, and the lock that it has."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 5},
        )
        self._connection: sa.Connection | None = None

    def take(self) -> bool:
        """Take the lock on a connection that is made if need be; False if another has it."""
        if self._connection is None:
            self._connection = self._engine.connect()
            for name, value in KEEPALIVE.items():
                self._connection.exec_driver_sql(f"SET tcp_keepalives_{name} = {value}")
        return self._connection.execute(TAKE).scalar_one()

    def let_go(self) -> None:
        """Close the connection, whatever state it is in."""
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None

    def keep(self, over: threading.Event, say: Callable[[str], None]) -> None:
        """Look after the lock until `over` is set; the database may be away for any time."""
        is_ours, was_said = True, False
        while not over.wait(LOOK):
            try:
                if is_ours:
                    self._connection.execute(sa.text("SELECT 1"))
                    continue
                is_ours = self.take()
            except SQLAlchemyError:
                is_ours = False
                self.let_go()
                continue
            if not is_ours and not was_said:
                was_said = True
                say("Another server works on the database since it was restarted: stop one.")
        self.let_go()
