"""All HTTP of the leaderboard, as an ASGI application: one worker of `workshop serve`."""

import asyncio
import contextlib
import io
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi import Path as InPath
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workshop.leaderboard import messages, problems, uploads
from workshop.leaderboard.assets import read_assets, respond, takes_gzip
from workshop.leaderboard.board import Board, Rendered, claim_of, is_contradicted
from workshop.leaderboard.events import EventStream
from workshop.leaderboard.guard import Guard
from workshop.leaderboard.records import (
    LiveBatch,
    LivePoint,
    NewSubmission,
    Participant,
    Rejected,
    Submission,
)
from workshop.leaderboard.settings import Settings
from workshop.leaderboard.worker import Worker

MEGABYTE = 2**20
LARGEST_LIVE = 2 * MEGABYTE
LARGEST_SUBMISSION = 10 * MEGABYTE
LARGEST_JOIN = 10_000
UPLOADS_AT_ONCE = 4  # of one participant
BODY_SECONDS = 60  # for the whole of a JSON body
MOST_VIEWERS = 3_000  # of one worker
FRESH_S = 10.0  # an answer of the database within which counts as healthy
PAGE = Path(__file__).parent / "page"

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)
router = APIRouter()
bearer = HTTPBearer(auto_error=False, description="the token that joining returned")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the ASGI application; without settings they are read from the environment."""
    settings = settings or Settings.from_env()
    worker = Worker(settings)
    proxy = _mlflow(settings)
    app = FastAPI(
        title="Leaderboard",
        version="1",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.worker = worker
    app.state.proxy = proxy
    app.state.assets = read_assets(PAGE)
    app.add_middleware(Guard, allowed_hosts=settings.allowed_hosts)
    # First, and past FastAPI, which takes longer than all else that its most frequent request does.
    app.router.routes.insert(0, Route("/api/live", _live, methods=["POST"]))
    app.include_router(router)
    app.add_route("/", _page)
    app.add_route("/qr.svg", _qr)
    app.add_route("/assets/{name}", _asset)
    if proxy:
        app.mount("/mlflow", proxy)
    for kind, handler in problems.HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.openapi = lambda: _description(app)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    worker: Worker = app.state.worker
    await asyncio.to_thread(worker.prepare)
    tasks = [asyncio.create_task(worker.board.run()), asyncio.create_task(worker.live.run())]
    with _streams_end_with_the_worker(worker.board):
        yield
    worker.board.end()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if app.state.proxy:
        await app.state.proxy.close()
    worker.close()


@contextlib.contextmanager
def _streams_end_with_the_worker(board: Board):
    """End all streams as soon as a signal asks the process to end.

    An ASGI server waits for its responses before it tells the application that it stops, and a
    stream of events never ends by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {}

    def ending(number: int, frame: object) -> None:
        loop.call_soon_threadsafe(board.end)
        if callable(before[number]):
            before[number](number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):
            before[number] = handler
            signal.signal(number, ending)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is ending:
                signal.signal(number, handler)


def _mlflow(settings: Settings) -> Any:
    from workshop.leaderboard.proxy import Proxy

    return Proxy(settings.mlflow_socket)


# Who asks, and what they send


def _worker(request: Request) -> Worker:
    return request.app.state.worker


async def _identify(request: Request) -> Participant:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = None
    if scheme.lower() == "bearer" and token:
        found = await _worker(request).participant_of(token)
    if found is None:
        raise Rejected(
            401,
            "The token is missing or not known here. Join with: uv run workshop join "
            "CODE@ADDRESS --name NAME",
        )
    return found


