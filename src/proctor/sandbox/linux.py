"""The few kernel calls that the standard library does not wrap.

Numbers and layouts are those of the kernel's uapi headers (linux/seccomp.h, linux/landlock.h, linux/openat2.h,
linux/mount.h, linux/capability.h, asm/unistd_64.h) for x86-64, the one architecture supported so far.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "MNT_DETACH",
    "MOUNT_ATTR_NODEV",
    "MOUNT_ATTR_NOEXEC",
    "MOUNT_ATTR_NOSUID",
    "MOUNT_ATTR_RDONLY",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_RDONLY",
    "MS_REC",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "capabilities",
    "close_from",
    "drop_capabilities",
    "fork_into_cgroup",
    "landlock_abi",
    "landlock_add",
    "landlock_create",
    "landlock_restrict",
    "mount",
    "mount_setattr",
    "openat2",
    "pivot_root",
    "renameat2",
    "rest_capabilities",
    "seccomp_listener",
    "set_child_subreaper",
    "set_dumpable",
    "set_name",
    "set_no_new_privs",
    "set_parent_death_signal",
    "signal_thread",
    "supported_machine",
    "umount",
    "unshare",
    "utimensat",
]

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10

_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_DROP = 1, 4, 15, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 36, 38, 47
_SYS_CAPGET = 125
_SYS_PIVOT_ROOT, _SYS_CAPSET, _SYS_SECCOMP, _SYS_RENAMEAT2, _SYS_UTIMENSAT = 155, 126, 317, 316, 280
_SYS_OPENAT2, _SYS_MOUNT_SETATTR, _SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = (
    437,
    442,
    444,
    445,
    446,
)
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAP = 63
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER, _SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1, 8, 32

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def supported_machine() -> bool:
    """Whether this module's numbers fit this machine."""
    return platform.machine() == "x86_64"


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Paths are file system encoded."""
    encoded = [None if part is None else os.fsencode(part) for part in (source, target, fstype, data)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def mount_setattr(target: str, set_attributes: int, *, recursive: bool) -> None:
    """mount_setattr(2), Linux 5.12: adds attributes to a mount, and with ``recursive`` to those below it."""
    attr = struct.pack("QQQQ", set_attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    _check(
        _syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, attr, ctypes.c_size_t(len(attr))),
        f"mount_setattr {target}",
    )


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _check(_syscall(_SYS_PIVOT_ROOT, os.fsencode(new), os.fsencode(old)), f"pivot_root {new}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """openat2(2), Linux 5.6: returns a descriptor, or minus errno. Does not raise: it is on the sensor's hot path."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    result = _syscall(_SYS_OPENAT2, directory, path, how, ctypes.c_size_t(24))
    return int(result) if result >= 0 else -ctypes.get_errno()


def renameat2(old_folder: int, old: bytes, new_folder: int, new: bytes, flags: int) -> None:
    """renameat2(2). Names are relative to the descriptors."""
    _check(int(_syscall(_SYS_RENAMEAT2, old_folder, old, new_folder, new, flags)), "rename")


def utimensat(path: bytes, times: bytes | None) -> None:
    """utimensat(2). ``times``: two struct timespec, or None for now."""
    _check(int(_syscall(_SYS_UTIMENSAT, _AT_FDCWD, path, times, 0)), "utimensat")


def set_no_new_privs() -> None:
    """Gains through set-user-id files end here, for this thread and all it starts."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def set_parent_death_signal(signo: int) -> None:
    """The kernel sends ``signo`` when the parent's thread ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signo, 0, 0, 0), "pdeathsig")


def set_child_subreaper() -> None:
    """Orphans among this process's descendants become its children (Linux 3.4)."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "child_subreaper")


def set_dumpable(*, on: bool) -> None:
    """Whether other processes of this user may inspect this one."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, int(on), 0, 0, 0), "dumpable")


