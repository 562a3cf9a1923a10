"""How a process that is not one's own child ended.

Its pidfd tells once its parent has reaped it (PIDFD_GET_INFO, linux/pidfd.h, Linux 6.15); until then its entry in /proc
does (exit_code, proc_pid_stat(5)).
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["exit_status", "tells"]

_GET_INFO = 0xC040FF0B  # _IOWR(PIDFS_IOCTL_MAGIC 0xFF, 11, struct pidfd_info), its first 64 bytes
_INFO_EXIT = 1 << 3


def tells(pidfd: int) -> bool:
    """Whether this kernel knows the question at all (Linux 6.13; the end itself is told from 6.15 on)."""
    try:
        fcntl.ioctl(pidfd, _GET_INFO, bytearray(struct.pack("=Q56x", 0)))
    except OSError:
        return False
    return True


def exit_status(pidfd: int, pid: int) -> tuple[int | None, int | None]:
    """Return (exit code, signal) of an ended process; both None where this kernel does not tell."""
    status = _reaped(pidfd) or _waiting(pid) or _reaped(pidfd)  # it may be reaped at any moment
    if status is None:
        return None, None
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (None, -code)


def _waiting(pid: int) -> int | None:
    """Status of a process that nobody has reaped yet; None where it is not told (0 may stand for that)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[-1]) or None if fields[:1] == [b"Z"] else None


def _reaped(pidfd: int) -> int | None:
    info = bytearray(struct.pack("=Q56x", _INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", info)
    return int(struct.unpack_from("=i", info, 60)[0]) if mask & _INFO_EXIT else None
