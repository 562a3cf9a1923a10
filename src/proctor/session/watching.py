"""Puts the ``watch`` sensor over what the policy protects and hides, and keeps its leases armed."""

from __future__ import annotations

from proctor.events import kinds
from proctor.sandbox.layout import Layout
from proctor.sensors.processes import Proc
from proctor.sensors.watch import Watch
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder

__all__ = ["Watching"]

_REARM_SECONDS = 0.01


class Watching:
    """Connects the sensor to the loop. What cannot be watched is a gap, said before the agent starts."""

    def __init__(self, watch: Watch, layout: Layout, loop: Loop, recorder: Recorder) -> None:
        self._watch = watch
        self._loop = loop
        for mask in layout.masks:
            watch.add(mask.path, mask.role)
        for path in layout.protect:
            watch.add(path, "protected")
        if watch.unwatched:
            what = f"{len(watch.unwatched)} paths are not watched, the first: {watch.unwatched[0]}"
            recorder.emit(kinds.Gap, kinds.GapData(of="watch", what=what))
        loop.register(watch.signals, self._on_lease)
        loop.register(watch.notices, lambda _: watch.on_notice())
        self._arm_later()

    def _arm_later(self) -> None:
        self._loop.timers.after("rearm", _REARM_SECONDS, self._arm)

    def _arm(self) -> None:
        if self._watch.rearm():
            self._arm_later()

    def _on_lease(self, _: int) -> None:
        self._watch.on_signal()
        self._arm_later()

    def let_by(self, path: str, proc: Proc, tid: int) -> None:
        """Let an open by that does not wait."""
        self._watch.let_by(path, proc, tid)
        self._arm_later()

    def drain(self) -> None:
        """Take in what the queue still holds."""
        self._watch.on_notice()

    def thaw(self) -> None:
        """Let go the openers that were held."""
        self._watch.thaw()
        self._arm_later()
