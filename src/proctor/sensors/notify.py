"""The kernel's side of a seccomp listener: receive a notification, answer it (linux/seccomp.h)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import NamedTuple

__all__ = ["Call", "answer", "go_on", "install", "receive", "returns", "signed", "waits", "wake_in_place"]

_RECV, _SEND, _ID_VALID, _ADDFD, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104
_ADDFD_SETFD = 1
_SYNC_WAKE_UP = 1
_CONTINUE = 1
_NOTIFICATION = struct.Struct("<QIIiIQ6Q")
_RESPONSE = struct.Struct("<QqiI")
_ADD = struct.Struct("<QIIII")


class Call(NamedTuple):
    """One stopped call. ``tid`` is the caller's thread as the supervisor sees it; 0 if it cannot be seen."""

    listener: int
    id: int
    tid: int
    nr: int
    arch: int
    args: tuple[int, ...]


def signed(value: int) -> int:
    """The low 32 bits of a register as a signed int."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


_buffer = bytearray(_NOTIFICATION.size)
_zero = bytes(_NOTIFICATION.size)
_ioctl = fcntl.ioctl
_unpack = _NOTIFICATION.unpack


def receive(listener: int) -> Call | None:
    """Return the next stopped call, or None where it ended before it could be received."""
    _buffer[:] = _zero
    try:
        _ioctl(listener, _RECV, _buffer)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EINTR}:
            return None
        raise
    ident, tid, _, nr, arch, _, *args = _unpack(_buffer)
    return Call(listener, ident, tid, nr, arch, tuple(args))


def _send(listener: int, ident: int, number: int, flags: int) -> bool:
    try:
        _ioctl(listener, _SEND, _RESPONSE.pack(ident, 0, -number, flags))
    except OSError as error:
        if error.errno == errno.ENOENT:  # the caller was killed meanwhile
            return False
        raise
    return True


def go_on(listener: int, ident: int) -> bool:
    """Let the call run. False: its caller is gone."""
    return _send(listener, ident, 0, _CONTINUE)


def answer(listener: int, ident: int, number: int) -> bool:
    """Answer the call with an errno instead of running it. False: its caller is gone."""
    return _send(listener, ident, number, 0)


def returns(listener: int, ident: int, value: int) -> bool:
    """Answer the call with a value, as if it had run. False: its caller is gone."""
    try:
        _ioctl(listener, _SEND, _RESPONSE.pack(ident, value, 0, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def waits(listener: int, ident: int) -> bool:
    """Whether the call still waits for its answer. Where it does, what was opened of its caller before is its own."""
    try:
        _ioctl(listener, _ID_VALID, struct.pack("=Q", ident))
    except OSError:
        return False
    return True


def install(listener: int, ident: int, fd: int, *, at: int | None, cloexec: bool) -> int:
    """Give the caller a copy of ``fd`` (Linux 5.9), as a new descriptor or in the place of ``at``; return its number.

    Raises:
        OSError: ENOENT where the caller is gone, EMFILE where it may hold no more.
    """
    flags, number = (0, 0) if at is None else (_ADDFD_SETFD, at)
    request = bytearray(_ADD.pack(ident, flags, fd, number, os.O_CLOEXEC if cloexec else 0))
    return int(_ioctl(listener, _ADDFD, request))  # with a buffer that may change: the kernel's own return value


def wake_in_place(listener: int) -> bool:
    """Wake the caller on the supervisor's own core (Linux 6.6): about five times cheaper. False: not in this kernel."""
    try:
        _ioctl(listener, _SET_FLAGS, _SYNC_WAKE_UP)
    except OSError:
        return False
    return True
