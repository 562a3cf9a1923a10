"""A collector's statement of what it received of one episode, signed: ``DIR/receipt.json``, beside the journal.

It says what arrived, when by the collector's clock, and how the stream ended; never what happened. ``docs/journal.md``
is the full description.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from proctor.journal.keys import SigningKey, signature_is_good
from proctor.journal.lines import Damage
from proctor.journal.reader import open_regular

__all__ = ["FILE", "FORMAT", "LIMIT", "Peer", "Receipt", "State", "decode", "encode", "read_receipt"]

FILE = "receipt.json"

FORMAT = "proctor-receipt-v1"
"""What a signature begins with, so that it can be mistaken for no other by the same key."""

VERSION = 1
LIMIT = 16 * 1024
"""Longest receipt in bytes, with its newline."""

State = Literal["complete", "cut", "refused"]
"""``complete``: the journal came whole, with its end. ``cut``: the stream ended before the journal did. ``refused``:
the next line was not one that may follow, or a bound was reached; what came before it was kept."""

_LINE = re.compile(rb'\{"signature":"([0-9a-f]{128})",("v":.*\})\n?', re.DOTALL)


class Peer(Struct, frozen=True):
    """Who was at the other end of a unix socket, by the kernel (SO_PEERCRED), as the collector's namespaces number it.

    ``pid`` 0: a process that the collector's PID namespace does not show.
    """

    pid: int
    uid: int
    gid: int


class Receipt(Struct, frozen=True, kw_only=True):
    """What a collector received.

    Attributes:
        v: version of the stored form, :data:`VERSION`.
        episode: the episode's id, as its first line states it.
        state: how the stream ended; ``why`` says it in words.
        events, bytes, head: lines that were good and kept, their size, and the hash of the last one.
        last_checkpoint: number of the last one whose signature is good.
        journal_key: the public key that the journal names, hex.
        began_wall_ns, first_wall_ns, last_wall_ns, ended_wall_ns: Unix time in nanoseconds, by the collector's clock,
            when the connection came, when the first and the last good line had come, and when the stream ended.
        peer: who was at the other end; None for what is no unix socket.
        proctor: the collector's version.
        key: the collector's public key, hex.
    """

    v: int
    episode: str
    state: State
    why: str
    events: int
    bytes: int
    head: str
    last_checkpoint: int | None
    journal_key: str
    began_wall_ns: int
    first_wall_ns: int
    last_wall_ns: int
    ended_wall_ns: int
    peer: Peer | None
    proctor: str
    key: str


class Receiving(NamedTuple):
    """What a reader of a record found: the good receipt, or what is wrong with it; neither where none is there."""

    receipt: Receipt | None
    damage: Damage | None


def encode(receipt: Receipt, key: SigningKey) -> bytes:
    """Return the line of a receipt, signed, with its newline."""
    rest = msgspec.json.encode(receipt)[1:]
    return b'{"signature":"%b",%b\n' % (key.sign(_signed(rest)).hex().encode(), rest)


def _signed(rest: bytes) -> bytes:
    return b"\0".join((FORMAT.encode(), sha256(rest).hexdigest().encode()))


def decode(line: bytes) -> Receipt | str:
    """Return the receipt in a line, if it is one that the key which it names has signed; else what is wrong."""
    match = _LINE.fullmatch(line) if len(line) <= LIMIT else None
    if match is None:
        return "it is no receipt"
    signature, rest = match.groups()
    try:
        found = msgspec.json.decode(b"{" + rest, type=Receipt)
    except (ValueError, RecursionError) as error:
        return f"it is no receipt: {error}"
    if found.v != VERSION:
        return f"stored form {found.v}; this version of Proctor reads form {VERSION}"
    key = bytes.fromhex(found.key) if re.fullmatch("[0-9a-f]{64}", found.key) else b""
    if not signature_is_good(key, bytes.fromhex(signature.decode()), _signed(rest)):
        return "its signature is not by the key that it names"
    return found


def read_receipt(directory: Path, episode: str, events: int, head: str) -> Receiving:
    """Read the receipt of a record and hold it against the journal's good lines; nothing in it makes this raise."""
    try:
        with open_regular(directory / FILE) as file:
            line = file.read(LIMIT + 1)
    except FileNotFoundError:
        return Receiving(None, None)
    except OSError as error:
        return Receiving(None, Damage(None, "receipt", f"{FILE}: cannot be read: {error.strerror}"))
    found = decode(line)
    if isinstance(found, str):
        return Receiving(None, Damage(None, "receipt", f"{FILE}: {found}"))
    if found.episode != episode:
        return Receiving(None, Damage(None, "receipt", f"{FILE}: it is of episode {found.episode!r}"))
    if (found.events, found.head) != (events, head):
        reason = f"{FILE}: {found.events} lines were received, the last {found.head[:16]}…; the journal has {events}"
        return Receiving(None, Damage(None, "receipt", f"{reason}, the last {head[:16]}…"))
    return Receiving(found, None)
