"""A collector's side of one stream: lines are checked as they come, kept only where they are good, and attested.

The other end runs beside an agent and may have been taken over: what comes is held to the form, chain, order and
signatures of a journal (:mod:`proctor.journal.verification`), to bounds of size, disk and time, and nothing of it
becomes a path but an episode's id.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from proctor import __version__
from proctor.clock import Clock
from proctor.errors import RecordError
from proctor.events import Checkpoint
from proctor.events.text import printable
from proctor.journal import receipt
from proctor.journal.keys import SigningKey
from proctor.journal.lines import Damage, Entry, walk
from proctor.journal.verification import Audit
from proctor.journal.writer import FILE, FOLDER
from proctor.session.closing import write_whole
from proctor.session.spec import is_id

__all__ = ["Bounds", "Received", "peer_of", "receive"]

_CHUNK = 256 * 1024
_SYNC_NS = 1_000_000_000
_NAP_SECONDS = 0.004
"""After each read: a reader that waits in poll(2) is woken for each line, and the sender, which holds the agent
meanwhile, pays for that. What comes in this time lies in the kernel's buffer, where it survives the sender."""
_LOOK_BYTES = 1 << 20
"""Free disk space is looked at each time so much was written."""


class Bounds(NamedTuple):
    """What one stream may take: bytes of its journal; bytes of the disk that stay free; seconds without a line."""

    journal_bytes: int
    free_bytes: int
    silent_seconds: float


class Received(NamedTuple):
    """What came of a stream: the record's folder and the receipt in it, or neither and why.

    ``began``: at least something came.
    """

    out: Path | None
    receipt: receipt.Receipt | None
    why: str
    began: bool = True


