"""Where an ``[[authorise]]`` entry holds: everywhere, in a range of addresses, for one host:port, or below a path."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec import Struct

from proctor.policy.records import Endpoint

__all__ = ["Below", "Everywhere", "Range", "Scope", "Service", "endpoint", "parse"]

ALLOWED = "'*', an address or CIDR range, host:port, or a path (relative to the workspace or absolute)"

# RFC 1123, section 2.1; the underscore is no host name's but is in use inside clusters.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBERS = re.compile(r"[0-9][0-9.]*(/.*)?\Z")


class Everywhere(Struct, frozen=True):
    """``*``: every target, and no target at all."""

    def covers(self, target: str) -> bool:
        """Return True."""
        return True

    def __str__(self) -> str:
        return "*"


class Range(Struct, frozen=True):
    """An address or a CIDR range; host names are not looked up, so that the answer never changes."""

    network: IPv4Network | IPv6Network

    def covers(self, target: str) -> bool:
        """Return whether ``target`` (an address, with or without a port) lies in the range."""
        found = _address(target) or _address(_split(target)[0])
        return found is not None and found in self.network

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        return str(self.network.network_address if single else self.network)


class Service(Struct, frozen=True):
    """One host and port, as it was asked for."""

    endpoint: Endpoint

    def covers(self, target: str) -> bool:
        """Return whether ``target`` is this host:port; addresses are compared as addresses."""
        try:
            return endpoint(target) == self.endpoint
        except ValueError:
            return False

    def __str__(self) -> str:
        host, port = self.endpoint.host, self.endpoint.port
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Below(Struct, frozen=True):
    """A file, or a folder and all below it; absolute and normalised."""

    path: str

    def covers(self, target: str) -> bool:
        """Return whether ``target`` is the path or lies below it, part by part: /a/bc is not below /a/b.

        A target that is relative or holds ``..`` was never resolved and is not covered.
        """
        if not target.startswith("/") or ".." in target.split("/"):
            return False
        clean = os.path.normpath("/" + target.lstrip("/"))
        return clean == self.path or clean.startswith(self.path.rstrip("/") + "/")

    def __str__(self) -> str:
        return self.path


Scope = Everywhere | Range | Service | Below


@lru_cache(maxsize=1024)
def parse(text: str, workspace: str) -> Scope:
    """Return the scope that ``text`` means; relative paths belong to ``workspace``. Looks at no file.

    Raises:
        ValueError: ``text`` is none; the message says what is wrong and what is allowed.
    """
    if text == "*":
        return Everywhere()
    if _address(text) is not None or ("/" in text and _looks_numeric(text)):
        return Range(_network(text))
    if ":" in text and not text.startswith(("/", "./", "../")):
        return Service(endpoint(text))
    if not text or "\0" in text:
        raise ValueError(f"an empty scope; allowed is {ALLOWED}")
    return Below("/" + os.path.normpath(os.path.join(workspace, text)).lstrip("/"))


def endpoint(text: str) -> Endpoint:
    """Return ``text``, ``host:port`` or ``[IPv6]:port``, as an endpoint.

    Raises:
        ValueError: it is none; the message says what is wrong and what is allowed.
    """
    host, port = _split(text)
    if not port:
        raise ValueError("no port; allowed is host:port, or [address]:port for IPv6")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("the port is no number from 1 to 65535")
    if (found := _address(host)) is not None:
        return Endpoint(host=str(found), port=int(port))
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels) or labels[-1].isdigit():
        raise ValueError(
            "the host is no IP address and no name; allowed there are letters, digits, '-', '_' and '.', no wildcard"
        )
    return Endpoint(host=host, port=int(port))


def _split(target: str) -> tuple[str, str]:
    """Host and port; without a port that can be told apart, the whole and an empty string."""
    if target.startswith("["):
        host, bracket, port = target[1:].partition("]:")
        return (host, port) if bracket and ":" in host else (target, "")
    host, colon, port = target.rpartition(":")
    return (host, port) if colon and ":" not in host else (target, "")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    if not text or "%" in text:  # a zone names an interface of one machine
        return None
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # RFC 4291, section 2.5.5.2: an IPv4 destination written as IPv6
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _looks_numeric(text: str) -> bool:
    return bool(_NUMBERS.match(text)) or re.match(r"[0-9a-fA-F]*:[0-9a-fA-F:.]*/", text) is not None


def _network(text: str) -> IPv4Network | IPv6Network:
    if (single := _address(text)) is not None:
        return ip_network(single)
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        wider = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("no CIDR range; allowed is for example 10.9.0.0/24 or fd00::/8, and ./… for a path") from None
    raise ValueError(f"a CIDR range with bits set behind its prefix; the range that holds it is {wider}")
