"""The facts of an episode: one frozen record per event kind, and their one encoding.

An :class:`Event` is an envelope (who, when, which step, how surely) around ``data`` (what). ``kind`` is the tag of the
union :data:`AnyEvent`. Fields at their default are left out of the encoding: absent means null, empty or false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proctor.events.envelope import VERSION, Attribution, Event, Sensor, Truth

if TYPE_CHECKING:
    from proctor.events.kinds import (
        KINDS,
        AnyEvent,
        Call,
        Capabilities,
        Change,
        Changes,
        Checkpoint,
        Clone,
        Close,
        Exec,
        ExecResult,
        Exit,
        File,
        Flow,
        Gap,
        Heartbeat,
        Leftover,
        Lookup,
        Mark,
        Net,
        Open,
        Output,
        Process,
        ProcessControl,
        Read,
        Reconcile,
        Refused,
        Response,
        Result,
        Signal,
        Step,
        Usage,
        decode,
        encode,
    )

__all__ = [
    "KINDS",
    "VERSION",
    "AnyEvent",
    "Attribution",
    "Call",
    "Capabilities",
    "Change",
    "Changes",
    "Checkpoint",
    "Clone",
    "Close",
    "Event",
    "Exec",
    "ExecResult",
    "Exit",
    "File",
    "Flow",
    "Gap",
    "Heartbeat",
    "Leftover",
    "Lookup",
    "Mark",
    "Net",
    "Open",
    "Output",
    "Process",
    "ProcessControl",
    "Read",
    "Reconcile",
    "Refused",
    "Response",
    "Result",
    "Sensor",
    "Signal",
    "Step",
    "Truth",
    "Usage",
    "decode",
    "encode",
]


def __getattr__(name: str) -> Any:
    """Make the kinds when the first is asked for: 25 ms that a policy's reader need not wait for."""
    if name not in __all__:
        raise AttributeError(f"module 'proctor.events' has no attribute {name!r}")
    from proctor.events import kinds

    return getattr(kinds, name)
