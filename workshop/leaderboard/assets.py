"""The files of the page, from memory: a room that opens it at once waits for no disk."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One file, as it goes over the wire."""

    media_type: str
    plain: bytes
    zipped: bytes
    etag: str


def read_assets(folder: Path) -> dict[str, Asset]:
    """Return by name those files of a folder that a page can be made of."""
    return {path.name: _read(path) for path in folder.iterdir() if path.suffix in MEDIA_TYPES}


def _read(path: Path) -> Asset:
    plain = path.read_bytes()
    # Weak: one mark for the plain and the packed form.
    etag = f'W/"{hashlib.sha256(plain).hexdigest()[:20]}"'
    return Asset(MEDIA_TYPES[path.suffix], plain, gzip.compress(plain, mtime=0), etag)


def respond(request: Request, asset: Asset) -> Response:
    """Answer with a file, or with nothing if the browser has it already."""
    headers = {"cache-control": "no-cache", "etag": asset.etag, "vary": "accept-encoding"}
    known = request.headers.get("if-none-match", "").split(",")
    if asset.etag in (mark.strip() for mark in known):
        return Response(status_code=304, headers=headers)
    body = asset.plain
    if takes_gzip(request):
        headers["content-encoding"] = "gzip"
        body = asset.zipped
    return Response(body, headers=headers, media_type=asset.media_type)


def takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")
