"""One event's way: envelope, journal, detectors, response; in that order, before the kernel is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proctor.clock import Clock
from proctor.detectors.engine import Engine
from proctor.events import VERSION, Attribution, Event, Sensor, Truth, kinds
from proctor.findings import Finding
from proctor.journal.redaction import Redactor
from proctor.journal.stream import Stream
from proctor.journal.writer import Writer
from proctor.sensors.kernel import Decision
from proctor.sensors.processes import Proc
from proctor.sensors.steps import Steps

__all__ = ["Recorder"]

_SENSOR: dict[type[Event], Sensor] = {
    **dict.fromkeys(
        (kinds.Clone, kinds.Process, kinds.Exec, kinds.ExecResult, kinds.Exit, kinds.File, kinds.Net, kinds.Signal,
         kinds.ProcessControl, kinds.Refused, kinds.Call, kinds.Result), "kernel"),
    kinds.Read: "watch",
    kinds.Usage: "resources",
    kinds.Flow: "gateway",
    kinds.Lookup: "gateway",
    kinds.Mark: "transcript",
}  # fmt: skip


class Recorder:
    """Takes facts from the sensors and gives each its place in the journal.

    Args:
        respond: called with every finding that is new or has grown stronger, after its event is in the journal.

    Attributes:
        stream: what the writer sends its lines over, while it is whole.
        on_stream_lost: called once with why it is not.
    """

    decision: Decision = "go_on"

    def __init__(
        self, episode: str, writer: Writer, engine: Engine, redactor: Redactor, clock: Clock, steps: Steps,
        respond: Callable[[Finding, int], None],
    ) -> None:  # fmt: skip
        self._episode = episode
        self._writer = writer
        self._engine = engine
        self.redactor = redactor
        self._redact = redactor.event
        self._monotonic, self._wall = clock.monotonic_ns, clock.wall_ns
        self._steps = steps
        self._respond = respond
        self.gaps: list[tuple[int, kinds.GapData]] = []
        self.responses: list[tuple[int, kinds.ResponseData]] = []
        self.leftover: tuple[kinds.LeftoverProcess, ...] = ()
        self.seen: Callable[[Event], None] | None = None
        """Called with every event that is in the journal: tier A counts them."""
        self.stream: Stream | None = None
        self.on_stream_lost: Callable[[str], None] = lambda _: None
        self.after: Callable[[int, Event, list[Finding]], None] = lambda _seq, _event, _found: None

    def emit(
        self,
        cls: type[Event],
        data: Any,
        *,
        proc: Proc | None = None,
        tid: int | None = None,
        truth: Truth = "resolved",
    ) -> int:
        """Record one event; return its number. Responses to its findings have taken effect on return.

        Raises:
            RecordError: it could not be written; the episode must end.
        """
        event = self._envelope(cls, data, proc, tid, truth)
        event = self._redact(event)
        self._writer.append(event)
        if self.seen is not None:
            self.seen(event)
        if cls is kinds.Gap:
            self.gaps.append((event.seq, data))
        elif cls is kinds.Response:
            self.responses.append((event.seq, data))
        elif cls is kinds.Leftover:
            self.leftover = event.data.processes  # type: ignore[attr-defined]
        found = self._engine.feed(event)
        if found:
            self.after(event.seq, event, found)
            for finding in found:
                self._respond(finding, event.seq)
        if self.stream is not None and self.stream.broken is not None:  # last: events are fed in the journal's order
            self.stream_lost(self.stream.broken)
        return event.seq

    def stream_lost(self, why: str) -> None:
        """The collector takes nothing more: said once, before the call that waits for this event is answered."""
        self.stream = None
        self.on_stream_lost(why)

    def _envelope(self, cls: type[Event], data: Any, proc: Proc | None, tid: int | None, truth: Truth) -> Event:
        active = self._steps.active
        attribution: Attribution | None = None
        if proc is None:
            candidates = self._steps.open if active is None else ()
            return cls(
                v=VERSION,
                episode=self._episode,
                seq=self._writer.count + 1,
                t_mono_ns=self._monotonic(),
                t_wall_ns=self._wall(),
                sensor=_SENSOR.get(cls, "session"),
                active_step=active,
                candidates=candidates,
                attribution="time" if active is not None else None,
                truth=truth,
                data=data,
            )  # type: ignore[call-arg]
        origin = proc.origin
        candidates = origin.candidates or (self._steps.open if active is None and origin.step is None else ())
        if origin.step is not None:
            attribution = origin.attribution
        elif active is not None:
            attribution = "time"
        return cls(
            v=VERSION,
            episode=self._episode,
            seq=self._writer.count + 1,
            t_mono_ns=self._monotonic(),
            t_wall_ns=self._wall(),
            sensor=_SENSOR.get(cls, "session"),
            pid=proc.pid,
            tid=tid if tid != proc.pid else None,
            ppid=proc.ppid,
            start_time=proc.start_time,
            exe=proc.exe,
            group=proc.group,
            origin_step=origin.step,
            active_step=active,
            candidates=candidates,
            attribution=attribution,
            truth=truth,
            data=data,
        )  # type: ignore[call-arg]

    def checkpoint(self) -> None:
        """Sign what is recorded so far and make it durable."""
        self._writer.checkpoint(lambda data: self._envelope(kinds.Checkpoint, data, None, None, "resolved"))  # type: ignore[arg-type,return-value]
