"""One server for each PostgreSQL database: its lock, and what becomes of it."""

import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa
from leaderboard import fresh_database, postgresql, wait

from workshop.errors import WorkshopError
from workshop.leaderboard import hold

__all__ = ["postgresql"]  # a fixture

pytestmark = pytest.mark.slow

OTHER = """
import sys, time
from workshop.leaderboard.hold import alone
with alone(sys.argv[1], print):
    print("mine", flush=True)
    time.sleep(600)
"""


def holders(server: str, end: bool = False) -> set[int]:
    """The processes of PostgreSQL that hold such a lock; `end` ends them, as a restart does."""
    engine = sa.create_engine(server)
    query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7236402 AND granted"
    with engine.begin() as connection:
        found = set(connection.execute(sa.text(query)).scalars())
        for pid in found if end else ():
            connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
    engine.dispose()
    return found


def test_a_database_is_for_one_server_until_that_one_is_killed(postgresql, monkeypatch):
    url = fresh_database(postgresql)
    command = [sys.executable, "-c", OTHER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "mine\n"
            with monkeypatch.context() as patched:
                patched.setattr(hold, "LET_GO", 0.0)
                refused = pytest.raises(
                    WorkshopError, match=r"Another `workshop serve` .*Stop that"
                )
                with refused, hold.alone(url, print):
                    pass
            with hold.alone(fresh_database(postgresql), print):
                pass  # another schema is another database
        finally:
            other.kill()
    with hold.alone(url, print):
        pass


def test_the_lock_is_taken_again_after_a_restart_of_the_database(postgresql, monkeypatch):
    monkeypatch.setattr(hold, "LOOK", 0.05)
    with hold.alone(fresh_database(postgresql), print):
        before = holders(postgresql, end=True)
        assert len(before) == 1
        wait(lambda: holders(postgresql) - before)
    wait(lambda: not holders(postgresql))  # given back at the end


def test_a_server_that_was_not_quick_enough_says_so_and_waits(postgresql, monkeypatch):
    monkeypatch.setattr(hold, "LOOK", 0.05)
    url = fresh_database(postgresql)
    said, over = [], threading.Event()
    first, second = hold._Hold(url), hold._Hold(url)
    assert first.take()
    holders(postgresql, end=True)
    wait(second.take)
    keeper = threading.Thread(target=first.keep, args=(over, said.append))
    keeper.start()
    try:
        wait(lambda: said)
        assert "Another server works on the database" in said[0]
        before = holders(postgresql)
        second.let_go()
        wait(lambda: holders(postgresql) - before)
        assert len(said) == 1
    finally:
        over.set()
        keeper.join()
        second.let_go()
