"""The kinds of event that the session makes: its bounds, what became of things, and what is known to be missing."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from proctor.events.data import Data, Outcome
from proctor.events.envelope import Event

__all__ = [
    "Capabilities", "CapabilitiesData", "Change", "ChangeData", "Changes", "ChangesData", "Checkpoint",
    "CheckpointData", "Close", "CloseData", "ContentData", "Gap", "GapData", "Heartbeat", "HeartbeatData", "Leftover",
    "LeftoverData", "LeftoverProcess", "Open", "OpenData", "Output", "OutputData", "Reconcile", "ReconcileCount",
    "ReconcileData", "Response", "ResponseData", "Result", "ResultData", "Step", "StepData",
]  # fmt: skip


class OpenData(Data, frozen=True, kw_only=True):
    """The first event. ``key`` is the Ed25519 public key, hex; ``policy`` the policy as it was used."""

    proctor: str
    key: str
    policy_digest: str
    rules_digest: str
    policy: dict[str, Any]
    workspace: str
    host: dict[str, str] = field(default_factory=dict)


class Open(Event, frozen=True, kw_only=True, tag="open"):
    """The episode begins."""

    data: OpenData


class CapabilitiesData(Data, frozen=True, kw_only=True):
    """What this kernel gave. ``degraded`` maps a limit or sensor to what is missing.

    Tier ``watch`` is no sandbox: others' processes, recorded and judged, not contained.
    """

    tier: Literal["A", "B", "C", "D", "watch"]
    landlock_abi: int = 0
    features: dict[str, bool] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)


class Capabilities(Event, frozen=True, kw_only=True, tag="capabilities"):
    """The tier and its limits, as found by trying."""

    data: CapabilitiesData


class StepData(Data, frozen=True, kw_only=True):
    """A step that the harness itself opened or closed (``proctor.Episode``), with the command it ran."""

    op: Literal["begin", "end"]
    id: str
    argv: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: int | None = None


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """A step's bounds, from outside the sandbox."""

    data: StepData


class OutputData(Data, frozen=True, kw_only=True):
    """One standard stream of one command, complete: digest over all bytes, excerpts of at most 4,096 bytes each.

    ``step`` is the command's, where the harness named one; the stream may end long after the step.
    """

    stream: Literal["stdin", "stdout", "stderr"]
    bytes: int
    digest: str
    head: str = ""
    tail: str = ""
    step: str | None = None


class Output(Event, frozen=True, kw_only=True, tag="output"):
    """What passed through a standard stream."""

    data: OutputData


class ResultData(Data, frozen=True, kw_only=True):
    """What became of the event numbered ``ref``, and how that was seen."""

    ref: int
    outcome: Outcome
    how: str


class Result(Event, frozen=True, kw_only=True, tag="result"):
    """A later look at an earlier event."""

    data: ResultData


class HeartbeatData(Data, frozen=True, kw_only=True):
    """Running totals of what the sensors received and recorded; equal unless a gap says otherwise."""

    received: int
    recorded: int


