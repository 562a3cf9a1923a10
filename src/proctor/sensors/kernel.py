"""The kernel sensor: turns each stopped system call into an event, has it recorded, and answers the kernel.

The order is the guarantee: the call is stopped, its event is in the journal, responses have taken effect, and only then
is the call answered. A notification precedes its call, so events say what was asked for; what became of it follows in
``exec_result`` and ``result`` events.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from proctor.events import Event, Truth, kinds
from proctor.events.text import from_bytes
from proctor.sandbox import calls
from proctor.sensors import notify
from proctor.sensors.control import ControlCalls
from proctor.sensors.files import FileCalls
from proctor.sensors.memory import Unreadable, read_arguments, read_string
from proctor.sensors.network import NetworkCalls
from proctor.sensors.notify import Call, signed
from proctor.sensors.paths import Resolver
from proctor.sensors.pidfd import exit_status
from proctor.sensors.processes import (
    Gone,
    PendingExec,
    Proc,
    Processes,
    arg_start,
    children,
    cmdline,
    cpu_ns,
    executable,
    read_stat,
    split_cmdline,
)
from proctor.sensors.refusal import Refusal
from proctor.sensors.reply import Act

if TYPE_CHECKING:
    from proctor.sensors.contents import Contents
    from proctor.sensors.domain import Domain

__all__ = ["KernelSensor", "Sink"]

Decision = Literal["go_on", "hold", "kill"]
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_CLONE_PARENT = 0x8000
_EXEC_CALLS = {"execve", "execveat"}
_RECOUNT_NS = 50_000_000


class Sink(Protocol):
    """Where events go. ``emit`` returns the event's number once it is in the journal and was judged."""

    decision: Decision

    def emit(
        self,
        cls: type[Event],
        data: Any,
        *,
        proc: Proc | None = None,
        tid: int | None = None,
        truth: Truth = "resolved",
    ) -> int:
        """Record one event of this sensor."""
        ...


