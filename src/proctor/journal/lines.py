"""The line format of a journal, and the walk along its chain.

A journal is JSON Lines. A line is ``{"hash":"<64 hex>",`` + *rest*; *rest* is ``"prev":"<64 hex>",`` + the encoding of
the event without its leading ``{``. ``hash`` is SHA-256 (FIPS 180-4) of the exact bytes of *rest*, without the newline;
``prev`` is the hash of the line before, 64 zeros for the first. So a line is JSON, the two extra members are ignored by
the decoder of events, and checking a chain never encodes anything. ``docs/journal.md`` is the full description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from proctor.events import VERSION, AnyEvent, Event, decode, encode

__all__ = ["FORMAT", "LINE_LIMIT", "ZERO", "Damage", "Entry", "Fault", "frame", "signed_bytes", "walk"]

FORMAT = "proctor-journal-v1"
"""What a checkpoint's signature begins with, so that it can be mistaken for no other signature by the same key."""

ZERO = "0" * 64
"""``prev`` of the first line."""

LINE_LIMIT = 16 * 1024 * 1024
"""Longest line in bytes, with its newline. The longest exec event, two times 64 arguments of 4,096 characters that
JSON writes in six bytes each, takes 3 MiB; the bound keeps a reader's memory bounded whatever the file holds."""

Fault = Literal["cut", "format", "hash", "prev", "json", "version", "seq", "episode", "open", "key", "signature",
                "after_end", "verdict", "addendum", "receipt"]  # fmt: skip
"""What is wrong. ``cut``: the end is missing. ``format``: no line of a journal. ``hash``: the line was changed.
``prev``: lines before it were removed, added or moved. ``json``: no event. ``version``: a stored form that is not read
here. ``seq``: a hole in the numbers. ``episode``: a line of another episode. ``open``: not one ``open`` event, first.
``key``: not the key named there. ``signature``: not by that key over the line before. ``after_end``: bytes after the
end. ``verdict``: verdict.json says otherwise. ``addendum``: one of addenda.jsonl is not as it was added.
``receipt``: receipt.json is not as its collector signed it, or tells of other lines."""

_LINE = re.compile(rb'\{"hash":"([0-9a-f]{64})",("prev":"([0-9a-f]{64})",.*\})', re.DOTALL)
_HEX = b"0123456789abcdef"


class Entry(NamedTuple):
    """A good line: its number from 1, its hash, and its event."""

    number: int
    hash: str
    event: AnyEvent


class Damage(NamedTuple):
    """The first line that is not good. ``line`` is None where the fault lies outside the journal's lines."""

    line: int | None
    fault: Fault
    reason: str


def frame(event: Event, prev: str) -> tuple[bytes, str]:
    """Return the line for ``event``, with its newline, and the line's hash. ``prev`` is the hash of the line before."""
    rest = b'"prev":"%b",%b' % (prev.encode(), encode(event)[1:])
    digest = sha256(rest).hexdigest()
    return b'{"hash":"%b",%b\n' % (digest.encode(), rest), digest


def signed_bytes(episode: str, seq: int, head: str) -> bytes:
    """Return what a checkpoint signs: format, episode, the checkpoint's own number and ``head``, joined with NUL.

    The last two have a fixed form, so the joining is unambiguous for any episode id.
    """
    return b"\0".join((FORMAT.encode(), episode.encode(), str(seq).encode(), head.encode()))


def walk(file: BinaryIO) -> Iterator[Entry | Damage]:
    """Yield the lines of ``file`` whose form, hash, chain, JSON and number are good; at the first fault that, and end.

    Signatures are not looked at. Memory is bounded by :data:`LINE_LIMIT`.
    """
    prev = ZERO
    number = 0
    while line := file.readline(LINE_LIMIT):
        number += 1
        if line[-1] != 0x0A:
            yield _unfinished(line, number, prev)
            return
        found = _LINE.fullmatch(line, 0, len(line) - 1)
        if found is None:
            yield Damage(number, "format", "not a line of a journal")
            return
        claimed, rest, before = found.groups()
        digest = sha256(rest).hexdigest()
        if digest.encode() != claimed:
            yield Damage(number, "hash", "its bytes do not give its hash: the line was changed")
            return
        if before != prev.encode():
            yield Damage(number, "prev", "it does not follow the line before: lines were removed, added or moved")
            return
        event = _event(line, number)
        if isinstance(event, Damage):
            yield event
            return
        yield Entry(number, digest, event)
        prev = digest


class _Versioned(msgspec.Struct):
    v: int


def _event(line: bytes, number: int) -> AnyEvent | Damage:
    # msgspec's errors are ValueErrors; JSON nested too deep for its decoder is a RecursionError.
    try:
        event = decode(line)
    except (ValueError, RecursionError) as error:
        version = _version(line)
        if version in (None, VERSION):
            return Damage(number, "json", f"its hash is good, but it is no event: {error}")
        return _other_version(number, version)
    if event.v != VERSION:
        return _other_version(number, event.v)
    if event.seq != number:
        return Damage(number, "seq", f"it holds event number {event.seq}")
    return event


def _version(line: bytes) -> int | None:
    try:
        return msgspec.json.decode(line, type=_Versioned).v
    except (ValueError, RecursionError):
        return None


def _other_version(number: int, version: int | None) -> Damage:
    return Damage(number, "version", f"stored form {version}; this version of Proctor reads form {VERSION}")


def _unfinished(line: bytes, number: int, prev: str) -> Damage:
    """Tell a line that a write or the disk left unfinished from bytes that no writer of a journal leaves."""
    if len(line) == LINE_LIMIT:
        return Damage(number, "format", f"a line longer than {LINE_LIMIT} bytes")
    # After a power loss a file may end in zero bytes: blocks that were allocated but never written.
    kept = line.rstrip(b"\0")
    start = b'{"hash":"'
    end = b'","prev":"%b",' % prev.encode()
    middle = kept[len(start) : len(start) + 64]
    if (
        start.startswith(kept[: len(start)])
        and all(byte in _HEX for byte in middle)
        and end.startswith(kept[len(start) + 64 :][: len(end)])
    ):
        return Damage(number, "cut", "the last line is cut off")
    return Damage(number, "format", "bytes at the end that are no part of a line")
