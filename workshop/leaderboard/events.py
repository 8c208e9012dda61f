"""The stream of Server-Sent Events to one viewer."""

import asyncio
import contextlib
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from workshop.leaderboard.board import Board, Rendered

PING_S = 10
STUCK_S = 30  # in which a viewer takes nothing of what was sent
RETRY = b"retry: 2000\n\n"
PING = b": ping\n\n"
GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # the head of a gzip file


class Viewed(Protocol):
    """What a stream shows, and where it is counted."""

    board: Board
    viewers: int


class EventStream(Response):
    """Sends a viewer the board and its changes, until either side goes.

    A viewer that reads slowly skips messages, since nothing is queued for it; one that has not
    read at all for 30 s is dropped.
    """

    media_type = "text/event-stream"

    def __init__(self, server: Viewed, packed: bool) -> None:
        headers = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
        headers["vary"] = "accept-encoding"
        if packed:
            headers["content-encoding"] = "gzip"
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self.server, self.board, self.packed = server, server.board, packed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.server.viewers += 1
        tasks = [asyncio.ensure_future(self._stream(send)), asyncio.ensure_future(_gone(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.server.viewers -= 1
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(ended[0], TimeoutError):
            _hang_up(receive)

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send(send, (GZIP if self.packed else b"") + self._piece(RETRY))
        ping, seen = self._piece(PING), 0
        while True:
            try:
                async with asyncio.timeout(PING_S):
                    found = await self.board.news(seen)
            except TimeoutError:
                await self._send(send, ping)
                continue
            if not found:
                break
            seen = found[-1].version
            for news in found:
                await self._send(send, news.bytes.piece if self.packed else news.bytes.plain)
        with contextlib.suppress(TimeoutError):
            await self._send(send, b"", more=False)

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        async with asyncio.timeout(STUCK_S):  # waits while the viewer's buffers are full
            await send({"type": "http.response.body", "body": body, "more_body": more})

    def _piece(self, text: bytes) -> bytes:
        return Rendered(text).piece if self.packed else text


def _hang_up(receive: Receive) -> None:
    """Give up a connection and what waits in its buffer.

    ASGI has no word for it: a server that closes a connection first sends what is left, to a
    viewer that takes nothing. uvicorn's transport can let go.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
