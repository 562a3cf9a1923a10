"""Read a stopped caller's memory: strings, argument vectors, socket addresses (process_vm_readv(2)).

Everything read here was written by the caller, and another of its threads may change it after: events made of it are
``racy``. What cannot be read in full is never guessed: :class:`Unreadable` says why.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from proctor.events.text import from_bytes

__all__ = [
    "Address",
    "Arguments",
    "Gone",
    "Unreadable",
    "read",
    "read_address",
    "read_arguments",
    "read_string",
    "write",
]

_PAGE = 4096
PATH_MAX = 4096
MAX_ARGS = 64
MAX_ARG_TEXT = 4096
_ARG_STRLEN = 32 * _PAGE  # MAX_ARG_STRLEN, linux/binfmts.h
_ARG_TOTAL = 6 << 20  # three quarters of the largest stack (_STK_LIM, fs/exec.c): execve refuses more


class Unreadable(Exception):
    """Memory that cannot be read. ``errno`` is what the caller's call is answered with."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


class Gone(Exception):
    """The process ended before it could be looked at."""


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)
_readv = _libc.process_vm_readv
_readv.restype = ctypes.c_ssize_t
_SIZE = 1 << 16
_buffer = ctypes.create_string_buffer(_SIZE)
_address = ctypes.addressof(_buffer)
_local, _remote = _IoVec(_address, _SIZE), _IoVec(0, 0)
_local_ref, _remote_ref = ctypes.byref(_local), ctypes.byref(_remote)
_string_at = ctypes.string_at
_BATCH, _WORD = 64, 256
"""Arguments read by one call, and how much of each: most are shorter."""
_vectors = bytearray(16 * _BATCH)  # struct iovec {void *base; size_t length;}
_vectors_ref = (ctypes.c_char * len(_vectors)).from_buffer(_vectors)


def read(pid: int, address: int, size: int) -> bytes:
    """Return at most ``size`` (up to 65,536) bytes at ``address``; fewer where the mapping ends.

    Raises:
        Unreadable: EFAULT where nothing is mapped, EPERM where the process does not let itself be read.
        Gone: there is no such process any more.
    """
    _local.length = size
    _remote.base = address
    _remote.length = size
    got = _readv(pid, _local_ref, 1, _remote_ref, 1, 0)
    if got > 0:
        return _string_at(_address, got)
    number = ctypes.get_errno() if got < 0 else errno.EFAULT
    if number == errno.ESRCH:
        raise Gone(str(pid))
    raise Unreadable(errno.EFAULT if number in {errno.EFAULT, errno.EINVAL} else errno.EPERM)


def write(pid: int, parts: Iterable[tuple[int, bytes]], valid: Callable[[], bool]) -> None:
    """Write each of ``parts`` at its address.

    Args:
        valid: whether the caller still waits. Asked once its memory is open, so that it is nobody else's.

    Raises:
        Unreadable: EFAULT where nothing is mapped, or it may not be written.
    """
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        raise Unreadable(errno.EPERM) from None
    try:
        if valid():
            for address, data in parts:
                if data and os.pwrite(fd, data, address) < len(data):
                    raise Unreadable(errno.EFAULT)
    except (OSError, OverflowError):
        raise Unreadable(errno.EFAULT) from None
    finally:
        os.close(fd)


def _bytes_until_nul(pid: int, address: int, limit: int, too_long: int) -> bytes:
    out = b""
    while True:
        # Never across a page that may not be mapped: a string near the end of its mapping is still whole.
        room = _PAGE - (address & (_PAGE - 1))
        chunk = (
            read(pid, address, room if room >= 256 else room + _PAGE) if not out else read(pid, address, room)
        )  # saves a second read near a page's end
        end = chunk.find(b"\0")
        if end >= 0:
            out += chunk[:end]
            if len(out) >= limit:
                raise Unreadable(too_long)
            return out
        out += chunk
        address += len(chunk)
        if len(out) >= limit:
            raise Unreadable(too_long)


def _words(pid: int, pointers: list[int]) -> Iterator[bytes]:
    """The strings at ``pointers``, at most 64 of them. Raises as :func:`_bytes_until_nul`."""
    rooms = [min(_PAGE - (pointer & (_PAGE - 1)), _WORD) for pointer in pointers]
    struct.pack_into(
        f"={2 * len(pointers)}Q", _vectors, 0, *(part for pair in zip(pointers, rooms, strict=True) for part in pair)
    )
    _local.length = _SIZE
    got = _readv(pid, _local_ref, 1, _vectors_ref, len(pointers), 0)
    block = _string_at(_address, max(got, 0))
    start = 0
    for pointer, room in zip(pointers, rooms, strict=True):
        end = block.find(b"\0", start, start + room)
        # The kernel stops at the first that it cannot read; that one, and one that is longer, is read for itself.
        yield block[start:end] if end >= 0 else _bytes_until_nul(pid, pointer, _ARG_STRLEN, errno.E2BIG)
        start += room


