"""The kinds of event, each an envelope with its own ``data``."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from proctor.events.envelope import Event

__all__ = [
    "KINDS", "AnyEvent", "Call", "Capabilities", "Change", "Changes", "Checkpoint", "Clone", "Close", "Exec",
    "ExecResult", "Exit", "File", "Flow", "Gap", "Heartbeat", "Leftover", "Lookup", "Mark", "Net", "Open", "Output",
    "Process", "ProcessControl", "Read", "Reconcile", "Refused", "Response", "Result", "Signal", "Step", "Usage",
    "decode", "encode",
]  # fmt: skip

PathRole = Literal["workspace", "protected", "hidden", "credential", "system", "scratch"]
"""What the policy says of a path: ``workspace`` writable; ``protected`` readable, not writable; ``hidden`` masked by a
decoy; ``credential`` a system secret masked by a decoy; ``system`` readable; ``scratch`` /tmp, /dev/shm, the home."""

Outcome = Literal["attempted", "blocked", "succeeded", "failed", "unknown"]


class _Data(Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of the ``data`` records."""


# --- kernel ---------------------------------------------------------------------------------------------------------


class CloneData(_Data, frozen=True, kw_only=True):
    """A process asks for a child (clone, fork, vfork); threads are not recorded."""

    call: str
    flags: int = 0


class Clone(Event, frozen=True, kw_only=True, tag="clone"):
    """Precedes the call; the child appears as a ``process`` event once it is seen."""

    data: CloneData


class ProcessData(_Data, frozen=True, kw_only=True):
    """First sight of a process.

    ``pid_inside`` is its pid in the sandbox. ``how``: ``root`` a command that Proctor started, ``call`` seen at its
    own first recorded call, ``child`` found among its parent's children when the parent ended or signalled. In a watch
    (``proctor watch``): ``forked`` seen at its beginning, ``found`` it was there already or came from elsewhere.
    """

    pid_inside: int | None = None
    how: Literal["root", "call", "child", "forked", "found"]
    cmdline: tuple[str, ...] = ()


class Process(Event, frozen=True, kw_only=True, tag="process"):
    """A process is seen for the first time; ``ppid`` is the parent by lineage, kept through a double fork."""

    data: ProcessData


class ExecData(_Data, frozen=True, kw_only=True):
    """An attempt to execute a program.

    ``path`` as claimed, ``image`` the file it resolves to in the sandbox (None: not there), ``argv`` at most 64
    arguments of at most 4,096 characters, ``argc`` how many there were, ``argv_digest`` SHA-256 over all of them
    joined with NUL, hex.
    """

    call: str
    path: str
    image: str | None = None
    argv: tuple[str, ...] = ()
    argc: int = 0
    argv_digest: str = ""
    truncated: bool = False
    cwd: str | None = None
    parent_argv: tuple[str, ...] = ()


class Exec(Event, frozen=True, kw_only=True, tag="exec"):
    """Precedes the call; an ``exec_result`` with ``ref`` follows. ``exe`` of the envelope is the caller's, before."""

    data: ExecData


class ExecResultData(_Data, frozen=True, kw_only=True):
    """What became of the exec numbered ``ref``, read at the process's next recorded call or at its end."""

    ref: int
    outcome: Outcome
    argv_digest: str | None = None
    argv_matches: bool | None = None


class ExecResult(Event, frozen=True, kw_only=True, tag="exec_result"):
    """The result of an earlier ``exec``; ``exe`` of the envelope is the process's executable afterwards."""

    data: ExecResultData


class ExitData(_Data, frozen=True, kw_only=True):
    """A process ends. ``how``: ``call`` exit or exit_group with ``code``; ``signal`` seen through its pidfd only."""

    how: Literal["call", "signal"]
    code: int | None = None
    signal: int | None = None
    children: tuple[int, ...] = ()
    cmdline: tuple[str, ...] = ()
    cpu_ns: int | None = None


class Exit(Event, frozen=True, kw_only=True, tag="exit"):
    """The end of a process."""

    data: ExitData


