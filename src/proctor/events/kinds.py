"""The kinds of event, each an envelope with its own ``data``."""

from __future__ import annotations

import msgspec

from proctor.events.control import (
    Capabilities,
    CapabilitiesData,
    Change,
    ChangeData,
    Changes,
    ChangesData,
    Checkpoint,
    CheckpointData,
    Close,
    CloseData,
    ContentData,
    Gap,
    GapData,
    Heartbeat,
    HeartbeatData,
    Leftover,
    LeftoverData,
    LeftoverProcess,
    Open,
    OpenData,
    Output,
    OutputData,
    Reconcile,
    ReconcileCount,
    ReconcileData,
    Response,
    ResponseData,
    Result,
    ResultData,
    Step,
    StepData,
)
from proctor.events.data import Outcome, PathRole
from proctor.events.envelope import Event
from proctor.events.sensed import (
    Call,
    CallData,
    Clone,
    CloneData,
    Exec,
    ExecData,
    ExecResult,
    ExecResultData,
    Exit,
    ExitData,
    File,
    FileData,
    Flow,
    FlowData,
    Lookup,
    LookupData,
    Mark,
    MarkData,
    Net,
    NetData,
    Process,
    ProcessControl,
    ProcessControlData,
    ProcessData,
    Read,
    ReadData,
    Refused,
    RefusedData,
    Signal,
    SignalData,
    StepUsage,
    Usage,
    UsageData,
)

__all__ = [
    "KINDS", "AnyEvent", "Call", "CallData", "Capabilities", "CapabilitiesData", "Change", "ChangeData", "Changes",
    "ChangesData", "Checkpoint", "CheckpointData", "Clone", "CloneData", "Close", "CloseData", "ContentData", "Exec",
    "ExecData", "ExecResult", "ExecResultData", "Exit", "ExitData", "File", "FileData", "Flow", "FlowData", "Gap",
    "GapData", "Heartbeat", "HeartbeatData", "Leftover", "LeftoverData", "LeftoverProcess", "Lookup", "LookupData",
    "Mark", "MarkData", "Net", "NetData", "Open", "OpenData", "Outcome", "Output", "OutputData", "PathRole",
    "Process", "ProcessControl", "ProcessControlData", "ProcessData", "Read", "ReadData", "Reconcile",
    "ReconcileCount", "ReconcileData", "Refused", "RefusedData", "Response", "ResponseData", "Result", "ResultData",
    "Signal", "SignalData", "Step", "StepData", "StepUsage", "Usage", "UsageData", "decode", "encode",
]  # fmt: skip

AnyEvent = (
    Clone | Process | Exec | ExecResult | Exit | File | Net | Signal | ProcessControl | Refused | Call | Read | Usage
    | Flow | Lookup | Mark | Open | Capabilities | Step | Output | Result | Heartbeat | Reconcile | Gap | Response
    | Leftover | Change | Changes | Close | Checkpoint
)  # fmt: skip

KINDS: dict[str, type[Event]] = {str(cls.__struct_config__.tag): cls for cls in AnyEvent.__args__}
"""Every kind by its tag."""

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """Return the event as one line of JSON, without a newline."""
    return _ENCODER.encode(event)


def decode(line: bytes) -> AnyEvent:
    """Return the event of one line of JSON.

    Raises:
        msgspec.ValidationError: the line is JSON but not an event; msgspec.DecodeError: it is not JSON.
    """
    return _DECODER.decode(line)