def read_string(pid: int, address: int) -> bytes:
    """Return the path at ``address``.

    Raises:
        Unreadable: with ENAMETOOLONG at 4,096 bytes (PATH_MAX), as the kernel would answer.
    """
    return _bytes_until_nul(pid, address, PATH_MAX, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Arguments:
    """An argument vector: text of the first 64, each cut at 4,096 characters; how many; SHA-256 over all, hex."""

    shown: tuple[str, ...]
    count: int
    digest: str
    truncated: bool


def read_arguments(pid: int, address: int) -> Arguments:
    """Read argv whole, keep its beginning and a digest over every argument joined with NUL.

    Raises:
        Unreadable: E2BIG where it is larger than execve itself takes.
    """
    if address == 0:
        return Arguments((), 0, hashlib.sha256(b"").hexdigest(), truncated=False)
    words: list[bytes] = []
    total = 0
    ended = False
    while not ended:
        room = (_PAGE - (address & (_PAGE - 1))) & ~7 or 8
        block = read(pid, address, min(room, 8 * _BATCH))
        if len(block) < 8:  # one pointer
            raise Unreadable(errno.EFAULT)
        pointers = list(struct.unpack_from(f"={len(block) // 8}Q", block))
        if 0 in pointers:
            del pointers[pointers.index(0) :]
            ended = True
        for word in _words(pid, pointers):
            words.append(word)
            total += len(word) + 9
            if total > _ARG_TOTAL:
                raise Unreadable(errno.E2BIG)
        address += len(block) & ~7
    texts = [from_bytes(word) for word in words[:MAX_ARGS]]
    truncated = len(words) > MAX_ARGS or any(len(text) > MAX_ARG_TEXT for text in texts)
    shown = tuple(text[:MAX_ARG_TEXT] for text in texts)
    return Arguments(shown, len(words), hashlib.sha256(b"\0".join(words)).hexdigest(), truncated)


@dataclass(frozen=True, slots=True)
class Address:
    """A socket address. ``path`` is a unix socket's path as bytes; an abstract name starts with NUL."""

    family: str
    host: str | None = None
    port: int | None = None
    path: bytes | None = None


_MAX_SOCKADDR = 128  # sizeof(struct sockaddr_storage)


def read_address(pid: int, address: int, length: int) -> Address | None:
    """Return the socket address, or None for AF_UNSPEC (which dissolves an association).

    Raises:
        Unreadable: EINVAL for a length that the kernel would refuse.
    """
    if address == 0 or not 2 <= length <= _MAX_SOCKADDR:  # sa_family_t
        raise Unreadable(errno.EINVAL)
    raw = read(pid, address, length)
    if len(raw) < length:
        raise Unreadable(errno.EFAULT)
    return parse_address(raw)


def parse_address(raw: bytes) -> Address | None:
    """Parse a struct sockaddr (sys/socket.h, netinet/in.h, sys/un.h)."""
    (family,) = struct.unpack_from("=H", raw)
    if family == socket.AF_UNSPEC:
        return None
    if family == socket.AF_INET and len(raw) >= 8:  # struct sockaddr_in without its padding
        return Address("inet", socket.inet_ntoa(raw[4:8]), struct.unpack_from(">H", raw, 2)[0])
    if family == socket.AF_INET6 and len(raw) >= 24:  # struct sockaddr_in6 without its scope
        host = raw[8:24]
        if host.startswith(b"\0" * 10 + b"\xff\xff"):  # IPv4-mapped (RFC 4291, 2.5.5.2): the same destination
            return Address("inet", socket.inet_ntoa(host[12:]), struct.unpack_from(">H", raw, 2)[0])
        return Address("inet6", socket.inet_ntop(socket.AF_INET6, host), struct.unpack_from(">H", raw, 2)[0])
    if family == socket.AF_UNIX:
        path = raw[2:]
        return Address("unix", path=path if path.startswith(b"\0") else path.split(b"\0", 1)[0])
    if family == socket.AF_NETLINK:
        return Address("netlink")
    return Address(f"af{family}")
