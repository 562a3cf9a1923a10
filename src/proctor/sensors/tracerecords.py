"""The records of the BPF programs (``bpf/sensor.bpf.c``), and the table that says which calls they tell of.

A record is a ``struct head`` of 120 bytes, little-endian as x86-64 is, followed by pieces whose sizes it holds.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from proctor.errors import RecordError
from proctor.sandbox import calls

__all__ = [
    "CALL", "CUT", "ENTERED", "EXEC", "EXIT", "FOREIGN", "FORK", "HEAD", "IDENTITY", "INTO", "MOVE", "NRS", "OUT_OF",
    "TICK_NS", "TYPES", "WRITING", "Record", "Shape", "decode", "path_of", "shapes",
]  # fmt: skip

FORK, EXEC, EXIT, CALL, MOVE = 1, 2, 3, 4, 5
TYPES, NRS = 8, 512
ENTERED, FOREIGN, CUT, INTO, OUT_OF = 1, 2, 4, 8, 16
HEAD = struct.Struct("<QQQq6QIIIIiHH8H")
TICK_NS = 10_000_000
"""One tick of field 22 of /proc/PID/stat: USER_HZ is 100 on x86-64 (asm-generic/param.h)."""
WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000
"""O_WRONLY|O_RDWR, O_CREAT, O_TRUNC, __O_TMPFILE (fcntl.h): what the sandbox's filter stops an open for."""
_ALWAYS, _WRITES, _WRITES_HOW, _NO_THREAD, _NOT_URGENT, _ADDRESSED = range(6)


class Record(NamedTuple):
    """One record.

    Attributes:
        time: CLOCK_MONOTONIC, ns.
        start: the process's start in clock ticks since boot, as field 22 of /proc/PID/stat.
        cgroup: id of the caller's cgroup.
        ret: CALL: what it returned. EXIT: the status as wait(2) has it.
        args: CALL: the registers at its entry. FORK: the child's pid and start (ticks). EXEC: argc.
        pid, tid, ppid: in the reader's PID namespace; 0 where the process is not in it.
        nr: number of a CALL.
        flags: ENTERED the call was made (else seccomp answered it, or it began before the sensor); FOREIGN it came
            by another architecture's entry; CUT a piece is not whole; INTO, OUT_OF of a FORK or MOVE: across the
            cgroup's border.
        pieces: EXEC: file name, arguments each ended by NUL, the executable's path, the working folder. CALL: path of
            what it opened or changed by descriptor, first path (or socket address), second path, the folders that the
            two are relative to. The kernel's own paths are names ended by NUL, leaf first: :func:`path_of`.
    """

    time: int
    start: int
    cgroup: int
    ret: int
    args: tuple[int, ...]
    pid: int
    tid: int
    ppid: int
    uid: int
    nr: int
    type: int
    flags: int
    pieces: tuple[bytes, ...]


