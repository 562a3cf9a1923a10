"""Back-pressure: a cgroup is stopped while its reader is behind, by the kernel's own freezer (cgroup version 2).

Whoever stops a cgroup must not die before it goes on: a guard, a process of its own, sets it going should its maker
end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from proctor.errors import SandboxError

__all__ = ["Freezer"]

_HIGH, _LOW = 0.25, 0.125


class Freezer:
    """Stops the cgroup whose folder is ``group`` while a ring is more than a quarter full, until an eighth is left.

    A cgroup that somebody else has stopped is left to them.

    Args:
        guarded: start the guard; needed where the cgroup's processes outlive this one.

    Attributes:
        times: how often it was stopped; seconds: for how long in all.

    Raises:
        SandboxError: the cgroup cannot be stopped by this user.
    """

    def __init__(self, group: Path, *, guarded: bool) -> None:
        self._state = group / "cgroup.freeze"
        try:
            self._fd = os.open(self._state, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise SandboxError(f"{self._state}: cannot be used: {error.strerror}") from None
        self._since: int | None = None
        self._guard: tuple[int, int] | None = self._start_guard() if guarded else None
        self.times = 0
        self.seconds = 0.0

    def _start_guard(self) -> tuple[int, int]:
        """A child that reads what its parent does, F and T, and thaws where that ends on F."""
        read, write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid != 0:
            os.close(read)
            return pid, write
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            state = os.dup2(self._fd, 3 if read != 3 else 4)  # everything else is the parent's
            read = os.dup2(read, 5)
            os.closerange(6, 4096)
            last = b""
            while news := os.read(read, 64):
                last = news[-1:]
            if last == b"F":
                os.pwrite(state, b"0", 0)
        finally:
            os._exit(0)

    def level(self, full: float) -> None:
        """Take note of how full the ring is, as a share of it."""
        if self._since is None and full > _HIGH:
            try:
                if os.pread(self._fd, 1, 0) != b"0":
                    return
                if self._guard is not None:
                    os.write(self._guard[1], b"F")
                os.pwrite(self._fd, b"1", 0)
            except OSError:  # the cgroup was removed: nobody is in it
                return
            self._since = time.monotonic_ns()
            self.times += 1
        elif self._since is not None and full < _LOW:
            self.thaw()

    def thaw(self) -> None:
        """Let the cgroup go on, if it was stopped here."""
        if self._since is None:
            return
        with contextlib.suppress(OSError):  # as above
            os.pwrite(self._fd, b"0", 0)
        self.seconds += (time.monotonic_ns() - self._since) / 1e9
        self._since = None
        if self._guard is not None:
            os.write(self._guard[1], b"T")

    def close(self) -> None:
        """Let it go on, and end the guard. Closing again does nothing."""
        if self._fd < 0:
            return
        self.thaw()
        os.close(self._fd)
        self._fd = -1
        if self._guard is not None:
            os.close(self._guard[1])
            os.waitpid(self._guard[0], 0)
            self._guard = None
