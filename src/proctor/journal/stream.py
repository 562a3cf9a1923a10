"""A journal's lines on their way to a collector: the sender's side.

What is sent is the journal, byte for byte, and nothing else. A collector on a socket answers once, with one line: at
the end its receipt (:mod:`proctor.journal.receipt`), or why it has refused. A pipe has no way back, so nothing is
answered on it. ``docs/containers.md`` has the whole of it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time
from collections.abc import Callable

__all__ = ["ANSWER_LIMIT", "STALL_SECONDS", "Stream", "is_stream"]

STALL_SECONDS = 10.0
"""How long a collector may take for one line; then the stream is lost. The agent's recorded calls wait that long."""

ANSWER_SECONDS = 30.0
"""How long the collector may take to write everything to its disk and answer."""

ANSWER_LIMIT = 64 * 1024

_PIPE_BUF = 4096
"""A pipe that poll(2) calls writable takes this much without waiting (pipe(7))."""


def is_stream(fd: int) -> bool:
    """Whether ``fd`` is a pipe or a socket of a stream: what a journal can be sent over."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return True
    if not stat.S_ISSOCK(mode):
        return False
    with socket.socket(fileno=os.dup(fd)) as one:
        return one.type == socket.SOCK_STREAM


class Stream:
    """Sends lines over a pipe or a connected socket. Nothing here raises: what went wrong is in ``broken``.

    Args:
        fd: the descriptor; from here on the stream's own.
        stall_seconds: how long :meth:`send` may wait for a collector that does not take a line.

    Attributes:
        broken: why the stream is lost; None while it is whole. Nothing more is sent then.
        answers: the other end can answer.
    """

    def __init__(self, fd: int, *, stall_seconds: float = STALL_SECONDS) -> None:
        self.broken: str | None = None
        self.answers = stat.S_ISSOCK(os.fstat(fd).st_mode)
        self._fd = fd
        self._stall = stall_seconds
        self._socket = socket.socket(fileno=fd) if self.answers else None
        self._out = select.poll()
        self._out.register(fd, select.POLLOUT)
        self._write: Callable[[memoryview], int] = self._to_socket if self._socket is not None else self._to_pipe

    def fileno(self) -> int:
        """The descriptor; it becomes readable, or hangs up, when the collector refuses or is gone."""
        return self._fd

    def send(self, line: bytes) -> None:
        """Hand ``line`` to the kernel, whole; from then on it survives this process."""
        if self.broken is not None:
            return
        view = memoryview(line)
        due: float | None = None
        try:
            while view:
                try:
                    view = view[self._write(view) :]
                except BlockingIOError:
                    # For the whole line, not from its last byte on: a trickle would hold the agent for ever.
                    due = time.monotonic() + self._stall if due is None else due
                    left = due - time.monotonic()
                    if left <= 0 or not self._out.poll(left * 1000):
                        self.broken = f"the collector did not take a line within {self._stall:g} s"
                        return
        except OSError as error:
            self.broken = self._said() or f"the collector is gone ({error.strerror})"

    def _to_socket(self, view: memoryview) -> int:
        if self._socket is None:
            raise BrokenPipeError
        return self._socket.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _to_pipe(self, view: memoryview) -> int:
        # Not by O_NONBLOCK: that is a property of the pipe's end, which whoever gave it to us holds too.
        if not self._out.poll(0):
            raise BlockingIOError
        return os.write(self._fd, view[:_PIPE_BUF])

    def woke(self) -> None:
        """The descriptor has news although nothing is due: the collector refused, or is gone."""
        if self.broken is None:
            self.broken = self._said() or "the collector is gone"

    def _said(self) -> str | None:
        """What the collector said before it went, as one printable line."""
        if self._socket is None:
            return None
        for _ in range(
            2
        ):  # where it left lines unread the first answer is ECONNRESET, and what it said comes after that
            with contextlib.suppress(OSError):
                said = self._socket.recv(ANSWER_LIMIT, socket.MSG_DONTWAIT)
                text = said.decode("utf-8", "replace").strip()
                return f"the collector refused: {text[:300]!r}" if text else None
        return None

    def finish(self, seconds: float = ANSWER_SECONDS) -> bytes | None:
        """Say that this was all, and return the collector's answer; None where none came or there is no way for one."""
        if self._socket is None or self.broken is not None:
            self.close()
            return None
        answer = b""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            ends = time.monotonic() + seconds
            while not answer.endswith(b"\n") and len(answer) < ANSWER_LIMIT:
                self._socket.settimeout(max(0.01, ends - time.monotonic()))
                chunk = self._socket.recv(ANSWER_LIMIT)
                if not chunk:
                    break
                answer += chunk
        self.close()
        return answer if answer.endswith(b"\n") else None

    def close(self) -> None:
        """Close the descriptor. Closing again does nothing."""
        if self._socket is not None:
            self._socket.close()
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
