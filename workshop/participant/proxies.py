"""The proxy between this computer and a server, as the environment names it, password included."""

import base64
import contextlib
import ipaddress
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


class UnknownKind(OSError):
    """A proxy that speaks something else than HTTP, such as SOCKS."""


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy: where it is, and the headers by which it knows whose requests these are."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def between(scheme: str, host: str) -> Proxy | None:
    """Return the proxy on the way to a host, None where the way is direct.

    The proxy is that of `$https_proxy`, `$http_proxy`, `$all_proxy` or the system's settings; what
    `$no_proxy` lists, and computers of this room, are reached directly.

    Raises
    ------
    UnknownKind
        The proxy is none for HTTP.
    """
    named = urllib.request.getproxies()
    address = named.get(scheme) or named.get("all")
    if not address or _is_near(host) or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http" or not parts.hostname:
        raise UnknownKind(
            f"the proxy {parts.scheme}://{parts.hostname or ''} is none of HTTP; expected "
            f"http://HOST:PORT in {scheme}_proxy"
        )
    headers = {}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        coded = base64.b64encode(login.encode()).decode()
        headers["Proxy-Authorization"] = f"Basic {coded}"
    return Proxy(parts.hostname, parts.port or 80, headers)


def _is_near(host: str) -> bool:
    """Say whether a host is on the network of this computer, where no proxy stands between."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_private
    return "." not in host or host.endswith(".local")
