"""Messages between Proctor's own processes: JSON, one a packet, with descriptors beside them."""

from __future__ import annotations

import array
import json
import os
import socket
import sys
from typing import Any

__all__ = ["pair", "receive", "send"]

_PACKET = 1 << 20
_MAX_FDS = 128
_INLINE = 1 << 16
"""Bytes that a packet takes for certain: a socket's buffer is no smaller than net.core.wmem_default makes it."""
_IN_FILE = b"f"


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends. The first learns the sender's pid with every message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PACKET)
    return ours, theirs


def send(channel: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send one message with descriptors. One that no packet may be sure to hold goes in a file in memory."""
    data = json.dumps(message).encode()
    carrier = -1
    if len(data) > _INLINE:
        carrier = os.memfd_create("message", os.MFD_CLOEXEC)
        with open(carrier, "wb", closefd=False) as file:
            file.write(data)
        data, fds = _IN_FILE, (carrier, *fds)
    try:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        channel.sendmsg([data], ancillary)
    finally:
        if carrier >= 0:
            os.close(carrier)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int], int | None]:
    """Receive one message: (message, descriptors, sender's pid). Message None: the other side is gone."""
    space = socket.CMSG_SPACE(_MAX_FDS * 4) + socket.CMSG_SPACE(12)
    try:
        data, ancillary, _, _ = channel.recvmsg(_PACKET, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # The other side left without reading our last words. Said once; its own last words come after it.
        try:
            data, ancillary, _, _ = channel.recvmsg(_PACKET, space, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None, [], None
    fds = array.array("i")
    pid = None
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid = int.from_bytes(payload[:4], sys.byteorder)
    if data == _IN_FILE:
        with open(fds.pop(0), "rb") as file:
            file.seek(0)
            data = file.read()
    return (json.loads(data) if data else None), list(fds), pid
