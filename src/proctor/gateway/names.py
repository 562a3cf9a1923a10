"""Answer a DNS message (RFC 1035): from the policy alone, so that no question of an agent leaves the machine.

What asks is hostile: a message is a header and one whole question, or it is answered as malformed. What follows the
question (EDNS and the like) is not looked at, and an answer never grows with it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Literal, NamedTuple

__all__ = ["MAX_MESSAGE", "Answer", "Question", "answer", "question"]

MAX_MESSAGE = 65535  # what the length before a message over TCP can say (RFC 1035, 4.2.2)
Outcome = Literal["answered", "empty", "no_such_name", "refused", "malformed"]

_HEADER = struct.Struct(">HHHHHH")
_RESPONSE, _AUTHORITATIVE, _RECURSION_ASKED, _RECURSION_HERE = 0x8000, 0x0400, 0x0100, 0x0080
_OPCODE = 0x7800
_FORMERR, _NXDOMAIN, _NOTIMP, _REFUSED = 1, 3, 4, 5
_A, _AAAA, _IN = 1, 28, 1
_TTL = 1
_LABEL, _NAME = 63, 255  # RFC 1035, 2.3.4
_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR",
    41: "OPT", 43: "DS", 48: "DNSKEY", 64: "SVCB", 65: "HTTPS", 251: "IXFR", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip


class Question(NamedTuple):
    r"""A question: ``name`` as text (RFC 1035, 5.1: bytes that no host name has as ``\DDD``), its type and class.

    ``raw``: the question as it stood in the message.
    """

    name: str
    type: int
    cls: int
    raw: bytes

    @property
    def type_name(self) -> str:
        """The type's name, TYPE<N> for a rare one (RFC 3597, section 5)."""
        return _TYPES.get(self.type, f"TYPE{self.type}")


class Answer(NamedTuple):
    """``message`` to send back, and what it says. ``question`` is None where there was none to read."""

    message: bytes
    outcome: Outcome
    question: Question | None
    addresses: tuple[str, ...]


def question(message: bytes) -> Question | None:
    """Return the one question of a query; None where the message is anything else."""
    if len(message) < _HEADER.size:
        return None
    _, flags, questions, answers, authorities, _ = _HEADER.unpack_from(message)
    if flags & _RESPONSE or questions != 1 or answers or authorities:
        return None
    labels, at = [], _HEADER.size
    while True:
        size = message[at] if at < len(message) else _LABEL + 1
        at += 1
        if size == 0:
            break
        if size > _LABEL or at + size - _HEADER.size + 1 > _NAME or at + size > len(message):
            return None  # a pointer has nothing to point to in a query's first name
        labels.append("".join(map(_shown, message[at : at + size])))
        at += size
    if at + 4 > len(message):
        return None
    kind, cls = struct.unpack_from(">HH", message, at)
    return Question(".".join(labels) or ".", kind, cls, message[_HEADER.size : at + 4])


def _shown(byte: int) -> str:
    plain = 0x21 <= byte <= 0x7E and byte not in b'."\\();@$'
    return chr(byte) if plain else f"\\{byte:03d}"


def answer(message: bytes, names: Mapping[str, str]) -> Answer | None:
    """Answer a message. None: there is nothing that could be answered (no header, or a response itself).

    A name that is not known does not exist. It is not REFUSED, which resolvers take as a reason to ask again and
    elsewhere: glibc twice each server, musl until its time is over.

    Args:
        names: lower-case names to the IPv4 address of each.
    """
    if len(message) < _HEADER.size:
        return None
    ident, flags = struct.unpack_from(">HH", message)
    if flags & _RESPONSE:
        return None
    asked = question(message)
    if flags & _OPCODE:
        return Answer(_reply(ident, flags, _NOTIMP, None), "refused", asked, ())
    if asked is None:
        return Answer(_reply(ident, flags, _FORMERR, None), "malformed", None, ())
    if asked.cls != _IN:
        return Answer(_reply(ident, flags, _REFUSED, asked), "refused", asked, ())
    known = _addresses(asked.name.lower(), names)
    if not known:
        return Answer(_reply(ident, flags, _NXDOMAIN, asked), "no_such_name", asked, ())
    version = {_A: 4, _AAAA: 6}.get(asked.type)
    found = tuple(one for one in known if one.version == version)
    reply = _reply(ident, flags, 0, asked, *(one.packed for one in found))
    return Answer(reply, "answered" if found else "empty", asked, tuple(map(str, found)))


def _addresses(name: str, names: Mapping[str, str]) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found = names.get(name)
    if found is not None:
        return [ipaddress.ip_address(found)]
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    return []


def _reply(ident: int, flags: int, code: int, asked: Question | None, *addresses: bytes) -> bytes:
    head = _RESPONSE | flags & (_OPCODE | _RECURSION_ASKED) | _AUTHORITATIVE | _RECURSION_HERE | code
    out = _HEADER.pack(ident, head, 0 if asked is None else 1, len(addresses), 0, 0)
    if asked is not None:
        out += asked.raw
        for address in addresses:  # its name is the question's, at 12 (RFC 1035, 4.1.4)
            out += struct.pack(">HHHIH", 0xC00C, asked.type, _IN, _TTL, len(address)) + address
    return out
