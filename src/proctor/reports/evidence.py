"""Events as lines of text: inert, one line each, no stronger than what was recorded."""

from __future__ import annotations

from collections.abc import Callable

from proctor.events import kinds
from proctor.events.text import printable

__all__ = ["OPERATIONS", "counted", "describe", "line", "offset"]

OPERATIONS = {
    "open_write": "open for writing", "create": "create", "mkdir": "make the folder", "mknod": "make the node",
    "link": "link", "symlink": "make the symbolic link", "rename": "rename", "unlink": "remove",
    "rmdir": "remove the folder", "truncate": "truncate", "chmod": "change the mode of", "chown": "change the owner of",
    "memfd": "make a memory file",
}  # fmt: skip
_NET = {"connect": "connect to", "bind": "bind", "listen": "listen at", "sendto": "send to"}
_ENDS = {
    "attempted": "",
    "blocked": "; refused",
    "succeeded": "; succeeded",
    "failed": "; failed",
    "unknown": "; outcome not known",
}


def describe(event: kinds.AnyEvent) -> str:
    """Return what ``event`` says, in at most 200 printable characters."""
    return printable(_DESCRIBE[type(event)](event), 200)


def offset(event: kinds.AnyEvent, start_mono_ns: int | None) -> str:
    """Return the seconds since the episode's start, or an empty string where that is not known."""
    return "" if start_mono_ns is None else f"{(event.t_mono_ns - start_mono_ns) / 1e9:+.3f} s"


def line(event: kinds.AnyEvent, start_mono_ns: int | None) -> str:
    """Return an evidence line: number, time since the start, process, and what was recorded."""
    exe = f" ({printable(event.exe, 60)})" if event.exe else ""
    process = "" if event.pid is None else f"pid {event.pid}{exe}"
    return "  ".join(part for part in (f"#{event.seq}", offset(event, start_mono_ns), process, describe(event)) if part)


def counted(number: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else many}"


def _q(text: str | None, limit: int = 90) -> str:
    return "an unknown path" if text is None else f"'{printable(text, limit)}'"


def _args(argv: tuple[str, ...], limit: int = 110) -> str:
    return printable(" ".join(argv[:64]), limit)


def _exec(event: kinds.Exec) -> str:
    data = event.data
    return f"asked to execute {_q(data.image or data.path, 70)}: {_args(data.argv)}"


def _exit(event: kinds.Exit) -> str:
    data = event.data
    if data.how == "signal":
        return "ended by a signal, which is not known" if data.signal is None else f"ended by signal {data.signal}"
    return f"ended with status {'not known' if data.code is None else data.code}"


def _file(event: kinds.File) -> str:
    data = event.data
    text = f"asked to {OPERATIONS.get(data.op, data.op)} {_q(data.object or data.path, 70)}{_role(data.role)}"
    if data.target is not None or data.target_object is not None:
        text += f" as {_q(data.target_object or data.target, 70)}{_role(data.target_role)}"
    return text + _ENDS[data.outcome]


def _role(role: str | None) -> str:
    return f" ({role})" if role in ("protected", "hidden", "credential") else ""


def _net(event: kinds.Net) -> str:
    data = event.data
    where = "an unknown address" if data.address is None else printable(data.address, 90)
    if data.port is not None:
        where = f"[{where}]:{data.port}" if ":" in where else f"{where}:{data.port}"
    return f"asked to {_NET[data.op]} {where} ({printable(data.family or 'unknown family', 20)}){_ENDS[data.outcome]}"


def _signal(event: kinds.Signal) -> str:
    data = event.data
    outside = "" if data.target_pid is None else f" (pid {data.target_pid} outside)"
    return f"asked to send signal {data.signo} to {data.target}{outside} by {printable(data.call, 30)}"


def _refused(event: kinds.Refused) -> str:
    data = event.data
    path = "" if data.path is None else f" on {_q(data.path, 80)}"
    return f"call {printable(data.call, 40)}{path} refused with error {data.errno} ({data.reason})"


def _read(event: kinds.Read) -> str:
    data = event.data
    who = "someone unknown opened" if data.opener_unknown else "opened"
    times = f", {data.count} times" if data.count > 1 else ""
    what = f"{data.role}, so a decoy" if data.role in ("hidden", "credential") else data.role
    return f"{who} {_q(data.path, 110)} ({what}; seen by {data.how}{times})"


