"""Calls by which one process acts on another: signals, limits, priorities, and who gets SIGIO."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from proctor.events import kinds
from proctor.sensors.memory import Gone, read
from proctor.sensors.notify import Call, signed
from proctor.sensors.processes import Proc, Processes
from proctor.sensors.refusal import Refusal
from proctor.sensors.reply import Act

if TYPE_CHECKING:
    from proctor.sensors.domain import Domain
    from proctor.sensors.kernel import Sink

__all__ = ["ControlCalls"]


class ControlCalls:
    """Handlers for every call towards another process.

    Args:
        add_children: registers the children of a process while the kernel still names it as their parent.
    """

    def __init__(
        self, sink: Sink, processes: Processes, domain: Domain | None, add_children: Callable[[Proc], object]
    ) -> None:
        self._sink = sink
        self._processes = processes
        self._domain = domain
        self._add_children = add_children
        self.handlers: dict[str, Callable[[Call, Proc, str], Act | None]] = {
            **dict.fromkeys(
                ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"), self._signal
            ),
            **dict.fromkeys(
                (
                    "prlimit64", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr",
                    "setpriority", "ioprio_set", "fcntl",
                ),
                self._process_control,
            ),
        }  # fmt: skip

    def _target(self, inside: int, caller: Proc) -> Proc | None:
        """The process with this id inside the sandbox; a child that has made no call yet is looked for."""
        if inside in {0, caller.inside}:
            return caller
        found = self._processes.by_inside(inside)
        if found is None:
            self._add_every_child()
            found = self._processes.by_inside(inside)
        return found

    def _add_every_child(self) -> None:
        for proc in self._processes.all():
            if proc.forked and not proc.exited:
                self._add_children(proc)

    def _signal(self, call: Call, proc: Proc, name: str) -> Act | None:
        args = call.args
        position = {"tgkill": 2, "rt_tgsigqueueinfo": 2}.get(name, 1)
        signo = signed(args[position])
        inside = signed(args[0])
        if name == "pidfd_send_signal":
            inside = self._pidfd_target(call.tid, inside)
        target = self._target(inside, proc) if inside > 0 else None
        if signo != 0:
            # Whoever is about to die may be a parent, and may be the caller itself.
            if target is None:
                self._add_every_child()
            elif target.forked and not target.exited:
                self._add_children(target)
        if self._domain is not None and target is None and not self._within(name, inside):
            raise Refusal(errno.EPERM, "sandbox")
        data = kinds.SignalData(
            call=name, target=inside, signo=signo, target_pid=target.pid if target is not None else None
        )
        self._sink.emit(kinds.Signal, data, proc=proc, tid=call.tid)
        if self._domain is not None and not self._domain.scoped:
            if name == "pidfd_send_signal":
                return self._domain.signal(target, signo, call.args[3])
            if inside == -1:
                return self._domain.signal_all(proc, signo)
        return None

    def _within(self, name: str, inside: int) -> bool:
        """Whether a signal to no known process stays inside, where no PID namespace keeps it there."""
        if name == "tkill":
            return self._thread_within(inside)
        if self._domain is None:
            return True
        if name == "pidfd_send_signal" and not self._domain.scoped:
            return inside < 0  # of a process that has ended; any other is not of the episode
        return self._domain.may_signal(inside)

    def _thread_within(self, tid: int) -> bool:
        try:
            return tid > 0 and self._processes.get(self._processes.leader(tid)) is not None
        except Gone:
            return False

    @staticmethod
    def _pidfd_target(tid: int, fd: int) -> int:
        """The id inside the sandbox that a pidfd of the caller refers to; 0 where it cannot be read."""
        try:
            with open(f"/proc/{tid}/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
            return int(fields["NSpid"].split()[-1])
        except (OSError, KeyError, ValueError, IndexError):
            return 0

    def _process_control(self, call: Call, proc: Proc, name: str) -> None:
        args = tuple(signed(value) for value in call.args[:4])
        if name == "fcntl":
            target = 0 if args[1] == 10 else args[2]  # F_SETSIG: which signal, not to whom
            if args[1] == 15 and self._domain is not None and not self._domain.scoped:
                raise Refusal(errno.EPERM, "sandbox")  # whom it names lies in memory, and could change after
            if args[1] == 15:  # F_SETOWN_EX: struct f_owner_ex {int type; pid_t pid;}
                _, target = struct.unpack("=ii", read(call.tid, call.args[2], 8))
            if args[1] != 10 and abs(target) in {0, proc.inside}:
                return
        else:
            target = args[1] if name in {"setpriority", "ioprio_set"} else args[0]
            if target == proc.inside:
                return
        other = self._target(target, proc) if target > 0 else None
        harmless = name == "fcntl" and target == 0
        if self._domain is not None and other is None and not harmless and not self._thread_within(target):
            raise Refusal(errno.EPERM, "sandbox")
        data = kinds.ProcessControlData(
            call=name, target=target, target_pid=other.pid if other is not None else None, args=args
        )
        self._sink.emit(kinds.ProcessControl, data, proc=proc, tid=call.tid)
