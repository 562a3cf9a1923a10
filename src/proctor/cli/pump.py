"""Pass bytes between descriptors while waiting for the supervisor's next message."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence

__all__ = ["Flow", "Pump"]

_CHUNK = 1 << 16
_LOOK_SECONDS = 0.2
"""How often it is looked whether a flow that may not read now may: nothing tells that a job came to the foreground."""
_CLOSED_SECONDS = 0.05


class Flow:
    """Bytes from ``source`` to ``sink``, at most one piece on its way: who does not take holds up who gives.

    Args:
        may_read: asked before each read.
        seen: called with each piece.
        ended: called when nothing more is to come.
        reopens: the source may come back after it was closed: a terminal's master, as long as there is somebody who
            could open the slave again.

    Attributes:
        left: what the sink has not taken yet.
        ended: nothing more is to come.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        *,
        may_read: Callable[[], bool] = lambda: True,
        seen: Callable[[bytes], None] = lambda _: None,
        ended: Callable[[], None] = lambda: None,
        reopens: bool = False,
    ) -> None:
        self.source = source
        self.sink = sink
        self.may_read = may_read
        self.reopens = reopens
        self.left = b""
        self.ended = False
        self._seen = seen
        self._on_end = ended
        self._closed_until = 0.0

    def wants(self) -> tuple[int, int, float | None]:
        """(descriptor, poll's mask, or when to ask again); mask 0: nothing now."""
        if self.left:
            return self.sink, select.POLLOUT, None
        if self._closed_until:
            wait = self._closed_until - time.monotonic()
            if wait > 0:
                return self.source, 0, wait
            self._closed_until = 0.0
        if not self.may_read():
            return self.source, 0, _LOOK_SECONDS
        return self.source, select.POLLIN, None

    def move(self) -> None:
        """Read, or write what was read, as far as that goes without waiting."""
        if not self.left:
            try:
                self.left = os.read(self.source, _CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # EIO: a terminal that nobody has open, or that is gone
                self.left = b""
            if not self.left:
                if self.reopens:
                    self._closed_until = time.monotonic() + _CLOSED_SECONDS
                else:
                    self._end()
                return
            self._seen(self.left)
        try:
            self.left = self.left[os.write(self.sink, self.left) :]
        except BlockingIOError:
            return
        except OSError:  # the reader has left
            self.left = b""
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._on_end()


class Pump:
    """Moves every flow's bytes while somebody waits for something else."""

    def __init__(self, flows: Sequence[Flow] = ()) -> None:
        self.flows = list(flows)

    def until(self, news: int) -> None:
        """Return once the descriptor ``news`` has something to say."""
        while not self._once(news, None):
            pass

    def finish(self, flow: Flow, quiet_seconds: float, given_up: Callable[[], bool]) -> None:
        """Move one flow until it ends, or nothing came for ``quiet_seconds``.

        A sink that takes nothing is waited for, unless it is given up.
        """
        self.flows = [flow]
        flow.reopens = False
        until = time.monotonic() + quiet_seconds
        while not flow.ended and (flow.left or time.monotonic() < until):
            before = flow.left
            self._once(-1, _LOOK_SECONDS)
            if flow.left or before:
                until = time.monotonic() + quiet_seconds
            if before and flow.left == before and given_up():
                return

    def _once(self, news: int, at_most: float | None) -> bool:
        poll = select.poll()
        masks: dict[int, int] = {news: select.POLLIN} if news >= 0 else {}
        waits = [] if at_most is None else [at_most]
        active: dict[Flow, tuple[int, int]] = {}
        for flow in self.flows:
            if flow.ended:
                continue
            fd, mask, wait = flow.wants()
            if wait is not None:
                waits.append(wait)
            if mask:
                active[flow] = (fd, mask)
                masks[fd] = masks.get(fd, 0) | mask
        for fd, mask in masks.items():
            poll.register(fd, mask)
        ready = dict(poll.poll(min(waits) * 1000 if waits else None))
        for flow, (fd, mask) in active.items():
            if ready.get(fd, 0) & (mask | select.POLLHUP | select.POLLERR | select.POLLNVAL):
                flow.move()
        return news in ready