def _flow(event: kinds.Flow) -> str:
    data = event.data
    asked = _q(data.asked, 80)
    if data.phase == "close":
        return f"connection to {asked} closed; {data.sent_bytes} bytes sent, {data.received_bytes} received"
    if data.phase == "open":
        return f"connection to {asked} opened through the gateway"
    return f"connection to {asked} {data.phase}: {printable(data.reason or 'no reason recorded', 60)}"


def _lookup(event: kinds.Lookup) -> str:
    data = event.data
    said = {
        "answered": f"answered with {', '.join(data.addresses)}",
        "empty": "has no such record",
        "no_such_name": "answered as not existing",
        "refused": "refused",
        "malformed": "malformed",
    }[data.answer]
    what = f"name {_q(data.name, 100)} ({printable(data.type, 20)})" if data.type else f"{data.bytes} bytes"
    return f"asked for {what} by DNS: {said}"


def _response(event: kinds.Response) -> str:
    data = event.data
    cause = data.finding or data.limit or ""
    return f"response {data.action}" + (f" to {_q(cause, 60)}" if cause else "") + f": {printable(data.reason, 90)}"


def _step(event: kinds.Step) -> str:
    data = event.data
    if data.op == "begin":
        return f"step {_q(data.id, 40)} begins: {_args(data.argv)}"
    ended = f"signal {data.signal}" if data.signal is not None else f"status {data.exit_code}"
    return f"step {_q(data.id, 40)} ends with {ended}"


def _usage(event: kinds.Usage) -> str:
    data = event.data
    return (
        f"{data.cpu_ns / 1e9:.3f} s of CPU, {data.rss_bytes} bytes resident, "
        f"{counted(data.processes, 'process', 'processes')} ({data.source})"
    )


def _result(event: kinds.Result) -> str:
    return f"event #{event.data.ref}: {event.data.outcome} ({printable(event.data.how, 100)})"


def _control(event: kinds.ProcessControl) -> str:
    return f"asked for {printable(event.data.call, 40)} on process {event.data.target}"


_DESCRIBE: dict[type, Callable[..., str]] = {
    kinds.Clone: lambda e: f"asked for a child by {printable(e.data.call, 30)}",
    kinds.Process: lambda e: f"process first seen ({e.data.how}): {_args(e.data.cmdline)}",
    kinds.Exec: _exec,
    kinds.ExecResult: lambda e: f"exec #{e.data.ref}: {e.data.outcome}",
    kinds.Exit: _exit,
    kinds.File: _file,
    kinds.Net: _net,
    kinds.Signal: _signal,
    kinds.ProcessControl: _control,
    kinds.Refused: _refused,
    kinds.Call: lambda e: f"{printable(e.data.call, 40)}: {e.data.outcome}",
    kinds.Read: _read,
    kinds.Usage: _usage,
    kinds.Flow: _flow,
    kinds.Lookup: _lookup,
    kinds.Mark: lambda e: f"marker from inside: {e.data.op} {_q(e.data.id)}",
    kinds.Open: lambda e: f"episode {_q(e.episode)} begins in {_q(e.data.workspace)}",
    kinds.Capabilities: lambda e: f"tier {e.data.tier}",
    kinds.Step: _step,
    kinds.Output: lambda e: f"{counted(e.data.bytes, 'byte', 'bytes')} on {e.data.stream}",
    kinds.Result: _result,
    kinds.Reconcile: lambda e: f"{e.data.processes} processes compared, {e.data.differences} differences",
    kinds.Heartbeat: lambda e: f"{e.data.received} received, {e.data.recorded} recorded",
    kinds.Gap: lambda e: f"gap of {_q(e.data.of, 40)}: {printable(e.data.what, 120)}",
    kinds.Response: _response,
    kinds.Leftover: lambda e: f"{counted(len(e.data.processes), 'process', 'processes')} outlived the agent",
    kinds.Change: lambda e: f"{_q(e.data.path)} {e.data.change}, compared with what it held before",
    kinds.Changes: lambda e: (
        f"files compared: {e.data.made} made, {e.data.modified} modified, {e.data.removed} removed"
    ),
    kinds.Close: lambda e: (
        f"closed: {e.data.verdict}, score {e.data.score_effect}, {counted(e.data.findings, 'finding', 'findings')}"
    ),
    kinds.Checkpoint: lambda _: "checkpoint signed",
}
"""A test holds it to every kind."""
