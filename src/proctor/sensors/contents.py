"""What files of the write roots held before the agent first changed them, and what they hold at the end.

A call that would change a file is stopped before it runs, so its file is read as it was: the first time only, and
within the bounds below. What is seen only by path: a file that is changed through a second hard link is compared under
the name that was used, one below a folder that was renamed under the names that were used.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from proctor.events import kinds
from proctor.events.text import from_bytes, to_bytes
from proctor.sandbox.linux import openat2

__all__ = ["DIFF", "MAX_FILES", "MAX_KEPT", "MAX_SIZE", "Contents"]

MAX_FILES = 2_000
"""Files that are compared."""
_MAX_BEYOND = 100_000
"""Files beyond those that are told apart, so that each counts once."""
MAX_SIZE = 256 * 1024
"""A larger file is compared by its digest, and its text is not shown. Bytes."""
MAX_KEPT = 16 * 1024 * 1024
"""Bytes that are kept of all files together; beyond, digests."""
MAX_DIGESTED, MAX_DIGESTED_AT_END = 16 * 1024 * 1024, 64 * 1024 * 1024
"""Bytes that are read of files too large to be kept, while the agent waits and after; beyond, they are not compared."""
MAX_LINES = 2_000
_MAX_WORK = 20_000_000
"""Lines on both sides of one comparison, and lines times lines of all: the algorithm is quadratic at worst."""
DIFF = 8 * 1024
"""Characters kept of one comparison by lines."""

_AT_FDCWD = -100
_NO_SYMLINKS = 0x04  # RESOLVE_NO_SYMLINKS, linux/openat2.h
_CHANGING = {"open_write", "truncate", "rename", "unlink", "create"}


class _Content(NamedTuple):
    """A file's bytes; None where only their digest was taken, and no digest where not even that."""

    size: int
    digest: str | None
    raw: bytes | None


_UNREAD = _Content(-1, None, None)
_OTHER = _Content(-2, None, None)
"""Neither a file nor nothing."""


class Contents:
    """Keeps what was there before.

    Paths are the machine's own: those that the sandbox's resolver gives in a write root are the same there, and hold no
    symbolic link.
    """

    def __init__(self) -> None:
        self._before: dict[str, _Content | None] = {}
        self._kept = 0
        self._room = MAX_DIGESTED
        self._beyond: set[int] = set()

    def about_to(self, data: kinds.FileData) -> None:
        """Look at what a call, which is stopped, would change."""
        if data.role == "workspace" and data.object is not None and data.op in _CHANGING:
            if data.existed:
                self._keep(data.object)
            elif data.op == "create":
                self._note(data.object, None)
        if data.target_role == "workspace" and data.target_object is not None:  # of rename and link
            self._keep(data.target_object)

    def _keep(self, path: str) -> None:
        if path not in self._before and len(self._before) < MAX_FILES:
            found = self._read(path)
            if found is not _OTHER:
                self._note(path, found)
                self._kept += len(found.raw) if found is not None and found.raw is not None else 0
        else:
            self._note(path, None)

    def _note(self, path: str, content: _Content | None) -> None:
        if path in self._before:
            return
        if len(self._before) < MAX_FILES:
            self._before[path] = content
        elif len(self._beyond) < _MAX_BEYOND:
            self._beyond.add(hash(path))

    def _read(self, path: str) -> _Content | None:
        """A file's content; None where there is none."""
        # Without waiting for a FIFO's other end, and without following what the agent may put in a folder's place.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
        fd = openat2(_AT_FDCWD, to_bytes(path), flags, _NO_SYMLINKS)
        if fd < 0:
            return None if -fd in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR} else _UNREAD
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return _OTHER
            if status.st_size <= MAX_SIZE and self._kept + status.st_size <= MAX_KEPT:
                raw = _whole(fd, MAX_SIZE + 1)
                if len(raw) <= MAX_SIZE:
                    return _Content(len(raw), hashlib.sha256(raw).hexdigest(), raw)
                os.lseek(fd, 0, os.SEEK_SET)
            size = os.fstat(fd).st_size
            if size > self._room:
                return _Content(size, None, None)
            self._room -= size
            return _Content(size, _digest(fd, size), None)
        except OSError:
            return _UNREAD
        finally:
            os.close(fd)

    def compared(self, redact: Callable[[str], str]) -> Iterator[kinds.ChangeData | kinds.ChangesData]:
        """Yield each file that is not as it was, by path, and then the totals. To be called once, when nothing runs.

        Args:
            redact: takes secrets out of text before it is cut.
        """
        self._kept, self._room = 0, MAX_DIGESTED_AT_END
        totals = dict.fromkeys(("made", "modified", "removed", "unchanged", "gone", "not_compared"), 0)
        work = _MAX_WORK
        for path, before in sorted(self._before.items()):
            after = self._read(path)
            if after is _OTHER:
                if before is None:
                    continue
                after = None
            kind = _kind(before, after)
            totals[kind] += 1
            if kind in {"unchanged", "gone", "not_compared"}:
                continue
            cost = _lines(before) * _lines(after)
            text = None
            if cost <= work:
                work -= cost
                text = _unified(before, after)
            told = redact(text) if text else None
            yield kinds.ChangeData(
                path=path,
                change=kind,  # type: ignore[arg-type]
                before=_shown(before),
                after=_shown(after),
                text=told[:DIFF] if told is not None else None,
                cut=told is not None and len(told) > DIFF,
            )
        yield kinds.ChangesData(**totals | {"not_compared": totals["not_compared"] + len(self._beyond)})


def _whole(fd: int, most: int) -> bytes:
    parts = []
    while most > 0 and (part := os.read(fd, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _digest(fd: int, size: int) -> str:
    """SHA-256 of the first ``size`` bytes: a file that grows meanwhile is not read for ever."""
    found = hashlib.sha256()
    while size > 0 and (part := os.read(fd, min(size, 1 << 20))):
        found.update(part)
        size -= len(part)
    return found.hexdigest()


def _kind(before: _Content | None, after: _Content | None) -> str:
    if before is None or after is None:
        return "gone" if before is after else "made" if before is None else "removed"
    if before.size != after.size and min(before.size, after.size) >= 0:
        return "modified"
    if before.digest is None or after.digest is None:
        return "not_compared"
    return "unchanged" if before.digest == after.digest else "modified"


def _shown(content: _Content | None) -> kinds.ContentData | None:
    if content is None or content.size < 0:
        return None
    return kinds.ContentData(bytes=content.size, sha256=content.digest)


def _lines(content: _Content | None) -> int:
    if content is None:
        return 1
    if content.raw is None:
        return _MAX_WORK + 1
    number = content.raw.count(b"\n") + 1
    return number if number <= MAX_LINES else _MAX_WORK + 1


def _unified(before: _Content | None, after: _Content | None) -> str | None:
    """The comparison by lines, without the names; None where one side is no text."""
    sides = [content.raw or b"" if content is not None else b"" for content in (before, after)]
    if any(b"\0" in side for side in sides):
        return None
    from difflib import unified_diff  # the agent has ended: nobody waits for it

    old, new = map(_split, sides)
    return "\n".join(list(unified_diff(old, new, n=3, lineterm=""))[2:])


def _split(raw: bytes) -> list[str]:
    """Lines as diff(1) shows them."""
    lines = from_bytes(raw).split("\n")
    if lines[-1]:
        lines[-1] += "\n\\ No newline at end of file"
    else:
        del lines[-1]
    return lines