def peer_of(connection: socket.socket) -> receipt.Peer | None:
    """Who is at the other end of a unix socket, by the kernel (unix(7), SO_PEERCRED); None for any other socket."""
    if connection.family != socket.AF_UNIX:
        return None
    return receipt.Peer(*struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


class _Lines:
    """The lines of a descriptor, as :func:`walk` reads a file's. Attributes: ``last``: the line that was read last.

    ``ended``: why there are no more.
    """

    def __init__(self, fd: int, stop: int, silent_seconds: float, clock: Clock) -> None:
        self._fd = fd
        self._stop = stop
        self._silent_ns = int(silent_seconds * 1e9)
        self._now = clock.monotonic_ns
        self._buffer = bytearray()
        self._seen = 0
        self.last = b""
        self.ended = ""
        self._poll = select.poll()
        for one in (fd, stop):
            self._poll.register(one, select.POLLIN)

    def readline(self, limit: int) -> bytes:
        """Return the next line with its newline; the rest, or ``limit`` bytes, where there is none; b"" at the end."""
        due = self._now() + self._silent_ns
        while True:
            end = self._buffer.find(b"\n", self._seen, limit) + 1
            if end or len(self._buffer) >= limit:
                return self._take(end or limit)
            self._seen = len(self._buffer)
            if not self._more(due):
                return self._take(len(self._buffer)) if self.ended == "the other end closed it" else b""

    def _take(self, size: int) -> bytes:
        self.last = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._seen = 0
        return self.last

    def _more(self, due: int) -> bool:
        """Read on; False at the end, with the reason in ``ended``."""
        left = due - self._now()
        ready = dict(self._poll.poll(max(0, left // 1_000_000) + 1)) if left > 0 else {}
        if self._stop in ready:
            self.ended = "the collector was asked to end"
        elif not ready:
            self.ended = f"no whole line came for {self._silent_ns // 10**9} s"
        else:
            try:
                chunk = os.read(self._fd, _CHUNK)
            except OSError as error:
                self.ended = f"the connection broke ({error.strerror})"
                return False
            if chunk:
                self._buffer += chunk
                time.sleep(_NAP_SECONDS)
                return True
            self.ended = "the other end closed it"
        return False


class _Refused(Exception):
    """A bound was reached, or the record cannot be kept; what came before is."""


class _Keeping:
    """The record that is being received: its folder, and what the receipt will say."""

    def __init__(self, directory: Path, episode: str, bounds: Bounds, clock: Clock) -> None:
        if not is_id(episode):
            raise _Refused(f"its episode id cannot be a folder's name: {printable(episode, 60)!r}")
        self.out = directory / episode
        self._bounds = bounds
        self._clock = clock
        try:
            os.mkdir(self.out, 0o700)
            os.mkdir(self.out / FOLDER, 0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self.out / FOLDER / FILE, flags, 0o600)
        except FileExistsError:
            raise _Refused(f"there is a record of episode {episode} already") from None
        except OSError as error:
            raise _Refused(f"its record cannot be made: {error.strerror}") from None
        self.bytes = 0
        self.events = 0
        self.head = ""
        self.first_ns = self.last_ns = clock.wall_ns()
        self._looked = -_LOOK_BYTES
        self._synced = 0

    def keep(self, line: bytes, entry: Entry) -> None:
        """Write one good line."""
        if self.bytes + len(line) > self._bounds.journal_bytes:
            raise _Refused(f"its journal would be longer than {self._bounds.journal_bytes} bytes")
        if self.bytes - self._looked >= _LOOK_BYTES:
            self._looked = self.bytes
            disk = os.fstatvfs(self._fd)
            if disk.f_bavail * disk.f_frsize < self._bounds.free_bytes + _LOOK_BYTES:
                raise _Refused(f"less than {self._bounds.free_bytes} bytes would stay free on the disk")
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise _Refused(f"it cannot be written: {error.strerror}") from None
        if written != len(line):
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.bytes)  # no half of a line stays
            raise _Refused("it cannot be written whole: the disk is full")
        self.bytes += written
        self.events, self.head, self.last_ns = entry.number, entry.hash, self._clock.wall_ns()
        if isinstance(entry.event, Checkpoint) and self._clock.monotonic_ns() - self._synced > _SYNC_NS:
            os.fsync(self._fd)
            self._synced = self._clock.monotonic_ns()

    def end(self) -> None:
        """Make what was kept last."""
        os.fsync(self._fd)
        os.close(self._fd)
        for folder in (self.out / FOLDER, self.out, self.out.parent):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(fd)
            os.close(fd)


def receive(
    fd: int, directory: Path, bounds: Bounds, key: SigningKey, clock: Clock, *, peer: receipt.Peer | None, stop: int
) -> Received:  # fmt: skip
    """Receive one journal into a new folder of ``directory``, sign what was received, and answer. Closes ``fd``.

    Args:
        fd: a connected socket, or a pipe's reading end.
        stop: a descriptor that becomes readable when the stream is to be given up.

    Raises:
        RecordError: what was received could not be made to last.
    """
    began = clock.wall_ns()
    lines = _Lines(fd, stop, bounds.silent_seconds, clock)
    audit = Audit()
    kept: _Keeping | None = None
    fault = refused = ""
    try:
        for item in walk(cast("BinaryIO", lines)):
            damage = audit.judge(item) if isinstance(item, Damage) else audit.feed(item)
            if isinstance(damage, Damage):
                fault, refused = damage.fault, f"line {damage.line}: {damage.reason}"
                break
            if isinstance(item, Entry):
                kept = kept or _Keeping(directory, item.event.episode, bounds, clock)
                kept.keep(lines.last, item)
    except _Refused as error:
        fault, refused = "bound", str(error)
    if kept is None:
        why = refused or f"nothing came: {lines.ended}"
        _answer(fd, why.encode()[:300] + b"\n")
        return Received(None, None, why, began=bool(refused))
    try:
        kept.end()
    except OSError as error:
        raise RecordError(f"{kept.out}: what was received cannot be made to last: {error.strerror}") from None
    state: receipt.State = "complete" if audit.ended and not refused else "cut" if fault in {"", "cut"} else "refused"
    made = receipt.Receipt(
        v=receipt.VERSION, episode=str(audit.episode), state=state,
        why="" if state == "complete" else printable(lines.ended if state == "cut" else refused, 300),
        events=kept.events, bytes=kept.bytes, head=kept.head, last_checkpoint=audit.checkpoint,
        journal_key=audit.key.hex() if audit.key is not None else "", began_wall_ns=began,
        first_wall_ns=kept.first_ns, last_wall_ns=kept.last_ns, ended_wall_ns=clock.wall_ns(), peer=peer,
        proctor=__version__, key=key.public.hex(),
    )  # fmt: skip
    line = receipt.encode(made, key)
    write_whole(kept.out / receipt.FILE, line)
    _answer(fd, line if state != "refused" else refused.encode("utf-8", "replace")[:300] + b"\n")
    return Received(kept.out, made, made.why)


def _answer(fd: int, line: bytes) -> None:
    """Say what there is to say, to whoever still listens; never wait for them."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            with socket.socket(fileno=os.dup(fd)) as connection:
                connection.send(line, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    with contextlib.suppress(OSError):
        os.close(fd)
