"""The one writer of a journal."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from proctor.errors import RecordError
from proctor.events import Checkpoint, Event, encode
from proctor.events.kinds import CheckpointData
from proctor.journal.keys import SigningKey
from proctor.journal.lines import LINE_LIMIT, ZERO, signed_bytes
from proctor.journal.stream import Stream

__all__ = ["FILE", "FOLDER", "Writer"]

FOLDER = "journal"
FILE = "000000.jsonl"


class Writer:
    """Appends events to ``DIRECTORY/journal/000000.jsonl``, which it creates.

    An event survives the death of any process once :meth:`append` has returned (it is in the page cache), and the loss
    of power once the next :meth:`checkpoint` has. The writer reads no clock and starts no thread: a forked process may
    inherit it, but from then on only one of the two may append; :meth:`checkpoint` notices where both did.

    Args:
        directory: the record's folder; it must exist. A folder that already holds a journal is refused.
        key: signs the checkpoints.
        stream: every line goes out over it too, once it is in the file. That one is lost is for its owner to notice.

    Raises:
        RecordError: the journal cannot be created.
    """

    __slots__ = (
        "_broken", "_count", "_directory", "_episode", "_fd", "_head", "_key", "_new", "_path", "_size", "_stream",
    )  # fmt: skip

    def __init__(self, directory: Path, key: SigningKey, stream: Stream | None = None) -> None:
        folder = directory / FOLDER
        self._path = folder / FILE
        try:
            folder.mkdir(mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        except FileExistsError:
            raise RecordError(f"{folder}: there is a journal already; choose a folder that does not exist") from None
        except OSError as error:
            raise RecordError(f"{error.filename or folder}: cannot create the journal: {error.strerror}") from None
        self._directory = directory
        self._key = key
        self._episode: str | None = None
        self._count = 0
        self._size = 0
        self._head = ZERO
        self._new = True
        self._broken: str | None = None
        self._stream = stream

    @property
    def head(self) -> str:
        """Hash of the last line, hex; 64 zeros before the first."""
        return self._head

    @property
    def count(self) -> int:
        """How many events were written; the next one's ``seq`` is one more."""
        return self._count

    @property
    def public_key(self) -> bytes:
        """The public half of the signing key, 32 bytes, for the ``open`` event."""
        return self._key.public

    def append(self, event: Event) -> None:
        """Write one event with exactly one write(2).

        Raises:
            RecordError: the line could not be written whole. The writer is broken from then on and refuses every event:
                what is on disk verifies up to the line before.
            ValueError: ``event`` is not number ``count + 1`` of this episode, or is too long. Nothing was written.
        """
        count = self._count + 1
        if event.seq != count or event.episode != self._episode or self._broken is not None:
            self._admit(event)
        # As lines.frame, written out: this is the way of every event, before the kernel is answered.
        rest = b'"prev":"%b",%b' % (self._head.encode(), encode(event)[1:])
        head = sha256(rest).hexdigest()
        line = b'{"hash":"%b",%b\n' % (head.encode(), rest)
        size = len(line)
        if size >= LINE_LIMIT:
            raise ValueError(f"event {count} takes {size} bytes in the journal; at most {LINE_LIMIT - 1} are allowed")
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise self._break(error.strerror or str(error)) from None
        if written != size:
            raise self._break(f"only {written} of {size} bytes could be written")
        self._head = head
        self._count = count
        self._size += size
        if self._stream is not None:
            self._stream.send(line)

    def _admit(self, event: Event) -> None:
        if self._broken is not None:
            raise RecordError(self._broken)
        if self._episode is None:
            self._episode = event.episode
        if event.episode != self._episode:
            raise ValueError(f"an event of episode {event.episode!r} in the journal of episode {self._episode!r}")
        if event.seq != self._count + 1:
            raise ValueError(f"event number {event.seq} where the journal expects number {self._count + 1}")

    def checkpoint(self, make_event: Callable[[CheckpointData], Checkpoint]) -> Checkpoint:
        """Sign everything written so far, append that as an event, and fsync. Returns the event.

        Args:
            make_event: puts the envelope around the data; its ``seq`` is ``count + 1``.

        Raises:
            RecordError: it could not be written or synced, or the file is not as this writer left it.
            ValueError: as for :meth:`append`, or there is no event to sign yet.
        """
        if self._broken is not None:
            raise RecordError(self._broken)
        if self._episode is None:
            raise ValueError("a checkpoint before the first event")
        signature = self._key.sign(signed_bytes(self._episode, self._count + 1, self._head))
        event = make_event(CheckpointData(head=self._head, signature=signature.hex(), key=self._key.public.hex()))
        self.append(event)
        try:
            size = os.fstat(self._fd).st_size
            if size != self._size:
                raise self._break(f"it has {size} bytes, not the {self._size} written: another process wrote or cut it")
            os.fsync(self._fd)
            if self._new:
                # A new file's name lasts only once its folder is synced, and the folder's once its own is.
                for folder in (self._path.parent, self._directory):
                    _sync_folder(folder)
                self._new = False
        except OSError as error:
            raise self._break(error.strerror or str(error)) from None
        return event

    def close(self) -> None:
        """Close the file. Closing again does nothing; an event after it is refused."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._broken = self._broken or f"{self._path}: the journal is closed"

    def _break(self, why: str) -> RecordError:
        self._broken = f"{self._path}: the journal ends at event {self._count}: {why}"
        return RecordError(self._broken)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