async def _participant(
    request: Request,
    described: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Participant:
    return await _identify(request)


Identified = Annotated[Participant, Depends(_participant)]


async def _read(request: Request, model: type[Model], largest: int) -> Model:
    """Return the body of a request, checked; refuse it as soon as it is too large."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Rejected(415, "The body must be JSON, with Content-Type: application/json.")
    too_large = Rejected(413, f"The body may have {largest} bytes at most.", close=True)
    if (uploads.length_of(request) or 0) > largest:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > largest:
                    raise too_large
    except TimeoutError:
        raise Rejected(
            408, f"The body did not arrive within {BODY_SECONDS} s. Send it again.", close=True
        ) from None
    if messages.has_too_many_keys(body):
        raise Rejected(422, "The body has too many keys. Send fewer parameters, tags or metrics.")
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        status = 400 if first["type"] == "json_invalid" else 422
        raise Rejected(status, messages.sentence(first)) from None


def _limited(seconds: float, message: str) -> None:
    if seconds > 0:
        raise Rejected(429, message, retry_after=seconds)


def _takes(model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": reference}}
    return {"requestBody": {"required": True, "content": content}}


# Everybody


@router.get("/health", response_model=messages.Health, responses=problems.statuses())
async def health(request: Request) -> Response:
    """Say whether the worker reads the database."""
    board = _worker(request).board
    is_fresh = board.heard and time.monotonic() - board.heard < FRESH_S
    state = {
        "state": "ok" if is_fresh else "waiting",
        "revision": board.revision,
        "competition": board.competition and board.competition.seed_sha256,
        "time": round(time.time()),
    }
    if not is_fresh:
        state["error"] = "The database does not answer at the moment."
    return JSONResponse(state, 200 if is_fresh else 503)


@router.get("/api/board", response_model=messages.Snapshot, responses=problems.statuses())
async def board(request: Request) -> Response:
    """Return the board as it is now."""
    return _rendered(request, _worker(request).board.snapshot())


@router.get("/api/history", response_model=messages.History, responses=problems.statuses())
async def history(request: Request) -> Response:
    """Return all personal bests in order of time."""
    return _rendered(request, await _worker(request).board.history())


@router.get(
    "/api/events",
    response_class=Response,
    responses=problems.statuses()
    | {200: {"content": {"text/event-stream": {}}, "description": "`board` and `live` events"}},
)
async def events(request: Request) -> Response:
    """Stream the board and its changes as Server-Sent Events."""
    worker = _worker(request)
    if worker.viewers >= MOST_VIEWERS:
        raise Rejected(503, "Too many watch this server. Try again later.", retry_after=30)
    return EventStream(worker, packed=takes_gzip(request))


@router.post(
    "/api/join",
    status_code=201,
    response_model=messages.Joined,
    responses=problems.statuses(403, 408, 409, 413, 415, 429),
    openapi_extra=_takes(messages.Join),
)
async def join(request: Request) -> Response:
    """Become a participant: return the token, which is shown this once."""
    worker = _worker(request)
    address = request.client.host if request.client else ""
    wait = worker.join_limit.wait(address)
    _limited(wait, "Too many have tried to join from this address. Try again in a minute.")
    sent = await _read(request, messages.Join, LARGEST_JOIN)
    try:
        found, token = await worker.call(worker.db.join, sent.name, sent.code)
    except Rejected as error:
        # Forty people behind one address join at once, but do not all mistype.
        if error.status == 403:
            wait = worker.wrong_limit.wait(address)
            _limited(wait, "Too many wrong codes came from this address. Look at the board for it.")
        raise
    answer = {"participant": found.id, "name": found.name, "token": token}
    return JSONResponse(answer, 201)


@router.get(
    "/api/submissions/{id}",
    response_model=messages.SubmissionShown,
    responses=problems.statuses(404),
)
async def submission(request: Request, id: Annotated[int, InPath(ge=1, le=2**53)]) -> Response:
    """Return what is known of a submission."""
    worker = _worker(request)
    found: Submission | None = await worker.call(worker.db.submission, id)
    if found is None:
        raise Rejected(404, f"There is no submission {id}.")
    person: Participant = await worker.call(worker.db.participant, found.participant_id)
    ahead = 0
    if found.state in ("queued", "scoring"):
        ahead = await worker.call(worker.db.ahead, id)
    else:
        await worker.board.at_least(found.revision)
    is_scored = found.state == "scored"
    is_best = person.best_submission_id == found.id
    rank, of = worker.board.place(person.id)
    return JSONResponse(
        {
            "id": found.id,
            "participant": person.id,
            "name": person.name,
            "time": found.created,
            "state": found.state,
            "ahead": ahead,
            "reason": found.reason,
            "score": found.score if is_scored else None,
            "low": found.low if is_scored else None,
            "high": found.high if is_scored else None,
            "test": found.test if is_scored else None,
            "claim": claim_of(found),
            "contradicted": is_scored and is_contradicted(found),
            "rank": rank if is_best else None,
            "of": of,
            "best": is_best,
            "disqualified": found.disqualified,
            "suspect": found.suspect,
            "link": f"/#entry-{found.id}",
        }
    )


# Participants


@router.get("/api/me", response_model=messages.Me, responses=problems.statuses(401))
async def me(request: Request, participant: Identified) -> Response:
    """Return whose token this is, and how many submissions are left."""
    worker = _worker(request)
    competition = await worker.call(worker.db.competition)
    quota = await worker.call(worker.db.quota, participant.id)
    return JSONResponse(
        {
            "participant": participant.id,
            "name": participant.name,
            "competition": {
                "name": competition.name,
                "data": competition.data,
                "state": competition.state,
            },
            "state": competition.state,
            "quota": {"per_hour": quota.per_hour, "left": quota.left, "next": quota.next},
        }
    )


@router.post(
    "/api/live",
    response_model=messages.Position,
    responses=problems.statuses(401, 408, 409, 413, 415, 429, 507),
    openapi_extra=_takes(messages.Live),
)
async def live(request: Request, participant: Identified) -> Response:
    """Append points to the log of a run; answered when they are on disk."""
    worker = _worker(request)
    wait = worker.live_limit.wait(participant.id)
    _limited(wait, "Live progress comes too often. Gather more points for each request.")
    sent = await _read(request, messages.Live, LARGEST_LIVE)
    batch = LiveBatch(
        run_id=sent.run.id,
        name=sent.run.name,
        started=sent.run.started,
        epochs=sent.run.epochs,
        params=sent.run.params,
        position=sent.position,
        points=[LivePoint(p.metric, p.step, p.time, float(p.value)) for p in sent.points],
        status=sent.status,
    )
    return JSONResponse({"position": await worker.live.append(participant.id, batch)})


async def _live(request: Request) -> Response:
    return await live(request, await _identify(request))


@router.put(
    "/api/blobs/{sha256}",
    status_code=201,
    response_model=messages.Stored,
    responses=problems.statuses(401, 408, 413, 429, 507) | {200: {"model": messages.Stored}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def upload(request: Request, sha256: messages.Sha256, participant: Identified) -> Response:
    """Store a file under its SHA-256: 201 if it is new, 200 if the server had it."""
    worker = _worker(request)
    _limited(worker.upload_limit.wait(participant.id), "Uploads come too often. Wait a little.")
    if worker.uploading[participant.id] >= UPLOADS_AT_ONCE:
        raise Rejected(429, f"At most {UPLOADS_AT_ONCE} uploads at once, please.", retry_after=2)
    worker.uploading[participant.id] += 1
    try:
        return await uploads.receive(worker, request, sha256, participant)
    finally:
        worker.uploading[participant.id] -= 1


@router.post(
    "/api/submissions",
    status_code=201,
    response_model=messages.Submitted,
    responses=problems.statuses(401, 403, 404, 408, 409, 413, 415, 429, 507)
    | {200: {"model": messages.Submitted}},
    openapi_extra=_takes(messages.Submit),
)
async def submit(request: Request, participant: Identified) -> Response:
    """Queue a model for scoring; sent again it is the same submission."""
    worker = _worker(request)
    # By size: reading 10 MB holds everybody up for some tenths of a second.
    cost = 1 + (uploads.length_of(request) or LARGEST_SUBMISSION) / MEGABYTE
    wait = worker.submit_limit.wait(participant.id, cost)
    _limited(wait, "Submissions come too often. Wait a little.")
    async with worker.reading:
        sent = await _read(request, messages.Submit, LARGEST_SUBMISSION)
    files = {sent.model, *sent.files.values()}
    missing = await worker.call(worker.db.not_uploaded, participant.id, files)
    if not missing and not await worker.call(worker.blobs.exists, sent.model):
        missing = {sent.model}
    if missing:
        names = ["the model" if sent.model in missing else ""]
        names += [path for path, sha256 in sent.files.items() if sha256 in missing]
        raise Rejected(
            404,
            f"Not uploaded yet: {', '.join(filter(None, names))}. Send it to /api/blobs first.",
            missing=sorted(missing),
        )
    found, is_new = await worker.call(worker.db.submit, participant.id, _new(sent))
    return JSONResponse({"id": found.id, "state": found.state}, 201 if is_new else 200)


def _new(sent: messages.Submit) -> NewSubmission:
    return NewSubmission(
        run_id=sent.run.id,
        model_sha256=sent.model,
        data=sent.data,
        data_digest=sent.data_digest,
        record=sent.model_dump(mode="json"),
        claim_metric=sent.claim.metric if sent.claim else None,
        claim_value=sent.claim.value if sent.claim else None,
        training_seconds=sent.training_seconds,
        summary=sent.summary,
        commit_id=sent.commit,
        dirty=sent.dirty,
    )


# The page


async def _page(request: Request) -> Response:
    return respond(request, request.app.state.assets["index.html"])


async def _asset(request: Request) -> Response:
    asset = request.app.state.assets.get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    return respond(request, asset)


async def _qr(request: Request) -> Response:
    import segno

    drawn = io.BytesIO()
    segno.make(_worker(request).settings.address, micro=False).save(
        drawn, kind="svg", scale=8, border=2, light="white", xmldecl=False
    )
    return Response(drawn.getvalue(), media_type="image/svg+xml")


def _rendered(request: Request, what: Rendered) -> Response:
    headers = {"cache-control": "no-store", "vary": "accept-encoding"}
    body = what.plain
    if takes_gzip(request):
        headers["content-encoding"] = "gzip"
        body = what.zipped
    return Response(body, headers=headers, media_type="application/json")


def _description(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description, with the bodies that `_read` checks."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        for model in (messages.Join, messages.Live, messages.Submit):
            made = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= made.pop("$defs", {})
            schemas[model.__name__] = made
        app.openapi_schema = found
    return app.openapi_schema
