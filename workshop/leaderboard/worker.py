"""What the requests of one web worker share."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workshop.leaderboard import engines
from workshop.leaderboard.blobs import Blobs
from workshop.leaderboard.board import Board
from workshop.leaderboard.commits import LiveWriter
from workshop.leaderboard.database import Database
from workshop.leaderboard.limits import Limit
from workshop.leaderboard.records import Participant
from workshop.leaderboard.settings import Settings

TOKEN_SECONDS = 5.0  # for which a worker remembers whose a token is
MOST_TOKENS = 5_000  # remembered
THREADS = 12  # that ask the database; fewer than it has connections
READING_AT_ONCE = 8  # submissions, of up to 10 MB each
STALE_UPLOAD_S = 3600

log = logging.getLogger(__name__)


class Worker:
    """The database, the board, the files and the limits of one web process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.db = Database(settings.database_url)
        self.blobs = Blobs(settings.models_uri)
        self.board = Board(self.db, settings.address, settings.show_code)
        self.live = LiveWriter(self.db)
        self.incoming = settings.folder / "incoming"
        self.uploading: Counter[int] = Counter()
        self.reading = asyncio.Semaphore(READING_AT_ONCE)
        self.viewers = 0
        self.join_limit = Limit(per_second=10, burst=600)  # per address, all attempts
        self.wrong_limit = Limit(per_second=0.5, burst=30)  # per address, wrong codes
        self.live_limit = Limit(per_second=10, burst=40)  # per participant
        self.submit_limit = Limit(per_second=0.5, burst=20)
        self.upload_limit = Limit(per_second=5, burst=150)
        self._threads = ThreadPoolExecutor(THREADS, "requests")
        self._tokens: OrderedDict[str, tuple[Participant, float]] = OrderedDict()

    async def call(self, function: Callable, *arguments: object) -> Any:
        """Run something that waits for the disk or the database, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def participant_of(self, token: str) -> Participant | None:
        """Return whose token it is; what was found is remembered for seconds."""
        key = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        found, until = self._tokens.get(key, (None, 0.0))
        if until > time.monotonic():
            return found
        found = await self.call(self.db.participant_of, token)
        self._tokens.pop(key, None)
        if found:
            self._tokens[key] = found, time.monotonic() + TOKEN_SECONDS
            if len(self._tokens) > MOST_TOKENS:
                self._tokens.popitem(last=False)
        return found

    def close(self) -> None:
        """Let go of threads and connections."""
        self.board.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.db.close()

    def prepare(self) -> None:
        """Make folders and tables, and remove what uploads left that were cut off."""
        self.incoming.mkdir(parents=True, exist_ok=True)
        for left in self.incoming.iterdir():
            with contextlib.suppress(OSError):
                if left.stat().st_mtime < time.time() - STALE_UPLOAD_S:
                    left.unlink()
        try:
            self.db.create()
        except Exception as error:
            if not engines.is_away(error):
                raise
            log.warning("the database does not answer yet: %r", error)
