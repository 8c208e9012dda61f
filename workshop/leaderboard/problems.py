"""Errors as participants meet them: a status and a sentence that says what to do."""

import logging
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from workshop.leaderboard import engines, messages
from workshop.leaderboard.records import Rejected

log = logging.getLogger(__name__)


def statuses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe these statuses, and those that every request may get, for OpenAPI."""
    return {code: {"model": messages.Problem} for code in (400, 421, 422, 500, 503, *codes)}


def _problem(status: int, message: str, headers: dict[str, str] | None = None, **more: object):
    headers = {"cache-control": "no-store"} | (headers or {})
    return JSONResponse({"error": message, **more}, status, headers)


async def _on_rejected(request: Request, error: Rejected) -> Response:
    more = dict(error.more)
    headers = {}
    if (seconds := more.pop("retry_after", None)) is not None:
        headers["retry-after"] = str(max(1, round(seconds + 0.5)))
    elif "next" in more:
        left = (more["next"] - request.app.state.worker.db.now()) / 1000
        headers["retry-after"] = str(max(1, round(left + 0.5)))
    if more.pop("close", False):
        headers["connection"] = "close"  # what is still on its way is not read
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 503:
        headers.setdefault("retry-after", "2")
    return _problem(error.status, str(error), headers, **more)


async def _on_http(request: Request, error: HTTPException) -> Response:
    said = {
        404: "There is nothing at this address.",
        405: "This address does not take that method.",
    }.get(error.status_code, str(error.detail))
    return _problem(error.status_code, said, dict(error.headers or {}))


async def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    return _problem(422, messages.sentence(error.errors()[0]))


async def _on_hung_up(request: Request, error: ClientDisconnect) -> Response:
    return _problem(400, "The connection ended before the request did.")


async def _on_unforeseen(request: Request, error: Exception) -> Response:
    if engines.is_full(error):
        log.error("no room on the disk: %r", error)
        return _problem(507, "The server's disk is full; nothing was stored. Tell the instructor.")
    if engines.is_away(error):
        log.warning("the database does not answer: %r", error)
        wait = {"retry-after": "2"}
        return _problem(503, "The server's database does not answer. Send it again soon.", wait)
    log.exception("unforeseen", exc_info=error)
    return _problem(500, "Something unforeseen happened; the server's log has it. Tell somebody.")


HANDLERS = {
    Rejected: _on_rejected,
    HTTPException: _on_http,
    RequestValidationError: _on_invalid,
    ClientDisconnect: _on_hung_up,
    OSError: _on_unforeseen,
    engines.DatabaseError: _on_unforeseen,
    Exception: _on_unforeseen,
}