def set_name(name: str) -> None:
    """The name that ps shows, at most 15 bytes."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability, for good."""
    for capability in range(_LAST_CAP + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the last one this kernel knows
    _libc.prctl(_PR_CAP_AMBIENT, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _check(_syscall(_SYS_CAPSET, header, struct.pack("6I", 0, 0, 0, 0, 0, 0)), "capset")


def rest_capabilities() -> None:
    """Act without any capability, until :func:`capabilities` takes up those that are permitted."""
    _set_effective(on=False)


@contextmanager
def capabilities() -> Iterator[None]:
    """Act with every permitted capability inside the block, and without any after it."""
    _set_effective(on=True)
    try:
        yield
    finally:
        _set_effective(on=False)


def _set_effective(*, on: bool) -> None:
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    now = ctypes.create_string_buffer(24)  # two struct __user_cap_data_struct {effective, permitted, inheritable}
    _check(_syscall(_SYS_CAPGET, header, now), "capget")
    _, low, _, _, high, _ = struct.unpack("6I", now.raw)
    wanted = struct.pack("6I", low if on else 0, low, 0, high if on else 0, high, 0)
    _check(_syscall(_SYS_CAPSET, header, wanted), "capset")


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 where it has none."""
    return max(0, int(_syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def landlock_create(access_fs: int, access_net: int = 0, scoped: int = 0) -> int:
    """Return the descriptor of a rule set that handles ``access_fs``.

    ``access_net`` needs Landlock's version 4, ``scoped`` its version 6; 0 leaves them out.
    """
    attr = struct.pack("QQQ", access_fs, access_net, scoped)[: 24 if scoped else 16 if access_net else 8]
    return _check(int(_syscall(_SYS_LANDLOCK_CREATE, attr, ctypes.c_size_t(len(attr)), 0)), "landlock_create_ruleset")


def landlock_add(ruleset: int, path: str, access_fs: int) -> None:
    """Allow ``access_fs`` at and below ``path``."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _check(
            int(_syscall(_SYS_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", access_fs, fd), 0)), f"landlock_add {path}"
        )
    finally:
        os.close(fd)


def landlock_restrict(ruleset: int) -> None:
    """Bind this thread, and all it starts, to the rule set. Needs no_new_privs."""
    _check(int(_syscall(_SYS_LANDLOCK_RESTRICT, ruleset, 0)), "landlock_restrict_self")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def seccomp_listener(program: bytes, *, killable: bool) -> int:
    """Install a filter for this thread and return the descriptor of its notifications.

    ``program``: instructions of 8 bytes each. ``killable``: once a notification was received, only a fatal signal
    interrupts its call (Linux 5.19), so that a signal does not duplicate the event.

    Raises:
        OSError: EBUSY where a process above has a listener.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    descriptor = _Program(len(program) // 8, ctypes.addressof(buffer))
    flags = _SECCOMP_FILTER_FLAG_NEW_LISTENER | (_SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV if killable else 0)
    result = int(_syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(descriptor)))
    if result < 0 and ctypes.get_errno() == errno.EBUSY:
        raise OSError(
            errno.EBUSY,
            "a seccomp listener above this process takes its calls already (a container runtime's, or another"
            " Proctor's), and the kernel allows one",
        )
    return _check(result, "seccomp")


class _CloneArgs(ctypes.Structure):
    """struct clone_args, linux/sched.h, up to ``cgroup`` (Linux 5.7)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls", "set_tid",
            "set_tid_size", "cgroup",
        )
    )  # fmt: skip


_CLONE_INTO_CGROUP = 0x200000000
_SYS_CLONE3 = 435
_SYS_TGKILL = 234
_SIGCHLD = 17


def fork_into_cgroup(folder: int) -> int:
    """As os.fork, but the child starts in the cgroup whose folder is open as ``folder``, which is then closed.

    Moving a process later makes the kernel wait for every processor (10 ms measured); a child born there costs nothing.
    The interpreter is told as os.fork tells it. The caller must have one thread only.
    """
    api = ctypes.pythonapi  # holds the interpreter's lock throughout
    arguments = _CloneArgs(flags=_CLONE_INTO_CGROUP, exit_signal=_SIGCHLD, cgroup=folder)
    api.PyOS_BeforeFork()
    pid = int(
        api.syscall(ctypes.c_long(_SYS_CLONE3), ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments)))
    )
    if pid == 0:
        api.PyOS_AfterFork_Child()
    else:
        api.PyOS_AfterFork_Parent()
    os.close(folder)
    if pid < 0:
        return os.fork()
    return pid


def signal_thread(pid: int, tid: int, signo: int) -> None:
    """tgkill(2): signal one thread; one that has ended is no error."""
    _syscall(_SYS_TGKILL, pid, tid, signo)


def close_from(first: int) -> None:
    """Close every descriptor from ``first`` on."""
    os.closerange(first, 1 << 20) if not hasattr(_libc, "close_range") else _libc.close_range(first, 0xFFFFFFFF, 0)


def loopback_up() -> None:
    """Bring up ``lo`` of this network namespace (SIOCSIFFLAGS with IFF_UP and IFF_RUNNING)."""
    import socket  # only the sandbox's own first process needs it

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", b"lo", 0x1 | 0x40))
