"""What the kernel sensor does itself in tier C: files and sockets on behalf of callers, and who may be signalled."""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from proctor.sandbox.layout import Layout
from proctor.sensors import pairs
from proctor.sensors.behalf import Behalf
from proctor.sensors.broker import Broker
from proctor.sensors.paths import Resolver
from proctor.sensors.processes import Proc, Processes
from proctor.sensors.reply import Act, Reply

__all__ = ["Domain", "lacking"]

_TRUNCATES, _TCP, _SCOPED = 3, 4, 6  # Landlock's versions that decide over these, and that keep signals inside


def lacking(abi: int) -> dict[str, str]:
    """What is `degraded` without namespaces where Landlock has this version, and what stands in for it."""
    lacks = {
        "namespaces": (
            "none: process numbers, /proc and the loopback are the machine's; who may be reached is decided by call"
        )
    }
    if abi < _TRUNCATES:
        lacks["truncation"] = "decided by call: this kernel's Landlock does not know it; openat2 is refused"
    if abi < _TCP:
        lacks["TCP"] = "decided by call alone: this kernel's Landlock does not know it"
    if abi < _SCOPED:
        lacks["signals to others"] = "decided by number: this kernel's Landlock does not keep them inside"
    return lacks


class Domain:
    """The parts of tier C that act.

    Args:
        abi: the kernel's Landlock version.

    Attributes:
        scoped: the kernel itself keeps signals inside; else the supervisor must, and nothing that another thread could
            change between its judgement and the call may decide.
    """

    def __init__(self, layout: Layout, resolver: Resolver, processes: Processes, abi: int) -> None:
        self.files = Behalf(layout, resolver, self._holds_master, truncates=abi >= _TRUNCATES)
        self.network = Broker(layout, processes)
        self._processes = processes
        self.scoped = abi >= _SCOPED

    def signal(self, target: Proc | None, signo: int, flags: int) -> Act:
        """pidfd_send_signal, by our own descriptor: the caller's could lead elsewhere by the time the kernel looks.

        ``target``: None where its process has ended.
        """

        def act() -> Reply | None:
            if target is None or flags:
                raise OSError(errno.ESRCH if target is None else errno.EINVAL, "")
            signal.pidfd_send_signal(target.pidfd, signo)
            return Reply()

        return act

    def signal_all(self, caller: Proc, signo: int) -> Act:
        """kill(-1): every process of the episode but the caller, as of now."""

        def act() -> Reply | None:
            for proc in self._processes.all():
                if proc.pid != caller.pid:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(proc.pidfd, signo)
            return Reply()

        return act

    def _holds_master(self, pair: int) -> bool:
        return pairs.holds((proc.pid for proc in self._processes.all()), pair)

    def may_signal(self, inside: int) -> bool:
        """Whether a call of the kill family may go on, by the id it names: nothing outside the episode is reached.

        0 is the caller's own process group, which began with its command. -1 is every process of the user: the kernel
        leaves those outside out, or :meth:`signal_all` does.
        """
        if inside == -1:
            return True
        if inside >= 0:
            return inside == 0 or self._processes.by_inside(inside) is not None
        for proc in self._processes.all():
            try:
                if os.getpgid(proc.pid) == -inside:
                    return True
            except ProcessLookupError:
                continue
        return False
