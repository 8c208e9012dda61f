"""Files that participants send: hashed while they arrive, kept when they are complete."""

import asyncio
import hashlib
import io
import secrets
import shutil
from pathlib import Path

from fastapi import Request
from starlette.responses import JSONResponse, Response

from workshop.leaderboard.records import Participant, Rejected
from workshop.leaderboard.worker import Worker

MEGABYTE = 2**20
LARGEST_BLOB = 50 * MEGABYTE
BLOBS_PER_HOUR = 1000 * MEGABYTE  # bytes, of one participant
ROOM_LEFT = 100 * MEGABYTE  # that an upload leaves on the disk
CHUNK_SECONDS = 30  # for the next piece of an upload


def length_of(request: Request) -> int | None:
    """Return the Content-Length of a request, None if it has no proper one."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


async def receive(
    worker: Worker, request: Request, sha256: str, participant: Participant
) -> Response:
    """Store the body of a request under its SHA-256, all of it or nothing.

    Raises
    ------
    Rejected
        400 it has another hash, 408 too slow, 413 too large, 429 too much within an hour, 507 no
        room on the disk.
    """
    allowed = BLOBS_PER_HOUR - await worker.call(worker.db.uploaded, participant.id)
    length = length_of(request)
    if (length or 0) > LARGEST_BLOB:
        raise _too_large()
    if (length or 1) > allowed:
        raise Rejected(
            429,
            f"More than {BLOBS_PER_HOUR // MEGABYTE} MB in an hour are not taken from one "
            "participant. Try again later.",
            retry_after=600,
            close=True,
        )
    is_there = await worker.call(worker.blobs.exists, sha256)
    path = worker.incoming / secrets.token_hex(16)
    try:
        size = await _written(worker, request, sha256, None if is_there else path)
        if not is_there:
            await worker.call(worker.blobs.put, sha256, path)
    finally:
        await worker.call(lambda: path.unlink(missing_ok=True))
    await worker.call(worker.db.record_upload, participant.id, sha256, size)
    return JSONResponse({"sha256": sha256, "size": size}, 200 if is_there else 201)


async def _written(worker: Worker, request: Request, sha256: str, path: Path | None) -> int:
    """Write the body to a file and return its size, if it is what its hash says."""
    digest, size, waiting = hashlib.sha256(), 0, bytearray()
    if path and shutil.disk_usage(worker.incoming).free < (length_of(request) or 0) + ROOM_LEFT:
        raise Rejected(507, "The server's disk is full. Tell the instructor.", close=True)
    file = await worker.call(path.open, "xb") if path else io.BytesIO()

    def write(chunk: bytes) -> None:
        digest.update(chunk)
        if path:
            file.write(chunk)

    try:
        pieces = aiter(request.stream())
        while True:
            try:
                async with asyncio.timeout(CHUNK_SECONDS):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise Rejected(
                    408, f"Nothing arrived for {CHUNK_SECONDS} s. Send it again.", close=True
                ) from None
            size += len(piece)
            if size > LARGEST_BLOB:
                raise _too_large()
            waiting += piece
            if len(waiting) >= MEGABYTE:
                await worker.call(write, bytes(waiting))
                waiting.clear()
        await worker.call(write, bytes(waiting))
    finally:
        await worker.call(file.close)
    if digest.hexdigest() != sha256:
        raise Rejected(
            400, f"The file's SHA-256 is {digest.hexdigest()}, not {sha256}. Send it again."
        )
    return size


def _too_large() -> Rejected:
    return Rejected(
        413, f"A file may have {LARGEST_BLOB // MEGABYTE} MB at most. Make it smaller.", close=True
    )
