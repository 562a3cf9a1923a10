"""What the tracepoints tell of processes that nobody contains, as the events that a sandbox's record has.

The kernel tells of a call when it returned, so outcomes are known. What a call opened is the kernel's own path; a path
that was only named is joined with the folder it is relative to, and its links are not followed. Paths are those that
the process itself sees: from its own root.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proctor.events import kinds
from proctor.events.text import from_bytes
from proctor.sandbox import calls
from proctor.sensors.files import operation
from proctor.sensors.memory import parse_address
from proctor.sensors.processes import MAX_ARGS, Gone, Proc, cmdline, executable, read_stat, split_cmdline
from proctor.sensors.tracerecords import (
    CUT,
    ENTERED,
    EXEC,
    EXIT,
    FOREIGN,
    FORK,
    IDENTITY,
    INTO,
    MOVE,
    OUT_OF,
    Record,
    path_of,
)

if TYPE_CHECKING:
    from proctor.sensors.kernel import Sink
    from proctor.sensors.paths import Role

__all__ = ["Observed"]

_NAMES = calls.NAMES | {number: name for name, number in IDENTITY.items()}
_RESTARTS = {-512, -513, -514, -516}  # linux/errno.h: the call is made again
_FORKS = {"clone", "fork", "vfork"}
_SOCKETS = {"connect", "bind", "sendto"}
_SIGNALS = {"kill": 1, "tkill": 1, "tgkill": 2, "rt_sigqueueinfo": 1, "rt_tgsigqueueinfo": 2, "pidfd_send_signal": 1}
_O_CREAT, _O_EXCL, _TMPFILE, _AT_REMOVEDIR, _EINPROGRESS = 0o100, 0o200, 0o20000000, 0x200, 115
_MAX_ARG = 4096


def _low(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def _outcome(record: Record) -> kinds.Outcome:
    return "succeeded" if record.ret >= 0 else "failed" if record.flags & ENTERED else "blocked"


class Observed:
    """Turns records into events.

    Args:
        sink: takes the events.
        role: what the policy says of an absolute path.
        gap: called with what the tracepoints cannot see from now on.
    """

    def __init__(self, sink: Sink, role: Callable[[bytes], Role], gap: Callable[[str], None]) -> None:
        self._sink = sink
        self._role = role
        self._gap = gap
        self._all: dict[tuple[int, int], Proc] = {}
        self._blind: set[tuple[int, int, str]] = set()

    @property
    def alive(self) -> int:
        """How many known processes were not seen to end."""
        return len(self._all)

    # --- processes ----------------------------------------------------------------------------------------------------

    def found(self, pid: int) -> None:
        """Take note of a process that is there already, as /proc shows it now."""
        try:
            stat = read_stat(pid)
        except Gone:
            return
        key = (pid, stat.start_time)
        if key not in self._all:
            raw = cmdline(pid)
            proc = self._known(key, stat.ppid, executable(pid), split_cmdline(raw))
            self._emit(kinds.Process, kinds.ProcessData(how="found", cmdline=split_cmdline(raw)), proc)

    def _known(self, key: tuple[int, int], ppid: int, exe: str | None, argv: tuple[str, ...]) -> Proc:
        proc = Proc(pid=key[0], ppid=ppid, start_time=key[1], arg_start=0, exe=exe, pidfd=-1, argv=argv)
        self._all[key] = proc
        return proc

    def _emit(self, cls: Any, data: Any, proc: Proc, record: Record | None = None, *, racy: bool = False) -> int:
        tid = record.tid if record is not None else None
        return self._sink.emit(cls, data, proc=proc, tid=tid, truth="racy" if racy else "resolved")

    def take(self, record: Record) -> None:
        """Record what one record tells."""
        key = (record.pid, record.start)
        proc = self._all.get(key)
        if proc is None and record.type != FORK:
            self.found(record.pid)
            proc = self._all.get(key) or self._known(key, record.ppid, None, ())
        if record.type == FORK:
            self._fork(record, proc)
        elif proc is None:
            return
        elif record.type == EXEC:
            self._exec(record, proc)
        elif record.type == EXIT:
            self._exit(record, proc)
        elif record.type == MOVE:
            if record.flags & OUT_OF:
                self._gap(f"process {proc.pid} was moved out of the cgroup: what it does there is not seen")
        else:
            self._call(record, proc)

    def _fork(self, record: Record, parent: Proc | None) -> None:
        if record.flags & OUT_OF:
            self._gap(f"process {record.pid} started process {record.args[0]} outside the cgroup, where it is not seen")
            return
        key = (record.args[0], record.args[1])
        if key in self._all:
            return
        if parent is None and not record.flags & INTO:
            self.found(record.pid)
            parent = self._all.get((record.pid, record.start))
        exe, argv = (parent.exe, parent.argv) if parent is not None else (executable(key[0]), ())
        child = self._known(key, record.pid, exe, argv)
        self._emit(kinds.Process, kinds.ProcessData(how="forked"), child)

    def _exec(self, record: Record, proc: Proc) -> None:
        name, raw, exe, cwd, _ = record.pieces
        cut = bool(record.flags & CUT)
        words = raw.removesuffix(b"\0").split(b"\0") if raw else []
        argv = tuple(from_bytes(word[:_MAX_ARG]) for word in words[:MAX_ARGS])
        image = from_bytes(path_of(exe)) or None
        data = kinds.ExecData(
            call="execve", path=from_bytes(name.removesuffix(b"\0")), image=image, argv=argv, argc=record.args[0],
            argv_digest="" if cut else hashlib.sha256(raw.removesuffix(b"\0")).hexdigest(),
            truncated=cut or len(words) > MAX_ARGS or any(len(word) > _MAX_ARG for word in words),
            cwd=from_bytes(path_of(cwd)) or "/", parent_argv=proc.argv[:16],
        )  # fmt: skip
        seq = self._emit(kinds.Exec, data, proc, record)
        proc.exe, proc.argv = image, argv
        self._emit(kinds.ExecResult, kinds.ExecResultData(ref=seq, outcome="succeeded"), proc, record)

    def _exit(self, record: Record, proc: Proc) -> None:
        signo = record.ret & 0x7F
        code = None if signo else record.ret >> 8 & 0xFF
        data = kinds.ExitData(how="signal" if signo else "call", code=code, signal=signo or None)
        self._emit(kinds.Exit, data, proc)
        del self._all[proc.pid, proc.start_time]

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, record: Record, proc: Proc) -> None:
        if record.flags & FOREIGN:
            self._unseen(proc, "made calls by another architecture's entry, which are not read")
            return
        name = _NAMES[record.nr]
        if record.ret in _RESTARTS or name in _FORKS:  # their children are told of themselves
            return
        if name in {"execve", "execveat"}:
            self._failed_exec(record, proc, name)
        elif name in _SOCKETS or name == "listen":
            self._socket(record, proc, name)
        elif name in _SIGNALS:
            signo, target = _low(record.args[_SIGNALS[name]]), _low(record.args[0])
            if signo:
                self._emit(kinds.Signal, kinds.SignalData(call=name, target=target, signo=signo), proc, record)
        elif name in calls.REFUSED or name in IDENTITY:
            errno = -record.ret if record.ret < 0 else None
            args = tuple(record.args[:4])
            data = kinds.CallData(call=name, nr=record.nr, args=args, errno=errno, outcome=_outcome(record))
            self._emit(kinds.Call, data, proc, record)
            if name == "io_uring_setup" and record.ret >= 0:
                self._unseen(proc, "set up io_uring: what it asks for there passes no system call, and is not seen")
        else:
            self._file(record, proc, name)

    def _unseen(self, proc: Proc, what: str) -> None:
        key = (proc.pid, proc.start_time, what)
        if key not in self._blind:
            self._blind.add(key)
            self._gap(f"process {proc.pid} {what}")

    def _failed_exec(self, record: Record, proc: Proc, name: str) -> None:
        """One that succeeded was told by its own tracepoint."""
        if record.ret >= 0 or not record.pieces:
            return
        path, folder = record.pieces[1].removesuffix(b"\0"), path_of(record.pieces[3])
        data = kinds.ExecData(
            call=name, path=from_bytes(path), cwd=from_bytes(folder) or None, parent_argv=proc.argv[:16]
        )
        seq = self._emit(kinds.Exec, data, proc, record, racy=True)
        self._emit(kinds.ExecResult, kinds.ExecResultData(ref=seq, outcome="failed"), proc, record)

    def _socket(self, record: Record, proc: Proc, name: str) -> None:
        raw = record.pieces[1] if record.pieces else b""
        address = parse_address(raw) if len(raw) >= 2 else None
        if name == "connect" and address is None and raw:
            return  # AF_UNSPEC: it dissolves an association
        outcome = "attempted" if record.ret == -_EINPROGRESS else _outcome(record)
        unix = None
        if address is not None and address.path is not None:
            abstract = address.path.startswith(b"\0")
            unix = "@" + from_bytes(address.path[1:]) if abstract else from_bytes(address.path)
        data = kinds.NetData(
            op=name, call=name, family=address.family if address else None,  # type: ignore[arg-type]
            address=unix or (address.host if address else None), port=address.port if address else None,
            outcome=outcome,
        )  # fmt: skip
        self._emit(kinds.Net, data, proc, record, racy=True)

    def _file(self, record: Record, proc: Proc, name: str) -> None:
        pieces = record.pieces or (b"",) * 5
        claimed, second = pieces[1].removesuffix(b"\0"), pieces[2].removesuffix(b"\0")
        place = path_of(pieces[0]) or _joined(path_of(pieces[3]), claimed)
        other = _joined(path_of(pieces[4]) or path_of(pieces[3]), second) if second else b""
        op, flags, mode = operation(name, record.args)
        existed = None
        if op == "open":
            op, existed = "open_write", None if (flags or 0) & _O_CREAT else True
            if (flags or 0) & (_O_CREAT | _O_EXCL) == _O_CREAT | _O_EXCL or (flags or 0) & _TMPFILE:
                op, existed = "create", False
        elif op == "unlink" and flags is not None and flags & _AT_REMOVEDIR:
            op = "rmdir"
        if op not in {"open_write", "create"}:
            existed = op not in {"mkdir", "mknod", "symlink", "memfd"}
        if record.ret < 0:
            existed = None  # it failed, for that reason or another
        link = op == "symlink"
        shown = "memfd:" + from_bytes(claimed) if op == "memfd" else from_bytes(claimed or place)
        data = kinds.FileData(
            op=op, call=name, path=shown, object=from_bytes(place) or None if op != "memfd" else None,
            role=self._role(place) if place.startswith(b"/") and op != "memfd" else None,
            target=from_bytes(second) if second else None,
            target_object=from_bytes(other) if other and not link else None,
            target_role=self._role(other) if other and not link else None,
            flags=flags, mode=mode, existed=existed, outcome=_outcome(record),
        )  # fmt: skip
        self._emit(kinds.File, data, proc, record, racy=not pieces[0])


def _joined(folder: bytes, path: bytes) -> bytes:
    return posixpath.normpath(path if path.startswith(b"/") else folder + b"/" + path) if path else folder
