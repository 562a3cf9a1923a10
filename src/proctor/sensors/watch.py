"""Who opened a protected or hidden file, without stopping every open.

Where the file is ours, a write lease makes its opener wait (fcntl(2), F_SETLEASE): the kernel signals the supervisor,
the waiting process is found by its system call, recorded, and let go on. Otherwise, and until a lease can be taken
again (it cannot while the file is open), inotify tells that the file was opened but not by whom.

An open that does not wait (O_NONBLOCK) would fail on a lease: the lease is given up before the call goes on, and the
next open that inotify tells of is put down to that caller. Another process that opens the file in between is taken for
it.

What it does not see: stat and other looks that open nothing, opens that fail, and opens of files beyond the bounds
below. A queue that overflowed is a gap.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from proctor.events import kinds
from proctor.events.text import from_bytes
from proctor.sandbox.linux import RESOLVE_IN_ROOT, openat2
from proctor.sensors.kernel import Sink
from proctor.sensors.memory import Gone, Unreadable, read_string
from proctor.sensors.notify import signed
from proctor.sensors.paths import Resolver
from proctor.sensors.processes import Proc, Processes

__all__ = ["MAX_LEASES", "MAX_WATCHED", "Watch"]

MAX_LEASES = 512
"""Each costs a descriptor and, at every first open, about a millisecond."""
MAX_WATCHED = 4096
"""Files and folders watched by inotify; beyond it the record says what is not watched."""

_ASKED_NS, _MAX_ASKED = 1_000_000_000, 64
"""How long a lease is not taken again for who was let by, and for how many at a time."""
_SIGNAL = signal.SIGRTMIN + 3
_SIGINFO = 128  # sizeof(struct signalfd_siginfo), signalfd(2)
_SSI_FD = 20  # offset of ssi_fd
_IN_OPEN, _IN_ISDIR, _IN_Q_OVERFLOW, _IN_ONLYDIR = 0x20, 0x40000000, 0x4000, 0x01000000
_EVENT = struct.Struct("iIII")  # struct inotify_event
_OPENS = {2: (None, 0), 257: (0, 1), 437: (0, 1), 85: (None, 0), 59: (None, 0), 322: (0, 1)}
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class _File:
    path: str
    role: kinds.PathRole
    fd: int
    leased: bool = False
    expected: int = 0
    """Opens named by a lease whose inotify event is still to come."""
    asked: list[tuple[Proc, int]] = field(default_factory=list)
    asked_ns: int = 0
    """Who was let by because its open does not wait for a lease (process and thread), and when the last was."""


@dataclass(slots=True)
class _Folder:
    path: str
    role: kinds.PathRole
    files: dict[str, _File] = field(default_factory=dict)


class Watch:
    """Watches the files below the given paths of the sandbox.

    Attributes:
        signals: descriptor that is readable when a lease is being broken.
        notices: descriptor that is readable when inotify has events.
        unwatched: files and folders left out, and why; empty where everything is watched.
    """

    def __init__(self, sink: Sink, resolver: Resolver, processes: Processes, settle: Callable[[Proc], None]) -> None:
        self._sink = sink
        self._settle = settle
        self._resolver = resolver
        self._processes = processes
        self._by_fd: dict[int, _File] = {}
        self._by_watch: dict[int, _File | _Folder] = {}
        self._waiting: list[_File] = []
        self._watched = 0
        self._added: set[str] = set()
        self.unwatched: list[str] = []
        signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGNAL})
        mask = struct.pack("Q", 1 << (_SIGNAL - 1))
        self.signals: int = _libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
        self.notices: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.signals < 0 or self.notices < 0:
            raise OSError(ctypes.get_errno(), "signalfd or inotify")

    def add(self, path: str, role: kinds.PathRole) -> None:
        """Watch a file, or every file below a folder. What an earlier call covers keeps that call's role.

        It must not be opened again either: that open of the supervisor's own would break the lease it took before.
        """
        if any(path == other or path.startswith(other.rstrip("/") + "/") for other in self._added):
            return
        fd = openat2(self._resolver.root, os.fsencode(path), os.O_PATH | os.O_NOFOLLOW, RESOLVE_IN_ROOT)
        if fd < 0:
            self.unwatched.append(f"{path}: {os.strerror(-fd)}")
            return
        try:
            folder = os.path.isdir(f"/proc/self/fd/{fd}")
            if not folder:
                self._add_file(path, role, watch=True)
                return
            for at, folders, names in os.walk(f"/proc/self/fd/{fd}"):
                relative = os.path.relpath(at, f"/proc/self/fd/{fd}")
                here = path if relative == "." else os.path.join(path, relative)
                folders[:] = sorted(name for name in folders if os.path.join(here, name) not in self._added)
                left = sorted(name for name in names if os.path.join(here, name) not in self._added)
                self._add_folder(here, at, left, role)
        finally:
            os.close(fd)
            self._added.add(path)

    def _add_folder(self, path: str, at: str, names: list[str], role: kinds.PathRole) -> None:
        entry = _Folder(path, role)
        # Opened before they are watched: the supervisor's own opens are not news.
        for name in names:
            if len(self._by_fd) >= MAX_LEASES:
                break
            file = self._add_file(os.path.join(path, name), role, watch=False)
            if file is not None:
                entry.files[name] = file
        self._inotify(at, _IN_OPEN | _IN_ONLYDIR, entry, path)

    def _add_file(self, path: str, role: kinds.PathRole, *, watch: bool) -> _File | None:
        fd = -1
        if len(self._by_fd) < MAX_LEASES:
            fd = openat2(
                self._resolver.root, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, RESOLVE_IN_ROOT
            )
        file = _File(path, role, fd)
        if fd >= 0:
            self._by_fd[fd] = file
            self._arm(file)
        if watch:
            self._inotify(None, _IN_OPEN, file, path)
        return file if fd >= 0 else None

    def _inotify(self, at: str | None, mask: int, entry: _File | _Folder, path: str) -> None:
        if self._watched >= MAX_WATCHED:
            self.unwatched.append(f"{path}: more than {MAX_WATCHED} watched")
            return
        fd = -1
        if at is None:
            fd = openat2(self._resolver.root, os.fsencode(path), os.O_PATH | os.O_NOFOLLOW, RESOLVE_IN_ROOT)
            at = f"/proc/self/fd/{fd}"
        number = _libc.inotify_add_watch(self.notices, os.fsencode(at), mask)
        code = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        if number < 0:
            self.unwatched.append(f"{path}: {os.strerror(code)}")
            return
        self._watched += 1
        self._by_watch[number] = entry

    def _arm(self, file: _File) -> None:
        """Take the lease. Not ours, or open elsewhere: inotify alone until it can be had."""
        try:
            fcntl.fcntl(file.fd, fcntl.F_SETSIG, _SIGNAL)
            fcntl.fcntl(file.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            file.leased = False
            if error.errno == errno.EAGAIN and file not in self._waiting:
                self._waiting.append(file)
            return
        file.leased = True

    def rearm(self) -> bool:
        """Try again to take leases that could not be had. True: some are still waiting."""
        waiting, self._waiting = self._waiting, []
        now = time.monotonic_ns()
        for file in waiting:
            if file.asked and now - file.asked_ns < _ASKED_NS:
                self._waiting.append(file)
                continue
            file.asked.clear()  # it did not open the file
            self._arm(file)
        return bool(self._waiting)

    def let_by(self, path: str, proc: Proc, tid: int) -> None:
        """An open that does not wait is about to go on: a lease on its file would fail it (EAGAIN).

        Inotify tells whether it opened the file.
        """
        file = next((file for file in self._by_fd.values() if file.path == path), None)
        if file is None or len(file.asked) >= _MAX_ASKED:
            return
        file.asked.append((proc, tid))
        file.asked_ns = time.monotonic_ns()
        if file.leased:
            file.leased = False
            self._release(file)

    def on_signal(self) -> None:
        """A lease is being broken: find who waits, record it, let it go on."""
        while True:
            try:
                raw = os.read(self.signals, _SIGINFO * 16)
            except BlockingIOError:
                return
            for offset in range(0, len(raw), _SIGINFO):
                (fd,) = struct.unpack_from("=i", raw, offset + _SSI_FD)
                file = self._by_fd.get(fd)
                if file is not None and file.leased:
                    self._broken(file)

    def _broken(self, file: _File) -> None:
        openers = self._openers(file.path)
        try:
            for proc, tid in openers:
                self._settle(proc)
                self._opened(file, proc, tid)
            if not openers:
                self._opened(file, None, None)
        finally:
            file.leased = False
            if self._sink.decision == "go_on":
                self._release(file)
            # Otherwise the opener stays where it is: dead, or waiting in its open until the tree is thawed.

    def _opened(self, file: _File, proc: Proc | None, tid: int | None) -> None:
        file.expected += 1
        data = kinds.ReadData(path=file.path, role=file.role, how="lease", opener_unknown=proc is None)
        self._sink.emit(kinds.Read, data, proc=proc, tid=tid)

    def _release(self, file: _File) -> None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(file.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        self._waiting.append(file)

    def thaw(self) -> None:
        """Let go the openers that were held while the tree was frozen."""
        for file in self._by_fd.values():
            if not file.leased and file not in self._waiting:
                self._release(file)

    def _openers(self, path: str) -> list[tuple[Proc, int]]:
        found = []
        for proc in self._processes.all():
            try:
                threads = [int(name) for name in os.listdir(f"/proc/{proc.pid}/task")]
            except OSError:
                continue
            found += [(proc, tid) for tid in threads if self._opens(proc, tid, path)]
        return found

    def _opens(self, proc: Proc, tid: int, path: str) -> bool:
        """Whether a thread is waiting in an open of ``path`` (proc_pid_syscall(5))."""
        try:
            with open(f"/proc/{tid}/syscall", encoding="ascii") as file:
                words = file.read().split()
            shape = _OPENS.get(int(words[0]))
            if shape is None:
                return False
            args = [int(word, 16) for word in words[1:7]]
            directory = _AT_FDCWD if shape[0] is None else signed(args[shape[0]])
            raw = read_string(tid, args[shape[1]])
        except (OSError, ValueError, IndexError, Unreadable, Gone):
            return False
        return self._resolver.resolve(tid, proc.inside, directory, raw, follow=True).object == path

    def on_notice(self) -> None:
        """Inotify has events: record the opens that no lease named."""
        try:
            raw = os.read(self.notices, 65536)
        except BlockingIOError:
            return
        offset, seen = 0, dict[tuple[str, kinds.PathRole], int]()
        while offset < len(raw):
            number, mask, _, length = _EVENT.unpack_from(raw, offset)
            name = raw[offset + _EVENT.size : offset + _EVENT.size + length].split(b"\0", 1)[0]
            offset += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW:
                self._sink.emit(
                    kinds.Gap,
                    kinds.GapData(of="watch", what="inotify queue overflow: opens of watched files were lost"),
                )
                continue
            entry = self._by_watch.get(number)
            if entry is None or mask & _IN_ISDIR:
                continue
            self._noticed(entry, from_bytes(name), seen)
        for (path, role), count in seen.items():
            data = kinds.ReadData(path=path, role=role, how="inotify", opener_unknown=True, count=count)
            self._sink.emit(kinds.Read, data)

    def _noticed(self, entry: _File | _Folder, name: str, seen: dict[tuple[str, kinds.PathRole], int]) -> None:
        file = entry if isinstance(entry, _File) else entry.files.get(name)
        if file is not None and file.expected > 0:
            file.expected -= 1
            return
        if file is not None and file.asked:
            proc, tid = file.asked.pop(0)
            data = kinds.ReadData(path=file.path, role=file.role, how="inotify")
            self._sink.emit(kinds.Read, data, proc=proc, tid=tid)
            return
        path = entry.path if isinstance(entry, _File) else os.path.join(entry.path, name) if name else entry.path
        seen[path, entry.role] = seen.get((path, entry.role), 0) + 1
