"""The kinds of event that sensors make."""

from __future__ import annotations

from typing import Literal

from proctor.events.data import Data, Outcome, PathRole
from proctor.events.envelope import Event

__all__ = [
    "Call", "CallData", "Clone", "CloneData", "Exec", "ExecData", "ExecResult", "ExecResultData", "Exit", "ExitData",
    "File", "FileData", "Flow", "FlowData", "Lookup", "LookupData", "Mark", "MarkData", "Net", "NetData", "Process",
    "ProcessControl", "ProcessControlData", "ProcessData", "Read", "ReadData", "Refused", "RefusedData", "Signal",
    "SignalData", "StepUsage", "Usage", "UsageData",
]  # fmt: skip

# --- kernel ---------------------------------------------------------------------------------------------------------


class CloneData(Data, frozen=True, kw_only=True):
    """A process asks for a child (clone, fork, vfork); threads are not recorded."""

    call: str
    flags: int = 0


class Clone(Event, frozen=True, kw_only=True, tag="clone"):
    """Precedes the call; the child appears as a ``process`` event once it is seen."""

    data: CloneData


class ProcessData(Data, frozen=True, kw_only=True):
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


class ExecData(Data, frozen=True, kw_only=True):
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


class ExecResultData(Data, frozen=True, kw_only=True):
    """What became of the exec numbered ``ref``, read at the process's next recorded call or at its end."""

    ref: int
    outcome: Outcome
    argv_digest: str | None = None
    argv_matches: bool | None = None


class ExecResult(Event, frozen=True, kw_only=True, tag="exec_result"):
    """The result of an earlier ``exec``; ``exe`` of the envelope is the process's executable afterwards."""

    data: ExecResultData


class ExitData(Data, frozen=True, kw_only=True):
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


class FileData(Data, frozen=True, kw_only=True):
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


class NetData(Data, frozen=True, kw_only=True):
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


class SignalData(Data, frozen=True, kw_only=True):
    """A signal sent. ``target`` is as given, in the sandbox's numbering; ``target_pid`` as the supervisor sees it."""

    call: str
    target: int
    signo: int
    target_pid: int | None = None


class Signal(Event, frozen=True, kw_only=True, tag="signal"):
    """Precedes the call."""

    data: SignalData


class ProcessControlData(Data, frozen=True, kw_only=True):
    """A change to another process's limits, scheduling, priority or signal ownership."""

    call: str
    target: int
    target_pid: int | None = None
    args: tuple[int, ...] = ()


class ProcessControl(Event, frozen=True, kw_only=True, tag="process_control"):
    """prlimit64, sched_set*, setpriority, F_SETOWN and F_SETSIG towards others. Precedes the call."""

    data: ProcessControlData


class RefusedData(Data, frozen=True, kw_only=True):
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


class CallData(Data, frozen=True, kw_only=True):
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


class ReadData(Data, frozen=True, kw_only=True):
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


class StepUsage(Data, frozen=True, kw_only=True):
    """Use by one step's processes: CPU in ns since the episode's start, resident bytes and processes now."""

    step: str | None
    cpu_ns: int
    rss_bytes: int
    processes: int


class UsageData(Data, frozen=True, kw_only=True):
    """One sample. ``source``: ``cgroup`` or ``proc``."""

    source: Literal["cgroup", "proc"]
    cpu_ns: int
    rss_bytes: int
    processes: int
    steps: tuple[StepUsage, ...] = ()


class Usage(Event, frozen=True, kw_only=True, tag="usage"):
    """A resource sample."""

    data: UsageData


class FlowData(Data, frozen=True, kw_only=True):
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


class LookupData(Data, frozen=True, kw_only=True):
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


class MarkData(Data, frozen=True, kw_only=True):
    """A marker from inside the sandbox: a claim, never proof."""

    op: Literal["begin", "end", "shell", "invalid"]
    id: str


class Mark(Event, frozen=True, kw_only=True, tag="mark"):
    """``proctor mark``: the agent's side says that a step begins or ends, or that the caller is a persistent shell."""

    data: MarkData