class FileData(_Data, frozen=True, kw_only=True):
    """A change to the file system is asked for.

    ``op`` is one of open (for reading, where all opens are recorded), open_write, create, mkdir, mknod, link, symlink,
    rename, unlink, rmdir, truncate, chmod, chown, memfd; in tier C also utimes and xattr. ``path`` and ``target`` are
    as claimed, ``object`` and ``target_object`` what they resolve to in the sandbox
    (for an object not there yet: its resolved folder and name). For rename and link, ``target`` is the new name.
    ``role`` and ``target_role`` follow the policy. ``existed``: the object was there before the call.
    ``outcome``: ``blocked`` where the sandbox is built so that the call cannot succeed, else ``attempted``.
    """

    op: str
    call: str
    path: str
    object: str | None = None
    role: PathRole | None = None
    target: str | None = None
    target_object: str | None = None
    target_role: PathRole | None = None
    flags: int | None = None
    mode: int | None = None
    existed: bool | None = None
    outcome: Outcome = "attempted"


class File(Event, frozen=True, kw_only=True, tag="file"):
    """Precedes the call; a ``result`` with ``ref`` follows where one was looked for."""

    data: FileData


class NetData(_Data, frozen=True, kw_only=True):
    """A socket call. ``op``: connect, bind, listen, sendto. ``family``: inet, inet6, unix, netlink or af<N>.

    ``address`` is an IP address in its usual text form or a unix socket's path; ``fastopen``: data with the SYN.
    ``lost`` (tier C): what the socket had and one that takes its place will not have: options as ``level:option`` in
    numbers, ``epoll`` its place in an epoll set.
    """

    op: Literal["connect", "bind", "listen", "sendto"]
    call: str
    family: str | None = None
    address: str | None = None
    port: int | None = None
    fastopen: bool = False
    outcome: Outcome = "attempted"
    lost: tuple[str, ...] = ()


class Net(Event, frozen=True, kw_only=True, tag="net"):
    """Precedes the call. ``blocked``: the sandbox's own network has no route there."""

    data: NetData


class SignalData(_Data, frozen=True, kw_only=True):
    """A signal sent. ``target`` is as given, in the sandbox's numbering; ``target_pid`` as the supervisor sees it."""

    call: str
    target: int
    signo: int
    target_pid: int | None = None


class Signal(Event, frozen=True, kw_only=True, tag="signal"):
    """Precedes the call."""

    data: SignalData


class ProcessControlData(_Data, frozen=True, kw_only=True):
    """A change to another process's limits, scheduling, priority or signal ownership."""

    call: str
    target: int
    target_pid: int | None = None
    args: tuple[int, ...] = ()


class ProcessControl(Event, frozen=True, kw_only=True, tag="process_control"):
    """prlimit64, sched_set*, setpriority, F_SETOWN and F_SETSIG towards others. Precedes the call."""

    data: ProcessControlData


class RefusedData(_Data, frozen=True, kw_only=True):
    """A call that the supervisor refused.

    ``errno`` is the answer given. ``reason``: ``sandbox`` never allowed here (namespaces, mounts, ptrace, io_uring, …),
    ``foreign_arch``, ``unknown_call``, ``unreadable`` (its arguments could not be read in full), ``limit`` (the
    policy's limit on processes), ``response`` (a response to a finding), ``domain`` (socket family not allowed).
    """

    call: str
    nr: int
    errno: int
    reason: Literal["sandbox", "foreign_arch", "unknown_call", "unreadable", "limit", "response", "domain"]
    arch: int | None = None
    args: tuple[int, ...] = ()
    path: str | None = None


class Refused(Event, frozen=True, kw_only=True, tag="refused"):
    """A refused call: it did not run."""

    data: RefusedData


class CallData(_Data, frozen=True, kw_only=True):
    """A call that a sandbox refuses, or that changes who a process is. ``errno``: the kernel's answer where it failed.

    ``blocked``: answered before it was made, by a seccomp filter of the cgroup's own.
    """

    call: str
    nr: int
    args: tuple[int, ...] = ()
    errno: int | None = None
    outcome: Outcome


