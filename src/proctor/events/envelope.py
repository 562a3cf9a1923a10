"""The envelope that every event carries."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["VERSION", "Attribution", "Event", "Sensor", "Truth"]

VERSION = 1
"""Version of the stored form. It rises with every change that an old reader would misread."""

Sensor = Literal["kernel", "gateway", "resources", "watch", "transcript", "alert", "session"]
"""Where the fact comes from. ``session`` is Proctor speaking about itself (capabilities, gaps, responses, close)."""

Attribution = Literal["cgroup", "lineage", "marker", "content", "time"]
"""How the step was found, in falling strength."""

Truth = Literal["resolved", "claimed", "racy"]
"""``resolved``: read from the kernel's own objects. ``claimed``: as the process or agent stated it.
``racy``: read from the caller's memory before the call went on; another thread could have changed it since."""


class Event(Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True, gc=False):
    """One recorded fact.

    Attributes:
        v: version of the stored form, :data:`VERSION`.
        episode: the episode's id.
        seq: number of the event in its journal, from 1, without holes.
        t_mono_ns: CLOCK_MONOTONIC when the sensor learned of it, nanoseconds.
        t_wall_ns: Unix time when the sensor learned of it, nanoseconds.
        sensor: the source.
        pid: process id as the supervisor sees it (outside the sandbox); None where no process is known.
        tid: thread id where it is not the process's first thread.
        ppid: parent's process id when the process was first seen.
        start_time: the process's start in clock ticks since boot (field 22 of /proc/PID/stat); with pid it is unique.
        exe: the process's executable as the kernel names it, in the sandbox's view.
        group: pid of the command group (direct child of the root process) the process descends from.
        origin_step: step whose process started this tree; sticky. None: not known.
        active_step: the one step open at this time. None: none, or several.
        candidates: the open steps, where several were open and no one can be named.
        attribution: how ``origin_step`` (or else ``active_step``) was found.
        truth: how surely ``data`` describes what the kernel did.
    """

    v: int
    episode: str
    seq: int
    t_mono_ns: int
    t_wall_ns: int
    sensor: Sensor
    pid: int | None = None
    tid: int | None = None
    ppid: int | None = None
    start_time: int | None = None
    exe: str | None = None
    group: int | None = None
    origin_step: str | None = None
    active_step: str | None = None
    candidates: tuple[str, ...] = ()
    attribution: Attribution | None = None
    truth: Truth = "resolved"

    @property
    def step(self) -> str | None:
        """The step to name in a finding: where the tree started, else the one step open at the time."""
        return self.origin_step if self.origin_step is not None else self.active_step
