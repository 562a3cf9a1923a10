"""How a process that is not one's own child ended (PIDFD_GET_INFO, linux/pidfd.h, Linux 6.15)."""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["exit_status"]

_GET_INFO = 0xC040FF0B  # _IOWR(PIDFS_IOCTL_MAGIC 0xFF, 11, struct pidfd_info), its first 64 bytes
_INFO_EXIT = 1 << 3


def exit_status(pidfd: int) -> tuple[int | None, int | None]:
    """Return (exit code, signal) of an ended process; both None where this kernel does not tell."""
    info = bytearray(struct.pack("=Q56x", _INFO_EXIT))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None, None
    (mask,) = struct.unpack_from("=Q", info)
    if not mask & _INFO_EXIT:
        return None, None
    (status,) = struct.unpack_from("=i", info, 60)
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (None, -code)