class KernelSensor:
    """Handles the notifications of every listener of one sandbox.

    Args:
        sink: takes the events.
        resolver: resolves paths in the sandbox's root.
        processes: the process table.
        limit: how many processes may live at once.
        domain: in tier C: what is done on behalf of the callers.
        all_opens: opens for reading are recorded.
        contents: keeps what files held before.

    Attributes:
        files: handles the calls on files; ``before_nonblocking`` is called before an open that does not wait.
    """

    def __init__(
        self, sink: Sink, resolver: Resolver, processes: Processes, limit: int, domain: Domain | None = None, *,
        all_opens: bool = False, contents: Contents | None = None,
    ) -> None:  # fmt: skip
        self._sink = sink
        self._resolver = resolver
        self._processes = processes
        self._limit = limit
        self._living = 0
        self._recount_at = 0
        self._clones: deque[int] = deque(maxlen=limit)
        self.received = 0
        self.held: list[tuple[int, int]] = []
        self.on_process: Callable[[Proc], None] = lambda _: None
        self.before_call: Callable[[int, Proc], None] = lambda _tid, _proc: None
        self._domain = domain
        self.files = files = FileCalls(
            sink, resolver, domain.files if domain is not None else None, all_opens=all_opens, contents=contents
        )
        control = ControlCalls(sink, processes, domain, self._add_children)
        network = NetworkCalls(sink, resolver, domain.network if domain is not None else None)
        handlers: dict[str, Callable[[Call, Proc, str], Act | None]] = {
            **dict.fromkeys(("clone", "fork", "vfork"), self._clone),
            **dict.fromkeys(_EXEC_CALLS, self._exec),
            **dict.fromkeys(("exit", "exit_group"), self._exit),
            **dict.fromkeys(("ioctl",), self._never),
            **dict.fromkeys(("socket", "socketpair"), self._socket),
            **files.handlers,
            **network.handlers,
            **control.handlers,
        }
        self._handlers = {calls.NUMBERS[name]: (name, handler) for name, handler in handlers.items()}
        refused = calls.REFUSED | calls.UNSHARED if domain is not None else calls.REFUSED
        self._refused = {number: (name, code) for name, (number, code) in refused.items()}

    # --- one notification ---------------------------------------------------------------------------------------------

    def handle(self, listener: int) -> bool:
        """Receive, record and answer one call. False: there was none left to receive."""
        call = notify.receive(listener)
        if call is None:
            return False
        self.received += 1
        try:
            proc = self._processes.get(call.tid) or self._discover(call.tid)
        except Gone:
            notify.answer(listener, call.id, errno.ESRCH)
            return True
        code = 0
        name = "?"
        act: Act | None = None
        try:
            if call.arch != calls.AUDIT_ARCH or call.nr & calls.X32_BIT:
                raise Refusal(errno.ENOSYS, "foreign_arch")
            if proc.pending is not None and call.tid in {proc.pending.tid, proc.pid}:
                self.settle(proc, call.tid)
            self.before_call(call.tid, proc)
            known = self._handlers.get(call.nr)
            if known is not None:
                name, handler = known
                act = handler(call, proc, name)
            elif call.nr in self._refused:
                name, code = self._refused[call.nr]
                raise Refusal(code, "sandbox")
            else:
                raise Refusal(errno.ENOSYS, "unknown_call")
        except Refusal as refusal:
            code = refusal.errno
            self._refuse(call, proc, name, refusal)
        except Unreadable as problem:
            code = problem.errno
            self._refuse(call, proc, name, Refusal(code, "unreadable"))
        except Gone:
            code = errno.ESRCH
        self._reply(listener, call, code, act)
        return True

    def _reply(self, listener: int, call: Call, code: int, act: Act | None) -> None:
        decision = self._sink.decision
        if decision == "hold":
            self.held.append((listener, call.id))
        elif decision == "go_on":
            if code:
                notify.answer(listener, call.id, code)
            elif act is None:
                notify.go_on(listener, call.id)
            else:
                self._act(listener, call, act)
        # "kill": the tree is dead already; there is nobody to answer.
        if self._domain is not None:
            self._domain.files.release()

    @staticmethod
    def _act(listener: int, call: Call, act: Act) -> None:
        """Do the call for its caller, and answer with what came of it."""
        try:
            reply = act()
        except (OSError, Unreadable) as error:
            notify.answer(listener, call.id, error.errno or errno.EIO)
            return
        except Gone:
            return
        if reply is not None:
            reply.send(listener, call.id)

    def release(self) -> None:
        """Answer what was held while the tree was frozen: the offending calls are refused."""
        for listener, ident in self.held:
            notify.answer(listener, ident, errno.EPERM)
        self.held.clear()

    def _refuse(self, call: Call, proc: Proc, name: str, refusal: Refusal) -> None:
        data = kinds.RefusedData(
            call=name if name != "?" else calls.NAMES.get(call.nr, f"nr{call.nr}"),
            nr=call.nr,
            errno=refusal.errno,
            reason=refusal.reason,
            arch=call.arch if call.arch != calls.AUDIT_ARCH else None,
            args=call.args[:4],
            path=refusal.path,
        )
        self._sink.emit(kinds.Refused, data, proc=proc, tid=call.tid)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _discover(self, tid: int) -> Proc:
        leader = self._processes.leader(tid)
        if leader != tid:
            proc = self._processes.thread(tid)
            return proc if proc is not None else self._join(leader, tid)
        return self.add(leader, "call")

    def _join(self, leader: int, tid: int) -> Proc:
        self.add(leader, "call")
        proc = self._processes.thread(tid)
        if proc is None:
            raise Gone(str(tid))
        return proc

    def add(self, pid: int, how: Literal["root", "call", "child"], parent: Proc | None = None, **known: Any) -> Proc:
        """Register a process and record its first sight. Raises :class:`Gone`."""
        proc = self._processes.register(pid, parent=parent, root=how == "root", **known)
        if how == "root":
            self._living += 1
        self.on_process(proc)
        shown = split_cmdline(cmdline(pid)) if how == "child" else ()
        data = kinds.ProcessData(pid_inside=proc.inside or None, how=how, cmdline=shown)
        self._sink.emit(kinds.Process, data, proc=proc)
        return proc

    def _add_children(self, proc: Proc) -> tuple[int, ...]:
        """Register a process's children while the kernel still names it as their parent.

        Called when it is about to end or to be signalled.
        """
        found = []
        for pid in children(proc.pid):
            found.append(pid)
            if self._processes.get(pid) is None:
                try:
                    self.add(pid, "child", proc)
                except Gone:
                    continue
        return tuple(found)

    def _clone(self, call: Call, proc: Proc, name: str) -> None:
        flags = call.args[0] & 0xFFFFFFFF if name == "clone" else 0
        if flags & 0x7E020000:
            raise Refusal(errno.EPERM, "sandbox")
        if flags & _CLONE_PARENT:
            # The child would be its grandparent's: lineage would name the wrong step.
            raise Refusal(errno.EPERM, "sandbox")
        if self._living >= self._limit and not self._room():
            raise Refusal(errno.EAGAIN, "limit")
        self._living += 1
        self._clones.append(time.monotonic_ns())
        proc.forked = True
        proc.forks.append(self._processes.steps_open)
        if len(proc.forks) > 64:  # forks that failed leave their entry
            del proc.forks[0]
        self._sink.emit(kinds.Clone, kinds.CloneData(call=name, flags=flags), proc=proc, tid=call.tid)

    def _room(self) -> bool:
        """Count again before refusing: children that were killed before any call of theirs were never seen to end."""
        now = time.monotonic_ns()
        if now - self._recount_at > _RECOUNT_NS:
            self._recount_at = now
            self._living = self._processes.count() + self._in_flight(now)
        return self._living < self._limit

    def _in_flight(self, now: int) -> int:
        """Calls let go on so lately that their children may not be there to be counted."""
        while self._clones and self._clones[0] < now - _RECOUNT_NS:
            self._clones.popleft()
        return len(self._clones)

    def _exec(self, call: Call, proc: Proc, name: str) -> None:
        args = call.args
        directory, at, argv_at, flags = (
            (_AT_FDCWD, args[0], args[1], 0) if name == "execve" else (signed(args[0]), args[1], args[2], args[4])
        )
        path = read_string(call.tid, at)
        argv = read_arguments(call.tid, argv_at)
        if not path and flags & _AT_EMPTY_PATH:
            found = self._resolver.descriptor(call.tid, directory)
        else:
            found = self._resolver.resolve(call.tid, proc.inside, directory, path, follow=True)
        image = found.object if found.existed else None
        try:
            cwd = from_bytes(os.readlink(b"/proc/%d/cwd" % call.tid))
        except OSError:
            cwd = None
        data = kinds.ExecData(
            call=name, path=found.claimed, image=image, argv=argv.shown, argc=argv.count, argv_digest=argv.digest,
            truncated=argv.truncated, cwd=cwd, parent_argv=proc.argv[:16],
        )  # fmt: skip
        seq = self._sink.emit(kinds.Exec, data, proc=proc, tid=call.tid, truth="racy")
        contested = proc.pending is not None  # by another thread of it, whose exec has not ended
        self._unknown(proc)
        proc.pending = PendingExec(seq, image, argv.digest, proc.arg_start, argv.shown, call.tid, contested)

    def _unknown(self, proc: Proc) -> None:
        """What became of a process's last exec cannot be told any more."""
        pending, proc.pending = proc.pending, None
        if pending is not None:
            self._sink.emit(kinds.ExecResult, kinds.ExecResultData(ref=pending.seq, outcome="unknown"), proc=proc)

    def settle(self, proc: Proc, tid: int | None = None) -> None:
        """Say what became of a process's last exec: its argument area moved if, and only if, it succeeded.

        ``tid``: who makes a call now. Another thread than the one that asked may call while the exec goes on.
        """
        pending = proc.pending
        if pending is None:
            return
        try:
            start = arg_start(proc.pid)
        except Gone:
            self._unknown(proc)
            return
        if start == pending.arg_start and tid != pending.tid:
            return
        if pending.contested and start != pending.arg_start:
            self._unknown(proc)
            proc.arg_start, proc.exe, proc.argv = start, executable(proc.pid), split_cmdline(cmdline(proc.pid))
            self._processes.keep_only_leader(proc)
            return
        proc.pending = None
        if start == pending.arg_start:
            self._sink.emit(kinds.ExecResult, kinds.ExecResultData(ref=pending.seq, outcome="failed"), proc=proc)
            return
        proc.arg_start = start
        proc.exe = executable(proc.pid)
        proc.argv = pending.argv
        self._processes.keep_only_leader(proc)
        raw = cmdline(proc.pid).removesuffix(b"\0")
        # A script's arguments are rewritten by the kernel (its interpreter goes in front), so they are not compared.
        digest = (
            hashlib.sha256(raw).hexdigest() if proc.exe == pending.image and 0 < len(raw) < 65535 else None
        )  # what one read returns
        matches = None if digest is None else digest == pending.argv_digest
        data = kinds.ExecResultData(
            ref=pending.seq, outcome="succeeded", argv_digest=None if matches else digest, argv_matches=matches
        )
        self._sink.emit(kinds.ExecResult, data, proc=proc)

    def _exit(self, call: Call, proc: Proc, name: str) -> None:
        if name == "exit" and read_stat(proc.pid).threads > 1:
            proc.thread_exits = True
            if call.tid != proc.pid:
                self._processes.forget_thread(proc, call.tid)
            return
        self._unknown(proc)  # another thread's, which this ends
        found = self._add_children(proc) if proc.forked else ()
        raw = split_cmdline(cmdline(proc.pid))
        used = cpu_ns(proc.pid)
        proc.cpu_ns = used or proc.cpu_ns
        data = kinds.ExitData(
            how="call",
            code=call.args[0] & 0xFF,
            children=found,
            cmdline=raw if raw != proc.argv else (),
            cpu_ns=used,
        )
        proc.exited = True
        self._sink.emit(kinds.Exit, data, proc=proc, tid=call.tid)

    def ended(self, proc: Proc) -> None:
        """The pidfd became readable: the process is gone."""
        if not proc.exited:
            code, signo = exit_status(proc.pidfd, proc.pid)
            by_call = code is not None or (signo is None and proc.thread_exits)
            self._unknown(proc)
            exit_data = kinds.ExitData(how="call" if by_call else "signal", code=code, signal=signo)
            self._sink.emit(kinds.Exit, exit_data, proc=proc)
        self._living = max(0, self._living - 1)
        self._processes.forget(proc)

    # --- never allowed here -------------------------------------------------------------------------------------------

    def _never(self, call: Call, proc: Proc, name: str) -> None:
        raise Refusal(errno.EPERM, "sandbox")

    def _socket(self, call: Call, proc: Proc, name: str) -> Act | None:
        if self._domain is not None and name == "socket":
            act = self._domain.network.datagrams.make(*(signed(value) for value in call.args[:3]))
            if act is not None:
                return act
        known = call.args[0] & 0xFFFFFFFF in {1, 2, 10}
        raise Refusal(errno.EPERM if known else errno.EAFNOSUPPORT, "sandbox" if known else "domain")
