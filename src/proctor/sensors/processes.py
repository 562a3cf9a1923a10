"""The sandbox's processes as the kernel sensor knows them: who started whom, and in which step.

A process is registered at its first recorded call, or when its parent ends or is signalled, whichever is first; so a
parent that forks and leaves at once does not break the line. Every process has a pidfd, which becomes readable when it
ends, also where no call of its own announced it.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, field

from proctor.errors import ProctorError
from proctor.events.text import from_bytes
from proctor.sensors.memory import Gone
from proctor.sensors.steps import NONE, Origin, Steps, origin_of

__all__ = [
    "Gone", "PendingExec", "Proc", "Processes", "Stat", "arg_start", "children", "cmdline", "cpu_ns", "executable",
    "read_stat",
]  # fmt: skip

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
MAX_ARGS = 64
_MAX_ENDED = 32_768
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class Stat:
    """From /proc/PID/stat (proc_pid_stat(5)): fields 3, 4, 14, 15, 20, 22, 24 and 48."""

    state: str
    ppid: int
    cpu_ns: int
    threads: int
    start_time: int
    rss_pages: int
    arg_start: int


def _gone(what: str, error: OSError) -> Gone:
    """What an error says of a process: that it has ended.

    Raises:
        ProctorError: it says that this process has no descriptor left to look with; it must not go on half blind.
    """
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        raise ProctorError(f"too many processes to watch: {error.strerror} (`ulimit -n` is too low)") from None
    return Gone(what)


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _gone(path, error) from error
    try:
        return os.read(fd, 65536)
    except OSError as error:
        raise Gone(path) from error
    finally:
        os.close(fd)


def read_stat(pid: int) -> Stat:
    """Read a process's state. Raises :class:`Gone`."""
    raw = _read(f"/proc/{pid}/stat")
    f = raw[raw.rindex(b")") + 2 :].split()
    return Stat(
        state=f[0].decode(), ppid=int(f[1]), cpu_ns=(int(f[11]) + int(f[12])) * _TICK_NS, threads=int(f[17]),
        start_time=int(f[19]), rss_pages=int(f[21]), arg_start=int(f[45]),
    )  # fmt: skip


def arg_start(pid: int) -> int:
    """Where a process's arguments are in its memory. Raises :class:`Gone`."""
    raw = _read(f"/proc/{pid}/stat")
    return int(raw[raw.rindex(b")") + 2 :].split(b" ", 46)[45])


def cpu_ns(pid: int) -> int | None:
    """CPU time of all threads of a process, in ns; None where it has ended.

    Its CPU clock (clock_getcpuclockid(3); the id as linux/posix-timers.h makes it), a twentieth of /proc/PID/stat.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return None


def executable(pid: int) -> str | None:
    """The executable as the kernel names it in the sandbox's view; None where it cannot be read."""
    try:
        return from_bytes(os.readlink(b"/proc/%d/exe" % pid))
    except OSError:
        return None


def cmdline(pid: int) -> bytes:
    """The arguments as the process shows them now, each ended by NUL; empty where they cannot be read."""
    try:
        return _read(f"/proc/{pid}/cmdline")
    except Gone:
        return b""


def split_cmdline(raw: bytes) -> tuple[str, ...]:
    """Arguments of :func:`cmdline` as text, at most 64."""
    return tuple(from_bytes(word) for word in raw.removesuffix(b"\0").split(b"\0")[:MAX_ARGS]) if raw else ()


def children(pid: int) -> list[int]:
    """Living children of all threads of a process."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
        except Gone:
            continue
    return found


@dataclass(slots=True)
class PendingExec:
    """An exec whose result is not known yet. ``tid``: the thread that asked. ``contested``: so did another, before."""

    seq: int
    image: str | None
    argv_digest: str
    arg_start: int
    argv: tuple[str, ...]
    tid: int
    contested: bool


@dataclass(slots=True)
class Proc:
    """One process. ``inside`` is its pid in the sandbox, read when first needed."""

    pid: int
    ppid: int
    start_time: int
    arg_start: int
    exe: str | None
    pidfd: int
    origin: Origin = NONE
    group: int | None = None
    root: bool = False
    shell: bool = False
    argv: tuple[str, ...] = ()
    inside_pid: int | None = None
    pending: PendingExec | None = None
    forks: list[tuple[str, ...]] = field(default_factory=list)
    forked: bool = False
    tids: set[int] = field(default_factory=set)
    cpu_ns: int = 0
    exited: bool = False
    thread_exits: bool = False

    @property
    def inside(self) -> int:
        """The process id inside the sandbox; 0 where it cannot be read."""
        if self.inside_pid is None:
            self.inside_pid = _inside(self.pidfd)
        return self.inside_pid


def _status_field(pid: int, name: bytes) -> bytes | None:
    for line in _read(f"/proc/{pid}/status").split(b"\n"):
        if line.startswith(name):
            return line
    return None


def _inside(pidfd: int) -> int:
    """The innermost id of a pidfd's process: NSpid of its fdinfo (proc_pid_fdinfo(5)), a fifth of /proc/PID/status."""
    try:
        raw = _read(f"/proc/self/fdinfo/{pidfd}")
    except Gone:
        return 0
    _, found, ids = raw.partition(b"NSpid:")
    return int(ids.split(b"\n", 1)[0].split()[-1]) if found and ids.strip() else 0


