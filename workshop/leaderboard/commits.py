"""Live batches of everybody, committed to disk together."""

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from workshop.leaderboard.database import Database
from workshop.leaderboard.engines import is_away, is_full
from workshop.leaderboard.records import LiveBatch, Rejected

GATHER_S = 0.02  # a commit waits for the disk; this is how long others may get on board
MOST_POINTS = 20_000  # in one transaction
MOST_WAITING = 200_000  # points; beyond, new batches are sent away

log = logging.getLogger(__name__)


class LiveWriter:
    """Takes batches from many requests and answers each when it is on disk."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._waiting: deque[tuple[int, LiveBatch, asyncio.Future]] = deque()
        self._points = 0
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "live-writer")

    async def append(self, participant_id: int, batch: LiveBatch) -> int:
        """Return the new length of the run's log once the batch is committed.

        Raises
        ------
        Rejected
            As `Database.append_live`; 503 when too much waits.
        """
        if self._points + len(batch.points) > MOST_WAITING:
            raise Rejected(503, "The server is behind with writing. Send it again.", retry_after=2)
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((participant_id, batch, answer))
        self._points += len(batch.points)
        self._news.set()
        return await answer

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(GATHER_S)
                while group := self._take():
                    await self._write(group)
                self._news.clear()
        finally:
            for _, _, answer in self._waiting:
                answer.cancel()
            self._thread.shutdown(wait=False)

    def _take(self) -> list[tuple[int, LiveBatch, asyncio.Future]]:
        group, points = [], 0
        while self._waiting and points < MOST_POINTS:
            group.append(self._waiting.popleft())
            points += len(group[-1][1].points)
        self._points -= points
        return group

    async def _write(self, group: list[tuple[int, LiveBatch, asyncio.Future]]) -> None:
        batches = [(participant_id, batch) for participant_id, batch, _ in group]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self.db.append_live_many, batches)
        except Exception as error:
            if len(group) > 1 and not is_away(error) and not is_full(error):
                log.exception("a batch of live points could not be written: each for itself")
                for one in group:  # so that what is wrong with one harms no other
                    await self._write([one])
                return
            answers = [error] * len(group)
        for (_, _, answer), found in zip(group, answers, strict=True):
            if answer.done():
                continue  # its client has hung up
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)
