"""Where the gateway listens inside the sandbox, and which address a name has there."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import count

from proctor.policy.records import Endpoint

__all__ = ["NAMES", "PROXY", "inside_addresses", "inside_names"]

PROXY = ("127.0.0.1", 3128)
NAMES = ("127.0.0.1", 53)
_FIRST = ipaddress.IPv4Address("127.64.0.1")
"""From here on, one loopback address a name: all of 127/8 is the host's own (RFC 1122, 3.2.1.3)."""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def inside_names(allow: Sequence[Endpoint]) -> dict[str, str]:
    """The address that each name of the policy has inside the sandbox, where the gateway stands in its place."""
    hosts = dict.fromkeys(endpoint.host for endpoint in allow if _address(endpoint.host) is None)
    taken = {endpoint.host for endpoint in allow}
    free = (address for number in count() if (address := str(_FIRST + number)) not in taken)
    return dict(zip(hosts, free, strict=False))


def inside_addresses(allow: Sequence[Endpoint]) -> list[tuple[str, int]]:
    """The addresses to listen on inside.

    Each allowed loopback address and each name's, at their ports; and the proxy where there is anything but loopback.
    """
    addresses: list[tuple[str, int]] = []
    names = inside_names(allow)
    proxied = False
    for endpoint in allow:
        host = _address(endpoint.host)
        loopback = host is not None and host.is_loopback
        proxied = proxied or not loopback
        if loopback:
            addresses.append((str(host), endpoint.port))
        elif host is None:
            addresses.append((names[endpoint.host], endpoint.port))
    return [*dict.fromkeys(addresses), *([PROXY] if proxied else [])]
