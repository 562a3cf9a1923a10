"""Is a record what its writer left? The answer of ``proctor verify``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from proctor.errors import RecordError
from proctor.events import Capabilities, Checkpoint, Close, Gap, Open, Response
from proctor.events.text import printable
from proctor.journal.addenda import Addenda, Subject, read_addenda
from proctor.journal.keys import fingerprint, signature_is_good
from proctor.journal.lines import ZERO, Damage, Entry, Fault, signed_bytes, walk
from proctor.journal.reader import open_journal
from proctor.journal.receipt import Receipt, read_receipt
from proctor.journal.verdict_file import Known, check

__all__ = ["Audit", "Status", "Verification", "verify"]

Status = Literal["intact", "tampered", "truncated", "not_a_record"]


class Verification(Struct, frozen=True, kw_only=True):
    """What verifying a record gave.

    Attributes:
        status: ``intact``: every line, number and signature is good, the journal ends with ``close`` and a checkpoint,
            and verdict.json agrees. ``truncated``: good so far, but the end is missing. ``tampered``: something is not
            as its writer left it. ``not_a_record``: no journal, or one of a stored form that is not read here.
        fault: what is wrong, as a word; None when intact.
        line: the journal's line with the fault; None where it lies elsewhere or there is none.
        reason: one line saying what is wrong; empty when intact.
        episode: the episode's id, as the first line states it.
        events: number of good lines, from the first.
        head: hash of the last good line.
        last_checkpoint: number of the last event whose signature is good; nothing after it is signed.
        key: the public key that the record names, hex.
        fingerprint: its fingerprint, see :func:`proctor.journal.keys.fingerprint`.
        trusted: True: signatures are good and by the trusted key. False: the record names another key. None: no key to
            compare with was given, or nothing in the record is signed.
        addenda: number of addenda, all of them good where the record is intact; looked at only there.
        addenda_by: fingerprints of the keys that signed them, sorted.
        addenda_trusted: True: all are by the trusted key; None: no key to compare with was given, or there are none.
        closed: the journal has its end, ``close`` and a good checkpoint after it.
        receipt: a collector's statement of what it received, where one is there and agrees with the journal.
        collector_trusted: True: the receipt is by the collector's key that is trusted. False: it is not, or none is
            there. None: no key to compare with was given.

    A wrong key leaves ``status`` as it is: the record may be intact and someone else's, and the two facts are told
    apart. The exit status does not: a record that is not by the trusted key proves nothing to the one who asked.
    """

    status: Status
    fault: Fault | None = None
    line: int | None = None
    reason: str = ""
    episode: str | None = None
    events: int = 0
    head: str = ZERO
    last_checkpoint: int | None = None
    key: str | None = None
    fingerprint: str | None = None
    trusted: bool | None = None
    addenda: int = 0
    addenda_by: tuple[str, ...] = ()
    addenda_trusted: bool | None = None
    closed: bool = False
    receipt: Receipt | None = None
    collector_trusted: bool | None = None

    @property
    def exit_status(self) -> int:
        """Of ``proctor verify``: 0 intact, 1 tampered or not by a trusted key, 2 not a record, 3 truncated."""
        if self.trusted is False or self.addenda_trusted is False or self.collector_trusted is False:
            return 1
        return {"intact": 0, "tampered": 1, "not_a_record": 2, "truncated": 3}[self.status]

    @property
    def summary(self) -> str:
        """The result in a few lines of text, for a terminal."""
        if self.status == "not_a_record":
            return f"not a record: {self.reason}"
        where = "" if self.line is None else f" at line {self.line}"
        lines = ["intact" if self.status == "intact" else f"{self.status}{where}: {self.reason}"]
        if self.last_checkpoint is None:
            lines.append(f"{self.events} good lines; no good checkpoint, so nothing is signed")
        elif self.status == "intact":
            lines.append(f"{self.events} events, all signed; head {self.head}")
        else:
            after = self.events - self.last_checkpoint
            lines.append(f"signed up to checkpoint {self.last_checkpoint}; {after} good lines after it are not signed")
        if self.fingerprint is not None:
            lines.append(self._about_key())
        if self.addenda:
            lines.append(self._about_addenda())
        if self.receipt is not None:
            lines.append(_about_receipt(self.receipt, trusted=self.collector_trusted))
        elif self.collector_trusted is False:
            lines.append("NO receipt of a collector is there")
        return "\n".join(lines)

    def _about_key(self) -> str:
        if self.trusted is True:
            return f"signed by key {self.fingerprint}, the key you trust"
        if self.trusted is False:
            return f"NOT by the key you trust: it names key {self.fingerprint}"
        if self.last_checkpoint is None:
            return f"names key {self.fingerprint}, and nothing is signed by it"
        return f"signed by key {self.fingerprint}, which travels with the record; compare it with one you trust"

    def _about_addenda(self) -> str:
        many = "addendum" if self.addenda == 1 else "addenda"
        by = f"{self.addenda} {many}, signed by key {', '.join(self.addenda_by)}"
        if self.addenda_trusted is None:
            return by
        return f"{by}: {'the key you trust' if self.addenda_trusted else 'NOT all by the key you trust'}"


def _about_receipt(receipt: Receipt, *, trusted: bool | None) -> str:
    first, last = (_time(at) for at in (receipt.first_wall_ns, receipt.last_wall_ns))
    how = receipt.state if receipt.state == "complete" else f"{receipt.state}: {printable(receipt.why, 200)}"
    by = f"collector, key {fingerprint(bytes.fromhex(receipt.key))}"
    if trusted is not None:
        by += ", the one you trust" if trusted else ", NOT the one you trust"
    return f"received by a {by}: {receipt.events} lines, the first at {first}, the last at {last}; {how}"


def _time(at_ns: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns // 10**9))
    except (ValueError, OverflowError, OSError):  # a number that no clock gives
        return str(at_ns)


def verify(directory: Path, trusted_key: bytes | None = None, collector_key: bytes | None = None) -> Verification:
    """Verify the record in ``directory``, streaming; nothing in it makes this raise.

    Args:
        directory: the record's folder.
        trusted_key: raw Ed25519 public key (32 bytes) to hold the record's key against.
        collector_key: the same for the receipt of a collector, which then has to be there.
    """
    try:
        file = open_journal(directory)
    except RecordError as error:
        return Verification(status="not_a_record", fault="format", reason=str(error).removeprefix("not a record: "))
    audit = Audit()
    with file:
        damage = None
        for item in walk(file):
            damage = audit.judge(item) if isinstance(item, Damage) else audit.feed(item)
            if damage is not None:
                break
    if damage is None:
        damage = audit.ending(directory)
    receipt: Receipt | None = None
    if audit.episode is not None and (damage is None or damage.fault == "cut"):
        # Also of a journal that was cut: what was received is known then, and lines lost since are noticed.
        receipt, other = read_receipt(directory, audit.episode, audit.events, audit.head)
        damage = damage if other is None else other
    found = _with_addenda_of(directory, audit, damage, trusted_key)
    trusted = None if collector_key is None else receipt is not None and receipt.key == collector_key.hex()
    return structs.replace(found, closed=audit.ended, receipt=receipt, collector_trusted=trusted)


def _with_addenda_of(directory: Path, audit: Audit, damage: Damage | None, trusted_key: bytes | None) -> Verification:
    if damage is None and audit.episode is not None:
        added = read_addenda(Subject(directory, audit.episode, audit.head))
        return _with_addenda(_result(audit, added.damage, trusted_key), added, trusted_key)
    return _result(audit, damage, trusted_key)


def _with_addenda(result: Verification, added: Addenda, trusted_key: bytes | None) -> Verification:
    keys = {bytes.fromhex(one.key) for one in added.items}
    return structs.replace(
        result, addenda=len(added.items), addenda_by=tuple(sorted(map(fingerprint, keys))),
        addenda_trusted=keys == {trusted_key} if trusted_key is not None and keys else None,
    )  # fmt: skip


def _result(audit: Audit, damage: Damage | None, trusted_key: bytes | None) -> Verification:
    status: Status = "intact"
    if damage is not None:
        status = "truncated" if damage.fault == "cut" else "tampered"
        if damage.fault == "version" and audit.events == 0:
            status = "not_a_record"
    result = Verification(
        status=status, episode=audit.episode, events=audit.events, head=audit.head, last_checkpoint=audit.checkpoint
    )
    if damage is not None:
        result = structs.replace(result, fault=damage.fault, line=damage.line, reason=damage.reason)
    if audit.key is not None:
        trusted = None
        if trusted_key is not None and (audit.key != trusted_key or audit.checkpoint is not None):
            trusted = audit.key == trusted_key
        result = structs.replace(result, key=audit.key.hex(), fingerprint=fingerprint(audit.key), trusted=trusted)
    return result


class Audit:
    """What must hold between the lines: one ``open`` first, good signatures, ``close``, a checkpoint, nothing more."""

    def __init__(self) -> None:
        self.episode: str | None = None
        self.key: bytes | None = None
        self.events = 0
        self.head = ZERO
        self.checkpoint: int | None = None
        self._open: Open | None = None
        self._close: Close | None = None
        self._tier: str | None = None
        self._gaps = 0
        self._responses = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether ``close`` and a checkpoint after it have come."""
        return self._ended

    def judge(self, damage: Damage) -> Damage:
        """Return ``damage``, or what it amounts to once the journal has ended."""
        if self._ended:
            return Damage(damage.line, "after_end", "bytes after the end of the journal")
        return damage

    def feed(self, entry: Entry) -> Damage | None:
        """Take the next line; return what is wrong with it."""
        fault = self._look(entry)
        if fault is None:
            self.events = entry.number
            self.head = entry.hash
        return fault

    def _look(self, entry: Entry) -> Damage | None:
        number, _, event = entry
        if self._ended:
            return Damage(number, "after_end", "a line after the end of the journal")
        if number == 1:
            return self._first(entry)
        if event.episode != self.episode:
            return Damage(number, "episode", f"it belongs to episode {event.episode!r}, not {self.episode!r}")
        if isinstance(event, Checkpoint):
            return self._signature(number, event)
        if self._close is not None:
            return Damage(number, "after_end", "after close only a checkpoint may follow")
        if isinstance(event, Open):
            return Damage(number, "open", "a second open event")
        if isinstance(event, Close):
            self._close = event
        elif isinstance(event, Capabilities):
            self._tier = event.data.tier
        elif isinstance(event, Gap):
            self._gaps += 1
        elif isinstance(event, Response):
            self._responses += event.data.action != "log"
        return None

    def _first(self, entry: Entry) -> Damage | None:
        event = entry.event
        if not isinstance(event, Open):
            return Damage(1, "open", "the first event is not open")
        key = _unhex(event.data.key, 32)
        if key is None:
            return Damage(1, "key", "open names no Ed25519 public key in 64 hex digits")
        self.key = key
        self.episode = event.episode
        self._open = event
        return None

    def _signature(self, number: int, event: Checkpoint) -> Damage | None:
        data = event.data
        if self.key is None or data.key != self.key.hex():
            return Damage(number, "key", "the checkpoint is by another key than open names")
        if data.head != self.head:
            return Damage(number, "signature", "the checkpoint signs another head than the line before it")
        signature = _unhex(data.signature, 64)
        message = signed_bytes(event.episode, number, data.head)
        if signature is None or not signature_is_good(self.key, signature, message):
            return Damage(number, "signature", "the checkpoint's signature is not by the key that open names")
        self.checkpoint = number
        self._ended = self._close is not None
        return None

    def ending(self, directory: Path) -> Damage | None:
        """Judge the end of a journal whose lines are all good."""
        if not self._ended or self._open is None or self._close is None:
            missing = "no checkpoint follows close" if self._close is not None else "it ends without close"
            return Damage(None, "cut", missing)
        known = Known(
            opened=self._open, closed=self._close, tier=self._tier, gaps=self._gaps, responses=self._responses,
            events=self.events, head=self.head,
        )  # fmt: skip
        return check(directory, known)


def _unhex(text: str, size: int) -> bytes | None:
    """Return the bytes of exactly ``size`` in lower-case hex, the only spelling a writer uses; None for all else."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if len(data) == size and data.hex() == text else None
