"""Requests to the shared server, each of which ends in time, whatever the server does.

Made of http.client, which MLflow has imported already: a library that costs a quarter of a second
to import would take it from the training. Redirects are not followed, for they would carry the
token elsewhere.
"""

import contextlib
import http.client
import json
import math
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from workshop.errors import WorkshopError
from workshop.participant import proxies

LARGEST_ANSWER = 2**20  # bytes
LONGEST_MESSAGE = 500  # characters of what a server says of itself
LOGIN = (
    "the proxy between wants a name and a password, or others than it was given: "
    "http://NAME:PASSWORD@HOST:PORT in https_proxy and http_proxy"
)
UPLOAD_SILENCE = 30.0  # seconds in which nothing moves, after which an upload is given up


class NoAnswer(WorkshopError):
    """No server, a silent one, or one that is no leaderboard."""


class Refused(WorkshopError):
    """The leaderboard said no; `status` is HTTP's, `body` its JSON, `retry_after` in seconds."""

    def __init__(self, message: str, status: int, body: dict, retry_after: float | None = None):
        super().__init__(message)
        self.status, self.body, self.retry_after = status, body, retry_after


def is_passing(error: WorkshopError) -> bool:
    """Say whether the same may succeed later, with nothing done about it."""
    if isinstance(error, Refused):
        return error.status >= 500 or error.status in (408, 425, 429)
    return True


class Connection:
    """One server and the token by which it knows a participant.

    Parameters
    ----------
    address : http://HOST:PORT or https://HOST
    token : sent with every request; it goes nowhere else and is in no message
    """

    def __init__(self, address: str, token: str | None = None):
        self.address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        upload: tuple[Iterable[bytes], int] | None = None,
        seconds: float = 10.0,
    ) -> dict:
        """Send one request and return the JSON object of a good answer.

        Parameters
        ----------
        body : sent as JSON
        upload : in its place, chunks of bytes and the sum of their lengths
        seconds : for everything together; an upload may take longer while it moves

        Raises
        ------
        NoAnswer
            Nothing sensible came back in time.
        Refused
            The leaderboard answered with an error.
        """
        headers = {**self._headers, "Accept": "application/json", "Connection": "close"}
        data: bytes | Iterable[bytes] | None = None
        if upload:
            seconds = UPLOAD_SILENCE
            data, headers["Content-Length"] = upload[0], str(upload[1])
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            data = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        late = threading.Event()
        parts = urlsplit(self.address)
        try:
            proxy = proxies.between(parts.scheme, parts.hostname or "")
            where = path
            if proxy and parts.scheme == "http":  # through a tunnel, the proxy reads no headers
                where, headers = self.address + path, headers | proxy.headers
            with self._opened(seconds, None if upload else late, proxy) as opened:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    opened.request(method, where, data, headers)
                response = opened.getresponse()  # also if it hung up in the middle of an upload
                content = response.read(LARGEST_ANSWER + 1)
                if late.is_set() or (response.length and len(content) <= LARGEST_ANSWER):
                    raise http.client.IncompleteRead(content, response.length)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = _reason(TimeoutError() if late.is_set() else error, seconds)
            raise NoAnswer(f"The shared server {self.address} does not answer: {reason}.") from None
        return self._judged(response, content)

    @contextlib.contextmanager
    def _opened(
        self, seconds: float, late: threading.Event | None, proxy: proxies.Proxy | None
    ) -> Iterator[http.client.HTTPConnection]:
        """Connect; hang up and set `late` when the time is over, if there is such an event."""
        parts = urlsplit(self.address)
        opened = _connection(parts.scheme, parts.hostname or "", parts.port, seconds, proxy)
        timer = None
        try:
            opened.connect()
            if late:  # a byte now and then outlives any timeout of the socket
                timer = threading.Timer(seconds, _hang_up, [opened.sock, late])
                timer.daemon = True
                timer.start()
            yield opened
        finally:
            if timer:
                timer.cancel()
            opened.close()

    def _judged(self, response: http.client.HTTPResponse, content: bytes) -> dict:
        status = response.status
        if status == 407:
            raise NoAnswer(f"The shared server {self.address} does not answer: {LOGIN}.")
        if 300 <= status < 400:
            raise NoAnswer(
                f"The shared server {self.address} sends its visitors to "
                f"{printable(response.getheader('Location') or 'nowhere')}, which is not followed. "
                "If that is the leaderboard, join it there."
            )
        body = None
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(content)
        if not isinstance(body, dict):
            raise NoAnswer(
                f"What answers at {self.address} is not the leaderboard, or something stands "
                f"between, such as the login page of a Wi-Fi: status {status}, "
                f"{printable(response.getheader('Content-Type') or 'of no kind')}, expected JSON."
            )
        if status >= 400:
            said = printable(str(body.get("error") or body.get("detail") or f"status {status}"))
            raise Refused(said, status, body, _seconds(response.getheader("Retry-After")))
        return body


def _connection(
    scheme: str, host: str, port: int | None, seconds: float, proxy: proxies.Proxy | None
) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    if proxy is None:
        return kind(host, port, timeout=seconds)
    opened = kind(proxy.host, proxy.port, timeout=seconds)
    if scheme == "https":
        opened.set_tunnel(host, port or 443, dict(proxy.headers))
    return opened


def _hang_up(opened: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception, seconds: float) -> str:
    if "407 Proxy Authentication" in str(error):  # the refusal of a tunnel has no type of its own
        return LOGIN
    match error:
        case socket.gaierror():
            return "there is no host of that name, as far as this computer's network knows"
        case ConnectionRefusedError():
            return "the computer is there, but nothing listens at this port"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():
            return "it does not speak https"
        case (
            TimeoutError()
            | ConnectionResetError()
            | http.client.RemoteDisconnected()
            | http.client.IncompleteRead()
        ):
            return f"no whole answer within {seconds:g} s, or it hung up"
        case http.client.HTTPException():
            return "what came back is not http"
        case _:
            return printable(str(error) or type(error).__name__)


def _seconds(header: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        seconds = float(header)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def printable(text: str) -> str:
    """Return what a server said without what could steer a terminal, and not too much of it."""
    shown = "".join(c if c.isprintable() else " " for c in text[: LONGEST_MESSAGE + 1])
    return shown if len(text) <= LONGEST_MESSAGE else f"{shown[:LONGEST_MESSAGE]} ..."