def decode(raw: bytes | memoryview) -> Record:
    """Return the record of ``raw``.

    Raises:
        RecordError: it is none: the programs and this reader are not of one version.
    """
    if len(raw) < HEAD.size:
        raise RecordError(f"a BPF record of {len(raw)} bytes; {HEAD.size} is the least")
    fields = HEAD.unpack_from(raw)
    kind, sizes = fields[15], fields[17:22]
    if sum(sizes) > len(raw) - HEAD.size or not FORK <= kind <= MOVE:
        raise RecordError(f"a BPF record of type {kind} and {len(raw)} bytes, with pieces of {sizes}")
    pieces: tuple[bytes, ...] = ()
    if len(raw) > HEAD.size:
        at, found = HEAD.size, []
        for size in sizes:
            found.append(bytes(raw[at : at + size]))
            at += size
        pieces = tuple(found)
    args = fields[4:10]
    if kind == FORK:
        args = (args[0], args[1] // TICK_NS)
    return Record(
        time=fields[0], start=fields[1] // TICK_NS, cgroup=fields[2], ret=fields[3], args=args, pid=fields[10],
        tid=fields[11], ppid=fields[12], uid=fields[13], nr=fields[14], type=kind, flags=fields[16], pieces=pieces,
    )  # fmt: skip


def path_of(piece: bytes) -> bytes:
    """The absolute path of names ended by NUL, leaf first (``passwd``, ``etc``); empty where there is none."""
    return b"/" + b"/".join(reversed(piece.removesuffix(b"\0").split(b"\0"))) if piece else b""


class Shape(NamedTuple):
    """Where a call keeps what is told of it: ``struct shape``. Arguments by position; -1: it has none.

    ``when``: which calls are told (``flags``: the argument that decides). ``folder``: a descriptor that ``path`` is
    relative to. ``address``: a struct sockaddr, its length the next argument. ``descriptor``: of what it changes.
    ``opens``: it returns a descriptor. ``forks``: its child returns from it too.
    """

    path: int = -1
    folder: int = -1
    path2: int = -1
    folder2: int = -1
    when: int = _ALWAYS
    flags: int = 0
    address: int = -1
    descriptor: int = -1
    opens: bool = False
    forks: bool = False

    def encoded(self) -> bytes:
        """The value for the BPF map ``calls``."""
        length = self.address + 1 if self.address >= 0 else -1
        return struct.pack(
            "<BBBbbbbbbbBB", 1, self.when, self.flags, self.folder, self.path, self.folder2, self.path2, self.address,
            length, self.descriptor, self.opens, self.forks,
        )  # fmt: skip


_FILES: dict[str, Shape] = {
    "open": Shape(0, when=_WRITES, flags=1, opens=True), "openat": Shape(1, 0, when=_WRITES, flags=2, opens=True),
    "openat2": Shape(1, 0, when=_WRITES_HOW, opens=True), "creat": Shape(0, opens=True),
    **dict.fromkeys(("mkdir", "mknod", "unlink", "rmdir", "truncate", "chmod", "chown", "lchown"), Shape(0)),
    **dict.fromkeys(("mkdirat", "mknodat", "unlinkat", "fchmodat", "fchmodat2", "fchownat"), Shape(1, 0)),
    **dict.fromkeys(("link", "rename"), Shape(0, path2=1)),
    **dict.fromkeys(("linkat", "renameat", "renameat2"), Shape(1, 0, 3, 2)),
    "symlink": Shape(1, path2=0), "symlinkat": Shape(2, 1, 0),
    **dict.fromkeys(("ftruncate", "fchmod", "fchown"), Shape(descriptor=0)), "memfd_create": Shape(0),
}  # fmt: skip
_OTHERS: dict[str, Shape] = {
    "clone": Shape(when=_NO_THREAD, forks=True), "fork": Shape(forks=True), "vfork": Shape(forks=True),
    "execve": Shape(0), "execveat": Shape(1, 0),
    **dict.fromkeys(("connect", "bind"), Shape(address=1)), "listen": Shape(),
    **dict.fromkeys(("kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"), Shape()),
    "tgkill": Shape(when=_NOT_URGENT),
}  # fmt: skip
_ONLY_WATCHED: dict[str, Shape] = {"sendto": Shape(when=_ADDRESSED, address=4)}
IDENTITY = {
    "setuid": 105,
    "setgid": 106,
    "setreuid": 113,
    "setregid": 114,
    "setresuid": 117,
    "setresgid": 119,
    "capset": 126,
}
"""Calls that change who a process is (asm/unistd_64.h); in a sandbox there is nothing to gain by them."""


def shapes(*, watch: bool) -> dict[int, Shape]:
    """The calls that are told, by number: those of which the supervisor records each exactly once, and refused ones.

    ``watch``: and those that matter where nothing is refused.
    """
    found = {calls.NUMBERS[name]: shape for name, shape in (_FILES | _OTHERS).items()}
    found |= {number: Shape() for number, _ in calls.REFUSED.values()}
    if watch:
        found |= {calls.NUMBERS[name]: shape for name, shape in _ONLY_WATCHED.items()}
        found |= dict.fromkeys(IDENTITY.values(), Shape())
    return found
