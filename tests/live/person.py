"""A person at a terminal: a real pseudo-terminal with a program on it, keys to press and a screen to wait for."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

__all__ = ["Person", "sitting"]

SECONDS = 180


def _on(slave: int) -> None:
    """Lead a session whose controlling terminal the slave is, as a login does."""
    os.setsid()
    ioctl(slave, termios.TIOCSCTTY, 0)


class Person:
    """Types and reads. ``shown`` is everything that the terminal got so far."""

    def __init__(self, argv: Sequence[str], folder: Path, env: Mapping[str, str], rows: int, columns: int) -> None:
        self.master, slave = os.openpty()
        self._got = bytearray()
        self._seen = 0
        self.resize(rows, columns)
        self.usual = self.modes
        self.process = subprocess.Popen(
            argv, cwd=folder, env=dict(env, TERM="xterm"), stdin=slave, stdout=slave, stderr=slave,
            preexec_fn=lambda: _on(slave),  # noqa: PLW1509 - nothing else takes a terminal for a child
        )  # fmt: skip
        os.close(slave)

    @property
    def shown(self) -> bytes:
        return bytes(self._got)

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes (its master speaks for it)."""
        return termios.tcgetattr(self.master)

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes | str) -> None:
        os.write(self.master, keys if isinstance(keys, bytes) else keys.encode())

    def _take(self, seconds: float) -> bool:
        """Read what is there; False: the terminal is closed."""
        if select.select([self.master], [], [], seconds)[0]:
            try:
                piece = os.read(self.master, 1 << 16)
            except OSError:
                return False
            self._got += piece
        return True

    def sees(self, what: bytes | str) -> re.Match[bytes]:
        """Wait until what is shown since the last such call matches; return the match."""
        pattern = re.compile(what if isinstance(what, bytes) else what.encode(), re.DOTALL)
        deadline = time.monotonic() + SECONDS
        while (found := pattern.search(self._got, self._seen)) is None:
            more = self._take(0.05)
            found = pattern.search(self._got, self._seen)
            assert found or (more and time.monotonic() < deadline), (
                f"never {what!r}: {self.shown[self._seen :][-3000:]!r}"
            )
        self._seen = found.end()
        return found

    def reads(self, seconds: float) -> bytes:
        """What comes in this time."""
        start, deadline = len(self._got), time.monotonic() + seconds
        while time.monotonic() < deadline and self._take(0.05):
            pass
        return bytes(self._got[start:])

    def leaves(self) -> int:
        """Wait for the program's end; return its status."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.shown[-3000:]!r}"
            self._take(0.02)
        while select.select([self.master], [], [], 0)[0] and self._take(0):
            pass
        return self.process.returncode


@contextmanager
def sitting(
    argv: Sequence[str], folder: Path, env: Mapping[str, str], *, rows: int = 30, columns: int = 100
) -> Iterator[Person]:
    """A person for whom a program was started; what is left at the end is ended."""
    person = Person(argv, folder, env, rows, columns)
    try:
        yield person
    finally:
        if person.process.poll() is None:
            person.process.send_signal(signal.SIGKILL)
            person.process.wait()
        os.close(person.master)
