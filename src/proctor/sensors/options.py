"""What a caller had set on a socket that another takes the place of (tier C)."""

from __future__ import annotations

import contextlib
import os
import socket
from itertools import islice

from proctor.sensors.memory import read
from proctor.sensors.notify import Call

__all__ = ["Options", "watched_by_epoll"]

_SOL_IP, _SOL_IPV6 = 0, 41
_CARRIED = {
    # Plain values only: none holds a pointer, none gives more than a socket of the caller's own (asm-generic/socket.h,
    # linux/tcp.h, linux/in.h, linux/in6.h).
    **{(socket.SOL_SOCKET, option): name for name, option in {
        "SO_REUSEADDR": 2, "SO_SNDBUF": 7, "SO_RCVBUF": 8, "SO_KEEPALIVE": 9, "SO_OOBINLINE": 10, "SO_PRIORITY": 12,
        "SO_LINGER": 13, "SO_REUSEPORT": 15, "SO_PASSCRED": 16, "SO_RCVLOWAT": 18, "SO_RCVTIMEO": 20, "SO_SNDTIMEO": 21,
        "SO_TIMESTAMP": 29, "SO_TIMESTAMPNS": 35, "SO_RCVTIMEO_NEW": 66, "SO_SNDTIMEO_NEW": 67,
    }.items()},
    **{(socket.IPPROTO_TCP, option): name for name, option in {
        "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_CORK": 3, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6,
        "TCP_SYNCNT": 7, "TCP_LINGER2": 8, "TCP_DEFER_ACCEPT": 9, "TCP_WINDOW_CLAMP": 10, "TCP_QUICKACK": 12,
        "TCP_CONGESTION": 13, "TCP_USER_TIMEOUT": 18, "TCP_FASTOPEN": 23, "TCP_NOTSENT_LOWAT": 25,
    }.items()},
    **{(_SOL_IP, option): name for name, option in {
        "IP_TOS": 1, "IP_TTL": 2, "IP_RECVERR": 11, "IP_BIND_ADDRESS_NO_PORT": 24,
    }.items()},
    **{(_SOL_IPV6, option): name for name, option in {
        "IPV6_UNICAST_HOPS": 16, "IPV6_RECVERR": 25, "IPV6_V6ONLY": 26, "IPV6_TCLASS": 67,
    }.items()},
}  # fmt: skip
_VALUE = 64
_SOCKETS, _EACH = 4096, 64
_LOOKED_AT = 1024


class Options:
    """Knows what was set on sockets, by inode: the latest 4,096 of them."""

    def __init__(self) -> None:
        self._set: dict[str, dict[tuple[int, int], bytes]] = {}

    def asked(self, call: Call, inode: str) -> None:
        """Take note of a setsockopt(2) that goes on."""
        known = self._set.pop(inode, {})
        self._set[inode] = known
        key = call.args[1] & 0xFFFFFFFF, call.args[2] & 0xFFFFFFFF
        size = call.args[4] & 0xFFFFFFFF
        known.pop(key, None)
        known[key] = read(call.tid, call.args[3], size) if 0 < size <= _VALUE and key in _CARRIED else b""
        if len(known) > _EACH:
            del known[next(iter(known))]
        if len(self._set) > _SOCKETS:
            del self._set[next(iter(self._set))]

    def lost(self, inode: str) -> tuple[str, ...]:
        """What cannot be set again, as ``level:option`` in numbers."""
        return tuple(
            f"{level}:{option}" for level, option in self._set.get(inode, {}) if (level, option) not in _CARRIED
        )

    def carry(self, inode: str, ours: socket.socket) -> None:
        """Set again what can be; what the kernel refuses it refused before, or ``ours`` is of a kind without it."""
        known = self._set.pop(inode, {})
        self._set[str(os.fstat(ours.fileno()).st_ino)] = known
        for (level, option), value in known.items():
            if value:
                with contextlib.suppress(OSError):
                    ours.setsockopt(level, option, value)


def watched_by_epoll(tid: int, inode: str) -> bool:
    """Whether an epoll set of the caller holds a socket (proc_pid_fdinfo(5)); of its first 1,024 descriptors."""
    wanted = f"ino:{int(inode):x} "
    try:
        with os.scandir(f"/proc/{tid}/fd") as entries:
            for entry in islice(entries, _LOOKED_AT):
                if os.readlink(entry.path) == "anon_inode:[eventpoll]":
                    with open(f"/proc/{tid}/fdinfo/{entry.name}", encoding="ascii") as file:
                        if any(wanted in line for line in file):
                            return True
    except OSError:
        return False
    return False
