"""The supervisor's event loop: one thread, one epoll, named timers."""

from __future__ import annotations

import select
from collections.abc import Callable

from proctor.session.timers import Timers

__all__ = ["Loop"]


class Loop:
    """Calls an action with epoll's mask when its descriptor is readable or hung up, and timers when they are due."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._epoll = select.epoll()
        self._on: dict[int, Callable[[int], None]] = {}
        self.timers = Timers(now)

    def register(self, fd: int, action: Callable[[int], None]) -> None:
        """Call ``action`` whenever ``fd`` has something to say."""
        self._epoll.register(fd, select.EPOLLIN)
        self._on[fd] = action

    def unregister(self, fd: int) -> None:
        """Listen to ``fd`` no more; one that is not registered is no error."""
        if self._on.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def once(self, wait_seconds: float | None = None) -> int:
        """Wait for news and handle it; return how many descriptors had some.

        Args:
            wait_seconds: at most this long, and leave the timers alone; None: until the next timer, which is run.
        """
        ready = self._epoll.poll(self.timers.wait_seconds() if wait_seconds is None else wait_seconds)
        for fd, mask in ready:
            action = self._on.get(fd)
            if action is not None:  # an earlier action of this round may have unregistered it
                action(mask)
        if wait_seconds is None:
            self.timers.run()
        return len(ready)

    def close(self) -> None:
        """Close epoll; a forked child does so, that it may not hear what is its parent's."""
        self._epoll.close()