class Processes:
    """All processes alive in the sandbox that are known."""

    def __init__(self, steps: Steps, init: int) -> None:
        self._by_tid: dict[int, Proc] = {}
        self._ended: dict[
            int, int
        ] = {}  # pid to start, the last _MAX_ENDED: until its parent waits for it, it is found
        self._steps = steps
        self._init = init

    def __len__(self) -> int:
        return sum(1 for tid, proc in self._by_tid.items() if tid == proc.pid)

    @property
    def steps_open(self) -> tuple[str, ...]:
        """The steps open now."""
        return self._steps.open

    def count(self) -> int:
        """How many processes the kernel shows below the sandbox's first one, known or not."""
        queue, seen = [self._init], 0
        while queue:
            found = children(queue.pop())
            seen += len(found)
            queue += found
        return seen

    def all(self) -> list[Proc]:
        """Every known process."""
        return [proc for tid, proc in self._by_tid.items() if tid == proc.pid]

    def get(self, tid: int) -> Proc | None:
        """The process of a thread, if it is known already."""
        return self._by_tid.get(tid)

    def register(self, pid: int, *, parent: Proc | None, origin: Origin | None = None, root: bool = False) -> Proc:
        """Register a process.

        Args:
            pid: as the supervisor sees it.
            parent: the process that forked it, where that is known; otherwise the kernel's ppid decides.
            origin: set for a command that Proctor itself started in a step.
            root: a command that Proctor started.

        Raises:
            Gone: it has ended.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            raise _gone(str(pid), error) from error
        try:
            stat = read_stat(pid)
        except Gone:
            os.close(pidfd)
            raise
        if self._ended.get(pid) == stat.start_time:
            os.close(pidfd)
            raise Gone(str(pid))
        if parent is None and stat.ppid != self._init:
            parent = self._by_tid.get(stat.ppid)
        proc = Proc(
            pid=pid, ppid=parent.pid if parent is not None else stat.ppid, start_time=stat.start_time,
            arg_start=stat.arg_start, exe=executable(pid), pidfd=pidfd, root=root,
        )  # fmt: skip
        if parent is not None:
            proc.argv = parent.argv
            forked_among = parent.forks.pop(0) if parent.forks else self._steps.open
            proc.group = pid if parent.root else parent.group
            if parent.shell or (parent.origin.step is None and not parent.origin.candidates):
                proc.origin = origin_of(forked_among)
            else:
                proc.origin = Origin(
                    parent.origin.step,
                    "lineage" if parent.origin.attribution != "cgroup" else "cgroup",
                    parent.origin.candidates,
                )
        if origin is not None:
            proc.origin = origin
        proc.tids.add(pid)
        self._by_tid[pid] = proc
        return proc

    def thread(self, tid: int) -> Proc | None:
        """Find the known process that an unknown thread belongs to, and remember the thread.

        Returns None where the thread's process is not known either, or the thread leads one.

        Raises:
            Gone: it has ended.
        """
        line = _status_field(tid, b"Tgid:")
        proc = self._by_tid.get(int(line.split()[1])) if line is not None else None
        if proc is not None:
            proc.tids.add(tid)
            self._by_tid[tid] = proc
        return proc

    def leader(self, tid: int) -> int:
        """The process id that a thread belongs to. Raises :class:`Gone`."""
        try:
            os.close(os.pidfd_open(tid))
        except OSError as error:
            # ENOENT from Linux 6.15 on, EINVAL before: a thread, but not a process's first.
            if error.errno not in {errno.EINVAL, errno.ENOENT}:
                raise _gone(str(tid), error) from error
            line = _status_field(tid, b"Tgid:")
            if line is None:
                raise Gone(str(tid)) from error
            return int(line.split()[1])
        return tid

    def forget_thread(self, proc: Proc, tid: int) -> None:
        """A thread ended."""
        proc.tids.discard(tid)
        self._by_tid.pop(tid, None)

    def keep_only_leader(self, proc: Proc) -> None:
        """After an exec every other thread is gone, and its number may be given to a new process."""
        for tid in [tid for tid in proc.tids if tid != proc.pid]:
            self.forget_thread(proc, tid)

    def forget(self, proc: Proc) -> None:
        """A process ended: drop its threads and close its pidfd."""
        for tid in proc.tids:
            self._by_tid.pop(tid, None)
        self._ended[proc.pid] = proc.start_time
        if len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        if proc.pidfd >= 0:
            os.close(proc.pidfd)
            proc.pidfd = -1

    def by_inside(self, inside: int) -> Proc | None:
        """The known process with this id inside the sandbox."""
        return next((proc for proc in self.all() if proc.inside == inside), None)