class Heartbeat(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """The supervisor was alive."""

    data: HeartbeatData


class ReconcileCount(Data, frozen=True, kw_only=True):
    """How many of one kind of act the record holds, and how many the tracepoints saw."""

    kind: str
    recorded: int
    observed: int


class ReconcileData(Data, frozen=True, kw_only=True):
    """Two sensors of one episode compared, process by process.

    ``processes``: how many were compared. ``differences``: how many things were not the same, each a gap.
    ``unresolved``: calls that a death cut off, which either sensor may have. ``seen``, ``dropped``: records of the
    tracepoints, summed over all CPUs. ``freezes``: how often the tree was stopped so that none was dropped.
    """

    counts: tuple[ReconcileCount, ...]
    processes: int
    differences: int
    unresolved: int
    seen: int
    dropped: int
    freezes: int = 0


class Reconcile(Event, frozen=True, kw_only=True, tag="reconcile"):
    """Tier A: what the supervisor recorded beside what the kernel's tracepoints saw."""

    data: ReconcileData


class GapData(Data, frozen=True, kw_only=True):
    """Telemetry known to be missing: which sensor, what, and since when (CLOCK_MONOTONIC ns; None: unknown)."""

    of: str
    what: str
    since_mono_ns: int | None = None


class Gap(Event, frozen=True, kw_only=True, tag="gap"):
    """An episode with a gap is never ``clean``."""

    data: GapData


class ResponseData(Data, frozen=True, kw_only=True):
    """What Proctor did. ``finding`` is the id of the finding it answers, ``limit`` the limit that was passed."""

    action: Literal["log", "deny", "freeze", "thaw", "kill", "void"]
    finding: str | None = None
    limit: str | None = None
    reason: str = ""
    processes: tuple[int, ...] = ()


class Response(Event, frozen=True, kw_only=True, tag="response"):
    """Recorded when it had taken effect, before the offending call is answered."""

    data: ResponseData


class LeftoverProcess(Data, frozen=True, kw_only=True):
    """A process that outlived the agent."""

    pid: int
    exe: str | None = None
    cmdline: tuple[str, ...] = ()
    origin_step: str | None = None


class LeftoverData(Data, frozen=True, kw_only=True):
    """Processes alive after the last command ended; they are ended before any verdict."""

    processes: tuple[LeftoverProcess, ...]


class Leftover(Event, frozen=True, kw_only=True, tag="leftover"):
    """Processes that outlived the agent."""

    data: LeftoverData


class ContentData(Data, frozen=True, kw_only=True):
    """A file's size and SHA-256, hex; None where it was too large to be read."""

    bytes: int
    sha256: str | None = None


class ChangeData(Data, frozen=True, kw_only=True):
    """What a file held before the agent first asked to change it, and at the end.

    ``before`` and ``after``: None where there was no such file. ``text``: the lines that differ, as unified diff
    without names, redacted, the first 8,192 characters (``cut``: there are more); None where a side is no text or too
    long.
    """

    path: str
    change: Literal["made", "modified", "removed"]
    before: ContentData | None = None
    after: ContentData | None = None
    text: str | None = None
    cut: bool = False


class Change(Event, frozen=True, kw_only=True, tag="change"):
    """Recorded once nothing of the agent runs any more. Compared by path: who changed it say the ``file`` events."""

    data: ChangeData


class ChangesData(Data, frozen=True, kw_only=True):
    """How many files there are of each kind. ``unchanged``: the same at the end. ``gone``: neither then nor now."""

    made: int = 0
    modified: int = 0
    removed: int = 0
    unchanged: int = 0
    gone: int = 0
    not_compared: int = 0


class Changes(Event, frozen=True, kw_only=True, tag="changes"):
    """The totals, after the last ``change``."""

    data: ChangesData


class CloseData(Data, frozen=True, kw_only=True):
    """The last event but for its checkpoint: the verdict, and a digest that ties ``verdict.json`` to the record.

    ``findings_digest``: SHA-256 of the findings in canonical JSON, hex. ``empty``: the process tree was seen empty.
    """

    verdict: Literal["clean", "suspect", "violation", "incomplete"]
    score_effect: Literal["keep", "zero", "void"]
    findings: int
    findings_digest: str
    agent_exit: int | None = None
    agent_signal: int | None = None
    empty: bool = True


class Close(Event, frozen=True, kw_only=True, tag="close"):
    """The episode is over."""

    data: CloseData


class CheckpointData(Data, frozen=True, kw_only=True):
    """A signature over everything before. ``head`` is the hash of the line before; ``signature`` is Ed25519, hex."""

    head: str
    signature: str
    key: str


class Checkpoint(Event, frozen=True, kw_only=True, tag="checkpoint"):
    """Written with fsync."""

    data: CheckpointData
