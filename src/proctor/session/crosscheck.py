"""Tier A: what the supervisor recorded, compared with what the kernel's tracepoints saw of the same processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proctor.errors import SandboxError
from proctor.events import kinds
from proctor.sensors.freezer import Freezer
from proctor.sensors.tracepoints import Tracepoints
from proctor.sensors.tracerecords import shapes
from proctor.session.ledger import Ledger

if TYPE_CHECKING:
    from proctor.session.loop import Loop
    from proctor.session.recorder import Recorder

__all__ = ["CrossCheck"]

_MOST = 20


class CrossCheck:
    """The tracepoint sensor of one episode, and its ledger.

    Loading takes 0.3 s and needs no cgroup: it is made while the sandbox is being built.

    Args:
        ring_bytes: the ring's size; the smaller, the sooner records are lost that nobody reads.

    Raises:
        SandboxError: the sensor cannot be had; it says why.
    """

    def __init__(self, *, ring_bytes: int = 1 << 22) -> None:
        self._wake = ring_bytes // 16
        self._tracepoints = Tracepoints(shapes(watch=False), ring_bytes=ring_bytes)
        self._ledger = Ledger()
        self._lost = 0
        self._recorder: Recorder | None = None

    def begin(self, group: Path | None, recorder: Recorder, loop: Loop) -> None:
        """Watch the episode's cgroup from now on; nothing has run in it yet.

        Raises:
            SandboxError: there is no cgroup, or the kernel refuses.
        """
        if group is None:
            raise SandboxError("tier A needs a cgroup (version 2) for the episode; none may be made here")
        self._recorder = recorder
        recorder.seen = self._ledger.recorded
        # Nearly every record follows a call that the supervisor answered: the ring fills as slowly as it records, and
        # is read a batch at a time.
        self._tracepoints.freezer = Freezer(group, guarded=False)  # the tree does not outlive this process
        self._tracepoints.attach(group, detail=False, wake=self._wake)
        loop.register(self._tracepoints.fd, lambda _: self.drain())

    def drain(self) -> None:
        """Enter what the tracepoints told since, and say at once what the ring had no room for."""
        self._tracepoints.drain(self._ledger.told)
        lost = self._tracepoints.totals().lost
        if lost > self._lost:
            self._gap(f"the tracepoints' ring had no room for {lost - self._lost} records: they cannot be compared")
            self._lost = lost

    def _gap(self, what: str) -> None:
        if self._recorder is not None:
            self._recorder.emit(kinds.Gap, kinds.GapData(of="kernel", what=what))

    def close(self) -> None:
        """Compare: every process has ended. Differences are gaps, the first 20 each by itself."""
        if self._recorder is None:
            return
        self._tracepoints.detach()
        self.drain()
        totals = self._tracepoints.totals()
        freezes = 0
        if self._tracepoints.freezer is not None:
            freezes = self._tracepoints.freezer.times
            self._tracepoints.freezer.close()
        differences = self._ledger.close()
        if self._lost:
            differences.clear()  # what was not told would be all of them
        elif (missing := sum(totals.seen) - self._tracepoints.told) != 0:
            differences.append(f"the tracepoints counted {missing} records that the ring did not hold")
        for what in differences[:_MOST]:
            self._gap(what)
        if len(differences) > _MOST:
            self._gap(f"{len(differences) - _MOST} further differences between the record and the tracepoints")
        data = self._ledger.data(seen=sum(totals.seen), dropped=totals.lost, freezes=freezes)
        self._recorder.emit(kinds.Reconcile, data)
        self._tracepoints.close()
        self._recorder = None
