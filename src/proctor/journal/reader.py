"""Reading a journal, in bounded memory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from proctor.errors import RecordError
from proctor.events import AnyEvent
from proctor.journal.lines import Damage, Entry, walk
from proctor.journal.writer import FILE, FOLDER

__all__ = ["open_journal", "open_regular", "read", "read_entries"]


def read(directory: Path, *, lenient: bool = False) -> Iterator[AnyEvent]:
    """Return the events of the record in ``directory`` in order, checking form and chain on the way.

    Args:
        directory: the record's folder.
        lenient: at damage or a cut end, stop instead of raising; what came before is good.

    Raises:
        RecordError: there is no journal, or (unless ``lenient``) it is damaged; the events before have been yielded.
    """
    return (entry.event for entry in read_entries(directory, lenient=lenient))


def read_entries(directory: Path, *, lenient: bool = False) -> Iterator[Entry]:
    """Yield what :func:`read` does, each with its line number and hash."""
    with open_journal(directory) as file:
        for item in walk(file):
            if not isinstance(item, Damage):
                yield item
            elif not lenient:
                raise RecordError(f"{directory / FOLDER / FILE}:{item.line}: {item.reason}")


def open_journal(directory: Path) -> BinaryIO:
    """Open the journal of the record in ``directory`` for reading.

    Raises:
        RecordError: there is none, or it cannot be read.
    """
    path = directory / FOLDER / FILE
    try:
        return open_regular(path)
    except OSError as error:
        reason = error.strerror
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            reason = "no journal is there"
        elif error.errno == errno.ELOOP:
            reason = "the journal is a symbolic link, which is not followed"
        raise RecordError(f"not a record: {path}: {reason}") from None


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading: a record is untrusted, and a link or a FIFO in it is not followed.

    Raises:
        OSError: it cannot be opened or is not a regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "it is not a regular file", str(path))
    return open(fd, "rb")
