"""What the kernel sensor does itself in tier C: files and sockets on behalf of callers, and who may be signalled."""

from __future__ import annotations

import os

from proctor.sandbox.layout import Layout
from proctor.sensors import pairs
from proctor.sensors.behalf import Behalf
from proctor.sensors.broker import Broker
from proctor.sensors.paths import Resolver
from proctor.sensors.processes import Processes

__all__ = ["Domain"]

_SCOPED = 6  # Landlock's version that keeps signals inside


class Domain:
    """The parts of tier C that act.

    Args:
        abi: the kernel's Landlock version.
    """

    def __init__(self, layout: Layout, resolver: Resolver, processes: Processes, abi: int) -> None:
        self.files = Behalf(layout, resolver, self._holds_master)
        self.network = Broker(layout, processes)
        self._processes = processes
        self._scoped = abi >= _SCOPED

    def _holds_master(self, pair: int) -> bool:
        return pairs.holds((proc.pid for proc in self._processes.all()), pair)

    def may_signal(self, inside: int) -> bool:
        """Whether a call of the kill family may go on, by the id it names: nothing outside the episode is reached.

        0 is the caller's own process group, which began with its command. -1 is every process of the user: only where
        the kernel itself leaves those outside out.
        """
        if inside == -1:
            return self._scoped
        if inside >= 0:
            return inside == 0 or self._processes.by_inside(inside) is not None
        for proc in self._processes.all():
            try:
                if os.getpgid(proc.pid) == -inside:
                    return True
            except ProcessLookupError:
                continue
        return False
