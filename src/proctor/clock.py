"""The only place that reads a clock, so that everything above it can be replayed."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Two readings, both in nanoseconds."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC: never goes back, comparable within one boot."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may be stepped by the administrator."""
        ...


class SystemClock:
    """The kernel's clocks."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)
