"""The two books of tier A: what the supervisor recorded, and what the tracepoints told, process by process.

They agree exactly but for what a death cuts off, and that is modelled, not tolerated:

- The tracepoints tell of every call when it returns, also of one that the supervisor refused: seccomp's answer makes a
  return without an entry. So each call that the supervisor recorded, let go or not, is one return.
- A call that a signal interrupted before the supervisor took it returns ERESTARTSYS without an entry, and is made
  again: it is in neither count. Where its caller died of that signal, the supervisor may have recorded it: one more is
  allowed, for that call of that thread.
- An exec whose outcome the supervisor could not tell may have succeeded.
- A process that made no call and was ended by a signal need not be known to the supervisor.
- A command's first process is the supervisor's own program until it is confined and calls exec.

Anything else is a difference: something happened that one of the two did not see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proctor.events import Event, kinds
from proctor.sandbox import calls
from proctor.sensors.tracerecords import (
    CALL,
    ENTERED,
    EXEC,
    EXIT,
    FOREIGN,
    FORK,
    INTO,
    MOVE,
    OUT_OF,
    WRITING,
    Record,
    shapes,
)

__all__ = ["Ledger"]

_RESTARTS = {-512, -513, -514, -516}
"""ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK (linux/errno.h): not seen in user space."""

_OPENS = {"open", "openat", "openat2", "creat"}
_FORKS = {"clone", "fork", "vfork"}
_EXECS = {"execve", "execveat"}
_SOCKETS = {"connect", "bind", "listen"}
_SIGNALS = {"kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"}
_REFUSED = frozenset(calls.REFUSED)
_COUNTED = {number: calls.NAMES[number] for number in shapes(watch=False)}
_COUNTED_NAMES = frozenset(_COUNTED.values())
_FOREIGN = "foreign"


def _kind(name: str) -> str:
    """What a call counts as in the ``reconcile`` event."""
    for kind, names in (
        ("fork", _FORKS), ("exec", _EXECS), ("write_open", _OPENS), ("signal", _SIGNALS), ("refused_call", _REFUSED),
    ):  # fmt: skip
        if name in names:
            return kind
    return name if name in _SOCKETS or name == _FOREIGN else "file_change"


_KINDS = {name: _kind(name) for name in (*_COUNTED_NAMES, _FOREIGN)}


@dataclass(slots=True)
class _Process:
    """One process in both books. ``balance``: calls recorded minus calls told, by name."""

    pid: int
    balance: Counter[str] = field(default_factory=Counter)
    waiting: dict[int, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    confined: bool = True
    told: int = 0
    clones: int = 0
    children: int = 0
    succeeded: int = 0
    unknown: int = 0
    execs: int = 0
    known: bool = False
    recorded_end: bool = False
    told_end: int | None = None


class Ledger:
    """The two books of one episode. Pure: fed with events and records, it says where they differ."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Process] = {}
        self._recorded: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._found: list[str] = []
        self._closed = 0
        self.unresolved = 0
        self._takes: dict[type[Event], Callable[[_Process, Any], None]] = {
            kinds.Clone: self._on_clone,
            kinds.Exec: self._on_call,
            kinds.ExecResult: self._on_result,
            kinds.Exit: self._on_exit,
            kinds.File: self._on_file,
            kinds.Net: self._on_net,
            kinds.Process: self._on_process,
            kinds.Refused: self._on_refused,
            kinds.Signal: self._on_call,
        }

    def _process(self, pid: int | None, start: int | None) -> _Process:
        key = (pid or 0, start or 0)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = _Process(key[0])
        return found

    # --- what the supervisor recorded ---------------------------------------------------------------------------------

    def recorded(self, event: Event) -> None:
        """Enter an event of the record."""
        take = self._takes.get(type(event))
        if take is not None and event.sensor == "kernel":
            process = self._process(event.pid, event.start_time)
            process.known = True
            take(process, event)

    def _made(self, process: _Process, name: str) -> None:
        if name in _COUNTED_NAMES or name == _FOREIGN:
            process.balance[name] += 1
            self._recorded[_KINDS[name]] += 1

    def _on_call(self, process: _Process, event: kinds.Exec | kinds.Signal) -> None:
        self._made(process, event.data.call)

    def _on_net(self, process: _Process, event: kinds.Net) -> None:
        if event.data.op != "sendto":  # one call may be several events, or none
            self._made(process, event.data.call)

    def _on_clone(self, process: _Process, event: kinds.Clone) -> None:
        process.clones += 1
        self._made(process, event.data.call)

    def _on_file(self, process: _Process, event: kinds.File) -> None:
        # Opens for reading are recorded too where that was asked for; the tracepoints do not tell of them.
        if event.data.call not in _OPENS or (event.data.flags or 0) & WRITING:
            self._made(process, event.data.call)

    def _on_refused(self, process: _Process, event: kinds.Refused) -> None:
        data = event.data
        if data.arch is not None:
            self._made(process, _FOREIGN)
        elif (
            data.nr in _COUNTED and data.call != "openat2"
        ):  # whose flags lie in memory, and may be what was unreadable
            args = data.args
            reads = data.call in {"open", "openat"} and not args[1 if data.call == "open" else 2] & WRITING
            if not reads:
                self._made(process, _COUNTED[data.nr])

    def _on_result(self, process: _Process, event: kinds.ExecResult) -> None:
        process.succeeded += event.data.outcome == "succeeded"
        process.unknown += event.data.outcome == "unknown"
        self._recorded["exec_succeeded"] += event.data.outcome == "succeeded"

    def _on_exit(self, process: _Process, _: kinds.Exit) -> None:
        process.recorded_end = True
        self._recorded["exit"] += 1

    def _on_process(self, process: _Process, event: kinds.Process) -> None:
        """That it is known is all that counts."""

    # --- what the tracepoints told ------------------------------------------------------------------------------------

    def told(self, record: Record) -> None:
        """Enter a record of the tracepoints."""
        process = self._process(record.pid, record.start)
        if record.type == CALL:
            self._call(process, record)
        elif record.type == FORK:
            self._fork(process, record)
        elif record.type == EXEC:
            process.execs += 1
            process.confined = True
            self._told["exec_succeeded"] += 1
        elif record.type == MOVE:
            way = "into" if record.flags & INTO else "out of"
            process.odd.append(f"was moved {way} the episode's cgroup, by somebody outside")
        elif record.type == EXIT and process.told_end is None:
            process.told_end = record.ret
            self._told["exit"] += 1
            if process.recorded_end:
                self._settle((record.pid, record.start), process)

    def _fork(self, process: _Process, record: Record) -> None:
        child = self._process(record.args[0], record.args[1])
        if record.flags & INTO:  # of the sandbox's first process, which is not in the cgroup itself
            child.confined = False
            del self._open[record.pid, record.start]
        else:
            process.children += 1
        if record.flags & OUT_OF:
            process.odd.append(f"started process {child.pid} outside the episode's cgroup")

    def _call(self, process: _Process, record: Record) -> None:
        entered = record.flags & ENTERED
        name = _FOREIGN if record.flags & FOREIGN else _COUNTED[record.nr]
        if not entered and record.ret in _RESTARTS:
            process.waiting[record.tid] = name
            return
        process.waiting.pop(record.tid, None)
        if not process.confined:
            if name not in _EXECS:
                return
            process.confined = True
        if entered and (name in _REFUSED or name == _FOREIGN):
            process.odd.append(f"{'a call of another architecture' if name == _FOREIGN else name} was not stopped")
        if name == "openat2" and not entered:
            return
        process.told += 1
        process.balance[name] -= 1
        self._told[_KINDS[name]] += 1

    # --- the comparison -----------------------------------------------------------------------------------------------

    def _settle(self, key: tuple[int, int], process: _Process) -> None:
        self._found += self._differences(process)
        self._closed += 1
        del self._open[key]

    def _differences(self, process: _Process) -> Iterator[str]:
        who = f"process {process.pid}"
        yield from (f"{who} {what}" for what in process.odd)
        cut_off = Counter(process.waiting.values())
        for name, left in process.balance.items():
            spare = cut_off[name]
            self.unresolved += spare
            if not 0 <= left <= spare:
                more, count = ("more", left) if left > 0 else ("fewer", -left)
                yield f"{who}: the record has {count} {more} of {name} than the tracepoints saw"
        if process.children > process.clones:
            yield f"{who}: the tracepoints saw {process.children} children begin, the record has {process.clones} forks"
        if not process.succeeded <= process.execs <= process.succeeded + process.unknown:
            told = f"{process.succeeded} succeeded and {process.unknown} unknown"
            yield f"{who}: the tracepoints saw {process.execs} execs succeed, the record has {told}"
        if process.told_end is None:
            if process.known:
                yield f"{who}: the tracepoints did not see it end"
        elif not process.recorded_end and (process.known or process.told or not process.told_end & 0x7F):
            yield f"{who}: the record does not have its end, which the tracepoints saw"

    def close(self) -> list[str]:
        """Compare what is left, when every process has ended; return all differences."""
        for key, process in tuple(self._open.items()):
            if key[0] or process.balance or process.odd:
                self._settle(key, process)
        return self._found

    def data(self, *, seen: int, dropped: int, freezes: int) -> kinds.ReconcileData:
        """The ``reconcile`` event, after :meth:`close`."""
        names = sorted({name for name, count in (self._recorded + self._told).items() if count})
        counts = tuple(
            kinds.ReconcileCount(kind=name, recorded=self._recorded[name], observed=self._told[name]) for name in names
        )
        return kinds.ReconcileData(
            counts=counts, processes=self._closed, differences=len(self._found), unresolved=self.unresolved, seen=seen,
            dropped=dropped, freezes=freezes,
        )  # fmt: skip
