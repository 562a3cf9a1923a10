"""What people added to a record afterwards: findings dismissed with a reason, and dismissals taken back.

An addendum is a line of ``DIR/addenda.jsonl``, beside the journal and verdict.json, which are never changed. Lines are
chained from the journal's last line on, and each is signed with the key of the user who added it; ``docs/journal.md``
is the full description.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import msgspec
from msgspec import Struct

from proctor.errors import RecordError
from proctor.journal.keys import SigningKey, signature_is_good
from proctor.journal.lines import Damage
from proctor.journal.reader import open_regular

__all__ = ["FILE", "FORMAT", "Addenda", "Addendum", "Operation", "Subject", "append", "dismissed", "read_addenda"]

FILE = "addenda.jsonl"

FORMAT = "proctor-addendum-v1"
"""What a signature begins with, so that it can be mistaken for no other by the same key."""

VERSION = 1
LINE_LIMIT = 64 * 1024
MAX_ADDENDA = 10_000
"""Bounds on a reader's memory; a person does not dismiss that much."""

_LINE = re.compile(
    rb'\{"hash":"([0-9a-f]{64})","signature":"([0-9a-f]{128})",("prev":"([0-9a-f]{64})",.*\})', re.DOTALL
)


Operation = Literal["dismiss", "restore"]


class Addendum(Struct, frozen=True, kw_only=True):
    """One addition.

    Attributes:
        v: version of the stored form, :data:`VERSION`.
        episode: the episode's id.
        seq: number of the addendum, from 1.
        t_wall_ns: Unix time when it was added, by the adder's clock, nanoseconds.
        op: ``dismiss`` a finding, or ``restore`` one that was dismissed.
        finding: the finding's id.
        reason, by: why and who, as stated.
        key: the public key that signs it, hex.
    """

    v: int
    episode: str
    seq: int
    t_wall_ns: int
    op: Operation
    finding: str
    reason: str
    by: str
    key: str


class Addenda(NamedTuple):
    """The good addenda, in order; the hash that the next one follows; and what is wrong with the first that is not."""

    items: tuple[Addendum, ...]
    head: str
    damage: Damage | None


class Subject(NamedTuple):
    """A record to add to: its folder, its episode, and the hash of its journal's last line."""

    directory: Path
    episode: str
    head: str


def dismissed(items: Sequence[Addendum]) -> dict[str, Addendum]:
    """Return the findings that are dismissed once all of ``items`` are taken in order, by id."""
    found: dict[str, Addendum] = {}
    for one in items:
        if one.op == "dismiss":
            found[one.finding] = one
        else:
            found.pop(one.finding, None)
    return found


def read_addenda(of: Subject) -> Addenda:
    """Read and check the addenda of a record; nothing in them makes this raise."""
    directory, episode, head = of
    try:
        file = open_regular(directory / FILE)
    except FileNotFoundError:
        return Addenda((), head, None)
    except OSError as error:
        return Addenda((), head, _damage(0, f"cannot be read: {error.strerror}"))
    with file:
        return _read(file, episode, head)


def _read(file: BinaryIO, episode: str, head: str) -> Addenda:
    items: list[Addendum] = []
    while line := file.readline(LINE_LIMIT):
        number = len(items) + 1
        found = _one(line, number, episode, head) if number <= MAX_ADDENDA else f"more than {MAX_ADDENDA} lines"
        if isinstance(found, str):
            return Addenda(tuple(items), head, _damage(number, found))
        addendum, head = found
        items.append(addendum)
    return Addenda(tuple(items), head, None)


def _damage(line: int, reason: str) -> Damage:
    where = f"{FILE} line {line}" if line else FILE
    return Damage(None, "addendum", f"{where}: {reason}")


def _one(line: bytes, number: int, episode: str, prev: str) -> tuple[Addendum, str] | str:
    """A line's addendum and hash, or what is wrong with it."""
    match = _LINE.fullmatch(line, 0, len(line) - 1) if line.endswith(b"\n") else None
    if match is None:
        return "not a line of addenda, or its end is missing"
    claimed, signature, rest, before = match.groups()
    digest = sha256(rest).hexdigest()
    if digest.encode() != claimed:
        return "its bytes do not give its hash: the line was changed"
    if before != prev.encode():
        return "it does not follow the line before: lines were removed, added or moved, or it is another record's"
    try:
        found = msgspec.json.decode(line, type=Addendum)
    except (ValueError, RecursionError) as error:
        return f"its hash is good, but it is no addendum: {error}"
    if (found.v, found.seq, found.episode) != (VERSION, number, episode):
        return f"it is number {found.seq} of episode {found.episode!r} in form {found.v}"
    key = bytes.fromhex(found.key) if re.fullmatch("[0-9a-f]{64}", found.key) else b""
    if not signature_is_good(key, bytes.fromhex(signature.decode()), _signed(digest)):
        return "its signature is not by the key that it names"
    return found, digest


def _signed(digest: str) -> bytes:
    return b"\0".join((FORMAT.encode(), digest.encode()))


def append(
    of: Subject, key: SigningKey, *, op: Operation, finding: str, reason: str, by: str, t_wall_ns: int
) -> Addendum:
    """Sign one addendum and write it, synced to the disk, behind those that are there.

    Whether it makes sense is up to the caller; two callers at the same time are put one after the other.

    Raises:
        RecordError: an addendum that is there is not as it was written, or this one cannot be written.
    """
    directory, episode, head = of
    path = directory / FILE
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with open(os.open(path, flags, 0o600), "r+b", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RecordError(f"{path}: it is not a regular file")
            fcntl.flock(file, fcntl.LOCK_EX)
            with open(path, "rb") as reading:
                there = _read(reading, episode, head)
            if there.damage is not None:
                raise RecordError(f"{directory}: nothing is added: {there.damage.reason}")
            made = Addendum(
                v=VERSION, episode=episode, seq=len(there.items) + 1, t_wall_ns=t_wall_ns, op=op, finding=finding,
                reason=reason, by=by, key=key.public.hex(),
            )  # fmt: skip
            line = _line(made, there.head, key)
            if file.write(line) != len(line):
                raise RecordError(f"{path}: only a part of the addendum could be written")
            os.fsync(file.fileno())
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # a new file's name lasts only once its folder is synced
        finally:
            os.close(folder)
    except OSError as error:
        raise RecordError(f"{path}: the addendum cannot be written: {error.strerror}") from None
    return made


def _line(addendum: Addendum, prev: str, key: SigningKey) -> bytes:
    rest = b'"prev":"%b",%b' % (prev.encode(), msgspec.json.encode(addendum)[1:])
    digest = sha256(rest).hexdigest()
    signature = key.sign(_signed(digest)).hex()
    line = b'{"hash":"%b","signature":"%b",%b\n' % (digest.encode(), signature.encode(), rest)
    if len(line) > LINE_LIMIT:
        raise RecordError(f"an addendum of {len(line)} bytes; at most {LINE_LIMIT} are allowed")
    return line
