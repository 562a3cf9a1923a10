"""The published mapping from events to Sigma fields. ``docs/rules.md`` shows the same table; a test compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proctor.detectors.auditd import RECORDS
from proctor.detectors.objects import Extract, Value, joined, renames, source, target
from proctor.events import Event, kinds

__all__ = ["FIELDS", "LOGSOURCES", "Extract", "Logsource", "Value", "kind_of"]


def _asked(event: kinds.Flow, part: int) -> str:
    host, _, port = event.data.asked.rpartition(":")
    return (host.strip("[]"), port)[part]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None


def _plain(address: str | None) -> str | None:
    """An IPv4 address written as IPv6 is the same destination (RFC 4291, section 2.5.5.2)."""
    return address[7:] if address is not None and address.lower().startswith("::ffff:") and "." in address else address


def _ip(event: kinds.Net) -> str | None:
    return _plain(event.data.address) if event.data.family in {"inet", "inet6"} else None


def _reached(event: kinds.Flow) -> str:
    return _plain(event.data.address or _asked(event, 0)) or ""


def _endpoint(host: str | None, port: int | None) -> str | None:
    if host is None or port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_PROCESS: dict[str, Extract] = {
    "ProcessId": lambda e: e.pid,
    "ParentProcessId": lambda e: e.ppid,
    "Image": lambda e: e.exe,
}

_FILE: dict[str, Extract] = _PROCESS | {
    "TargetFilename": target,
    "ClaimedFilename": lambda e: e.data.path,
    "SourceFilename": source,
    "Operation": lambda e: e.data.op,
    "Call": lambda e: e.data.call,
    "Role": lambda e: e.data.role,
    "TargetRole": lambda e: e.data.target_role if renames(e) else e.data.role,
    "Existed": lambda e: e.data.existed,
    "Outcome": lambda e: e.data.outcome,
}

FIELDS: dict[str, dict[str, Extract]] = {
    "exec": _PROCESS
    | {
        "Image": lambda e: e.data.image or e.data.path,
        "CommandLine": lambda e: joined(e.data.argv),
        "CurrentDirectory": lambda e: e.data.cwd,
        "ParentImage": lambda e: e.exe,
        "ParentCommandLine": lambda e: joined(e.data.parent_argv),
        "Call": lambda e: e.data.call,
    },
    "file": _FILE,
    "read": _PROCESS | {"TargetFilename": lambda e: e.data.path, "Role": lambda e: e.data.role},
    "net": _PROCESS
    | {
        "DestinationIp": _ip,
        "DestinationPort": lambda e: e.data.port,
        "Destination": lambda e: _endpoint(_ip(e), e.data.port),
        "Initiated": lambda e: e.data.op in {"connect", "sendto"},
        "Operation": lambda e: e.data.op,
        "Call": lambda e: e.data.call,
        "Outcome": lambda e: e.data.outcome,
    },
    "flow": _PROCESS
    | {
        "DestinationHostname": lambda e: _asked(e, 0),
        "DestinationIp": _reached,
        "DestinationPort": lambda e: _number(_asked(e, 1)),
        "Destination": lambda e: _endpoint(_reached(e), _number(_asked(e, 1))),
        "Initiated": lambda _: True,
        "Operation": lambda e: e.data.phase,
    },
    "lookup": _PROCESS
    | {
        "QueryName": lambda e: e.data.name,
        "QueryType": lambda e: e.data.type,
        "QueryStatus": lambda e: e.data.answer,
        "QueryResults": lambda e: ";".join(e.data.addresses) or None,
    },
    "refused": _PROCESS
    | {
        "Call": lambda e: e.data.call,
        "Errno": lambda e: e.data.errno,
        "Reason": lambda e: e.data.reason,
        "TargetFilename": lambda e: e.data.path,
    },
    "call": _PROCESS
    | {"Call": lambda e: e.data.call, "Errno": lambda e: e.data.errno, "Outcome": lambda e: e.data.outcome},
    "signal": _PROCESS
    | {"Call": lambda e: e.data.call, "Target": lambda e: e.data.target, "Signal": lambda e: e.data.signo},
    "process_control": _PROCESS | {"Call": lambda e: e.data.call, "Target": lambda e: e.data.target},
    "leftover": {
        "Image": lambda e: e.data.processes[0].exe if e.data.processes else None,
        "CommandLine": lambda e: joined(e.data.processes[0].cmdline) if e.data.processes else None,
        "Count": lambda e: len(e.data.processes),
    },
    **RECORDS,
}  # fmt: skip
"""Event kind, or kind and record of it, to field to its value. Image is the executable as resolved, CommandLine the
arguments joined by spaces."""


def kind_of(name: str) -> str:
    """The event kind of a name in :data:`FIELDS`: ``exec`` for ``exec/EXECVE``."""
    return name.partition("/")[0]


class Logsource:
    """Which events a Sigma log source means.

    Args:
        kinds: event kinds, or records of them.
        only: further condition on an event, on nothing but what :mod:`proctor.detectors.narrowing` tells apart.
    """

    def __init__(self, *kinds_: str, only: Callable[[Any], bool] = lambda _: True) -> None:
        self.kinds = kinds_
        self.only = only

    def fields(self) -> frozenset[str]:
        """Fields that at least one of its kinds has."""
        return frozenset(name for kind in self.kinds for name in FIELDS[kind])


def _op(*names: str) -> Callable[[kinds.File], bool]:
    return lambda event: event.data.op in names


def _outward(event: Event) -> bool:
    return isinstance(event, kinds.Flow) or (isinstance(event, kinds.Net) and event.data.op in {"connect", "sendto"})


LOGSOURCES: Mapping[str, Logsource] = {
    "linux/process_creation": Logsource("exec"),
    "linux/file_event": Logsource(
        "file", only=_op("create", "open_write", "mkdir", "mknod", "symlink", "link", "rename", "truncate")
    ),
    "linux/file_delete": Logsource("file", only=_op("unlink", "rmdir")),
    "linux/file_rename": Logsource("file", only=_op("rename")),
    "linux/file_change": Logsource("file", only=_op("open_write", "truncate", "chmod", "chown")),
    "linux/file_access": Logsource("read"),
    "linux/network_connection": Logsource("net", "flow", only=_outward),
    "linux/dns_query": Logsource("lookup"),
    "linux/auditd": Logsource(*RECORDS),
    "proctor/file": Logsource("file"),
    "proctor/net": Logsource("net"),
    "proctor/refused": Logsource("refused"),
    "proctor/call": Logsource("call"),
    "proctor/signal": Logsource("signal", "process_control"),
    "proctor/leftover": Logsource("leftover"),
}
"""Sigma's ``product/category``, or ``product/service`` where a rule has no category, to events.

A rule of another log source is listed as not evaluated.
"""