class Call(Event, frozen=True, kw_only=True, tag="call"):
    """Recorded where nothing is refused (``proctor watch``), after the call."""

    data: CallData


# --- watch, resources, gateway, transcript ---------------------------------------------------------------------------


class ReadData(_Data, frozen=True, kw_only=True):
    """A watched file was opened or read.

    ``how``: ``lease`` (the opener blocked and was named) or ``inotify``.
    """

    path: str
    role: PathRole
    how: Literal["lease", "inotify"]
    opener_unknown: bool = False
    count: int = 1


class Read(Event, frozen=True, kw_only=True, tag="read"):
    """Someone opened a protected, hidden or credential file."""

    data: ReadData


class StepUsage(_Data, frozen=True, kw_only=True):
    """Use by one step's processes: CPU in ns since the episode's start, resident bytes and processes now."""

    step: str | None
    cpu_ns: int
    rss_bytes: int
    processes: int


class UsageData(_Data, frozen=True, kw_only=True):
    """One sample. ``source``: ``cgroup`` or ``proc``."""

    source: Literal["cgroup", "proc"]
    cpu_ns: int
    rss_bytes: int
    processes: int
    steps: tuple[StepUsage, ...] = ()


class Usage(Event, frozen=True, kw_only=True, tag="usage"):
    """A resource sample."""

    data: UsageData


class FlowData(_Data, frozen=True, kw_only=True):
    """A connection through the gateway. ``asked`` is host:port as the client named it; bytes are the client's view."""

    flow: int
    phase: Literal["open", "refused", "failed", "close"]
    asked: str
    address: str | None = None
    port: int | None = None
    reason: str | None = None
    sent_bytes: int = 0
    received_bytes: int = 0


class Flow(Event, frozen=True, kw_only=True, tag="flow"):
    """A connection asked of the gateway. ``open`` is recorded before the first byte passes."""

    data: FlowData


class LookupData(_Data, frozen=True, kw_only=True):
    r"""A DNS query. ``name`` as asked, bytes of no host name as ``\DDD``; ``type``: A, AAAA, TXT, … or TYPE<N>.

    ``server`` is the address that the query was meant for, where it is known. ``answer``: ``answered`` with
    ``addresses``; ``empty`` a known name without such a record; ``no_such_name``; ``refused`` no query for a name of
    the internet; ``malformed`` not one whole question, ``name`` and ``type`` are then empty. ``bytes`` of the message.
    """

    name: str
    type: str
    transport: Literal["udp", "tcp"]
    server: str | None = None
    answer: Literal["answered", "empty", "no_such_name", "refused", "malformed"]
    addresses: tuple[str, ...] = ()
    bytes: int


class Lookup(Event, frozen=True, kw_only=True, tag="lookup"):
    """A name was asked for. Proctor alone answers, and recorded it before; nothing was asked of anybody else."""

    data: LookupData


class MarkData(_Data, frozen=True, kw_only=True):
    """A marker from inside the sandbox: a claim, never proof."""

    op: Literal["begin", "end", "shell", "invalid"]
    id: str


class Mark(Event, frozen=True, kw_only=True, tag="mark"):
    """``proctor mark``: the agent's side says that a step begins or ends, or that the caller is a persistent shell."""

    data: MarkData


# --- session ---------------------------------------------------------------------------------------------------------


class OpenData(_Data, frozen=True, kw_only=True):
    """The first event. ``key`` is the Ed25519 public key, hex; ``policy`` the policy as it was used."""

    proctor: str
    key: str
    policy_digest: str
    rules_digest: str
    policy: dict[str, Any]
    workspace: str
    host: dict[str, str] = {}


class Open(Event, frozen=True, kw_only=True, tag="open"):
    """The episode begins."""

    data: OpenData


