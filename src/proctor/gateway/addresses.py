"""Where the gateway listens inside the sandbox."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from proctor.policy.records import Endpoint

__all__ = ["PROXY", "inside_addresses"]

PROXY = ("127.0.0.1", 3128)


def inside_addresses(allow: Sequence[Endpoint]) -> list[tuple[str, int]]:
    """The addresses to listen on inside: each allowed loopback address, and the proxy where there is anything else."""
    addresses: list[tuple[str, int]] = []
    proxied = False
    for endpoint in allow:
        host = "127.0.0.1" if endpoint.host == "localhost" else endpoint.host
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if loopback:
            addresses.append((host, endpoint.port))
        else:
            proxied = True
    return [*dict.fromkeys(addresses), *([PROXY] if proxied else [])]
