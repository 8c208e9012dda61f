"""What every request passes first: is it meant for this server, and what may a browser do."""

import ipaddress
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """Answers only requests whose Host header names this server, and adds headers to answers.

    A page of somebody else's whose name was made to point here (DNS rebinding) sends its own name.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...]) -> None:
        self.app = app
        self.allowed = {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._is_allowed(hosts[0].decode("latin-1").lower(), scope):
            await _misdirected(send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in HEADERS if name not in given]
                if b"cache-control" not in given and scope["path"].startswith("/api/"):
                    more.append((b"cache-control", b"no-store"))
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self.app(scope, receive, with_headers)

    def _is_allowed(self, host: str, scope: Scope) -> bool:
        if host in self.allowed:
            return True
        server = scope.get("server")  # the end of this connection that is ours
        if not server:
            return False
        name, colon, port = host.rpartition(":")
        if not colon:
            name, port = host, "80"
        # An address cannot be bent to another machine as a name can, and one that the request
        # came in at is ours, also when it was given to this machine only now.
        return port == str(server[1]) and (name in LOOPBACK or _is_address(name, server[0]))


def _is_address(name: str, address: str) -> bool:
    try:
        asked = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        came_in_at = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return asked in (came_in_at, getattr(came_in_at, "ipv4_mapped", None))


async def _misdirected(send: Send) -> None:
    text = "This name is not an address of the leaderboard. Open the address that it shows."
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": body})