class CapabilitiesData(_Data, frozen=True, kw_only=True):
    """What this kernel gave. ``degraded`` maps a limit or sensor to what is missing.

    Tier ``watch`` is no sandbox: others' processes, recorded and judged, not contained.
    """

    tier: Literal["A", "B", "C", "D", "watch"]
    landlock_abi: int = 0
    features: dict[str, bool] = {}
    degraded: dict[str, str] = {}


class Capabilities(Event, frozen=True, kw_only=True, tag="capabilities"):
    """The tier and its limits, as found by trying."""

    data: CapabilitiesData


class StepData(_Data, frozen=True, kw_only=True):
    """A step that the harness itself opened or closed (``proctor.Episode``), with the command it ran."""

    op: Literal["begin", "end"]
    id: str
    argv: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: int | None = None


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """A step's bounds, from outside the sandbox."""

    data: StepData


class OutputData(_Data, frozen=True, kw_only=True):
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


class ResultData(_Data, frozen=True, kw_only=True):
    """What became of the event numbered ``ref``, and how that was seen."""

    ref: int
    outcome: Outcome
    how: str


class Result(Event, frozen=True, kw_only=True, tag="result"):
    """A later look at an earlier event."""

    data: ResultData


class HeartbeatData(_Data, frozen=True, kw_only=True):
    """Running totals of what the sensors received and recorded; equal unless a gap says otherwise."""

    received: int
    recorded: int


class Heartbeat(Event, frozen=True, kw_only=True, tag="heartbeat"):
    """The supervisor was alive."""

    data: HeartbeatData


class ReconcileCount(_Data, frozen=True, kw_only=True):
    """How many of one kind of act the record holds, and how many the tracepoints saw."""

    kind: str
    recorded: int
    observed: int


class ReconcileData(_Data, frozen=True, kw_only=True):
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


class GapData(_Data, frozen=True, kw_only=True):
    """Telemetry known to be missing: which sensor, what, and since when (CLOCK_MONOTONIC ns; None: unknown)."""

    of: str
    what: str
    since_mono_ns: int | None = None


class Gap(Event, frozen=True, kw_only=True, tag="gap"):
    """An episode with a gap is never ``clean``."""

    data: GapData


class ResponseData(_Data, frozen=True, kw_only=True):
    """What Proctor did. ``finding`` is the id of the finding it answers, ``limit`` the limit that was passed."""

    action: Literal["log", "deny", "freeze", "thaw", "kill", "void"]
    finding: str | None = None
    limit: str | None = None
    reason: str = ""
    processes: tuple[int, ...] = ()


class Response(Event, frozen=True, kw_only=True, tag="response"):
    """Recorded when it had taken effect, before the offending call is answered."""

    data: ResponseData


class LeftoverProcess(_Data, frozen=True, kw_only=True):
    """A process that outlived the agent."""

    pid: int
    exe: str | None = None
    cmdline: tuple[str, ...] = ()
    origin_step: str | None = None


class LeftoverData(_Data, frozen=True, kw_only=True):
    """Processes alive after the last command ended; they are ended before any verdict."""

    processes: tuple[LeftoverProcess, ...]


class Leftover(Event, frozen=True, kw_only=True, tag="leftover"):
    """Processes that outlived the agent."""

    data: LeftoverData


class ContentData(_Data, frozen=True, kw_only=True):
    """A file's size and SHA-256, hex; None where it was too large to be read."""

    bytes: int
    sha256: str | None = None


class ChangeData(_Data, frozen=True, kw_only=True):
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


class ChangesData(_Data, frozen=True, kw_only=True):
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


class CloseData(_Data, frozen=True, kw_only=True):
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


class CheckpointData(_Data, frozen=True, kw_only=True):
    """A signature over everything before. ``head`` is the hash of the line before; ``signature`` is Ed25519, hex."""

    head: str
    signature: str
    key: str


class Checkpoint(Event, frozen=True, kw_only=True, tag="checkpoint"):
    """Written with fsync."""

    data: CheckpointData


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
