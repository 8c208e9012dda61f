"""Under which addresses others reach this machine."""

import ipaddress
import socket

# Networks of virtual machines, containers and tunnels: no phone in the room is in them.
VIRTUAL = (
    "docker", "br-", "veth", "virbr", "vmnet", "vbox", "virtualbox", "tun", "tap", "utun", "wg",
)  # fmt: skip


def reachable(host: str = "0.0.0.0") -> list[str]:
    """Return the addresses of this machine, without port, those that phones reach first.

    The first is that of the way out, if there is one; then come the other networks, of which
    virtual ones are the last. 127.0.0.1 alone if there is no network.

    Parameters
    ----------
    host : where the server listens; one address, or all of them (0.0.0.0)
    """
    if host not in ("0.0.0.0", "::", ""):
        return [host]
    order = sorted((_is_virtual(name), not _is_private(own), own) for name, own in _interfaces())
    out = _way_out()
    addresses = [out] if out else []
    addresses += [own for _, _, own in order]
    return list(dict.fromkeys(addresses)) or ["127.0.0.1"]


def _interfaces() -> list[tuple[str, str]]:
    """Return (name, IPv4 address) of each interface that is up, but for the loopback."""
    import psutil

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return [
        (name, address.address)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if name in up
        and address.family == socket.AF_INET
        and not ipaddress.ip_address(address.address).is_loopback
    ]


def _way_out() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        try:
            out.connect(("192.0.2.1", 9))  # reserved for documentation; nothing is sent
            return out.getsockname()[0]
        except OSError:
            return None


def _is_virtual(interface: str) -> bool:
    return interface.lower().startswith(VIRTUAL)


def _is_private(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return found.is_private and not found.is_link_local
