"""The policy's limits: hard where this kernel gives them, sampled where it does not, and said which."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

from proctor.events import kinds
from proctor.policy.records import Resources as Wanted
from proctor.sandbox.cgroups import Cgroup
from proctor.sensors.resources import Resources
from proctor.session.recorder import Recorder
from proctor.session.timers import Timers

__all__ = ["Limits"]

_CHECK_SECONDS = 0.25
_FIRST_USAGE_SECONDS = 1.0
_USAGE_SECONDS = 2.0
_THREADS = 8
"""Threads allowed for each process allowed, where the kernel counts both as one."""


class Limits:
    """Watches what the episode uses.

    Args:
        passed: called with the limit's name when it is passed.

    Attributes:
        degraded: limits that this kernel does not give in full, and what holds instead.
    """

    def __init__(
        self,
        wanted: Wanted,
        group: Cgroup | None,
        sensor: Resources,
        recorder: Recorder,
        timers: Timers,
        passed: Callable[[str], None],
    ) -> None:
        self._wanted = wanted
        self._sensor = sensor
        self._recorder = recorder
        self._timers = timers
        self._passed = passed
        self.degraded = self._set(group)

    def _set(self, group: Cgroup | None) -> dict[str, str]:
        wanted = self._wanted
        memory = wanted.memory_mb << 20 if wanted.memory_mb is not None else None
        got: set[str] = set()
        if group is not None:
            got = group.limit(memory_bytes=memory, processes=wanted.processes * _THREADS)
        degraded = {}
        if memory is not None and "memory" not in got:
            degraded["memory"] = "no memory cgroup: per process (RLIMIT_DATA), and for all sampled every 0.25 s"
        if wanted.cpu_seconds is not None:
            degraded["cpu"] = "no kernel limit for a tree: per process (RLIMIT_CPU), and for all sampled every 0.25 s"
        if "processes" not in got and os.getuid() == 0:
            degraded["threads"] = (
                "no pids cgroup, and RLIMIT_NPROC does not bind root: processes are limited, threads are not"
            )
        return degraded

    def of_a_process(self) -> dict[int, int]:
        """RLIMIT_* numbers and values for every command."""
        wanted = self._wanted
        limits = {resource.RLIMIT_CORE: 0}
        if wanted.memory_mb is not None:
            limits[resource.RLIMIT_DATA] = wanted.memory_mb << 20
        if wanted.cpu_seconds is not None:
            limits[resource.RLIMIT_CPU] = max(1, int(wanted.cpu_seconds) + 1)
        if os.getuid() != 0:
            limits[resource.RLIMIT_NPROC] = wanted.processes * _THREADS
        return limits

    def start(self) -> None:
        """The first command starts: so do the clocks."""
        wanted = self._wanted
        if wanted.wall_seconds is not None:
            self._timers.after("wall", wanted.wall_seconds, lambda: self._passed("wall_seconds"))
        if wanted.cpu_seconds is not None or wanted.memory_mb is not None:
            self._timers.after("limits", _CHECK_SECONDS, self._check)
        self._timers.after("usage", _FIRST_USAGE_SECONDS, self._usage)

    def pause(self) -> None:
        """The caller has the agent stopped: until it goes on its wall time does not pass."""
        self._timers.pause("wall")

    def resume(self) -> None:
        """It goes on: what was left of its wall time is left."""
        self._timers.resume("wall")

    def _check(self) -> None:
        wanted = self._wanted
        sample = self._sensor.sample()
        if wanted.cpu_seconds is not None and sample.cpu_ns > wanted.cpu_seconds * 1e9:
            self._passed("cpu_seconds")
        elif wanted.memory_mb is not None and sample.rss_bytes > wanted.memory_mb << 20:
            self._passed("memory_mb")
        else:
            self._timers.after("limits", _CHECK_SECONDS, self._check)

    def _usage(self) -> None:
        if self._recorder.decision == "go_on":
            self._recorder.emit(kinds.Usage, self._sensor.sample())
        self._timers.after("usage", _USAGE_SECONDS, self._usage)
