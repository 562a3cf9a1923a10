"""Names asked for by DNS: each query is recorded, then answered from the policy; none goes any further."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from functools import partial
from typing import Literal

from proctor.events import kinds
from proctor.gateway.names import MAX_MESSAGE, answer
from proctor.sensors.processes import Proc, Processes
from proctor.session.flows import flow_owner
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder

__all__ = ["Lookups"]

_BATCH = 64
_MAX_STREAMS = 64


class Lookups:
    """The name server of one episode.

    Args:
        names: lower-case names to the address that each has inside the sandbox.
    """

    def __init__(self, recorder: Recorder, processes: Processes, loop: Loop, names: Mapping[str, str]) -> None:
        self._recorder = recorder
        self._processes = processes
        self._loop = loop
        self._names = names
        self._streams: dict[int, socket.socket] = {}

    def ask(
        self, message: bytes, server: str | None, proc: Proc | None, transport: Literal["udp", "tcp"] = "udp"
    ) -> bytes | None:
        """Record a query and return what to answer; None: nothing."""
        found = answer(message, self._names)
        asked = found.question if found is not None else None
        data = kinds.LookupData(
            name=asked.name if asked is not None else "", type=asked.type_name if asked is not None else "",
            transport=transport, server=server, answer=found.outcome if found is not None else "malformed",
            addresses=found.addresses if found is not None else (), bytes=len(message),
        )  # fmt: skip
        self._recorder.emit(kinds.Lookup, data, proc=proc)
        # A response to a finding refuses what was asked.
        return found.message if found is not None and self._recorder.decision == "go_on" else None

    # --- the sandbox's own network (tier B) ---------------------------------------------------------------------------

    def listen(self, datagrams: int, streams: int | None = None) -> None:
        """Serve the sandbox's sockets: one for datagrams, and one that listens."""
        server = socket.socket(fileno=datagrams)
        server.settimeout(0)
        self._loop.register(datagrams, lambda _: self._datagrams(server))
        if streams is not None:
            listener = socket.socket(fileno=streams)
            listener.settimeout(0)
            self._loop.register(streams, lambda _: self._accept(listener))

    def _datagrams(self, server: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                message, peer = server.recvfrom(MAX_MESSAGE)
            except OSError:
                return
            owner = flow_owner(self._processes, peer[1], ("udp", "udp6"))
            reply = self.ask(message, server.getsockname()[0], owner)
            if reply is not None:
                with contextlib.suppress(OSError):  # its queue is full: lost, as datagrams are
                    server.sendto(reply, peer)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return
        self.stream(connection, listener.getsockname()[0], flow_owner(self._processes, peer[1]))

    # --- over TCP -----------------------------------------------------------------------------------------------------

    def stream(self, connection: socket.socket, server: str | None, proc: Proc | None) -> None:
        """Serve one connection; above 64 the oldest goes."""
        while len(self._streams) >= _MAX_STREAMS:
            self._end(next(iter(self._streams)))
        connection.settimeout(0)
        number = connection.fileno()
        self._streams[number] = connection
        self._loop.register(number, partial(self._readable, number, bytearray(), server, proc))

    def _readable(self, number: int, held: bytearray, server: str | None, proc: Proc | None, _: int) -> None:
        connection = self._streams[number]
        try:
            data = connection.recv(MAX_MESSAGE)
            held += data
            while len(held) >= 2 and len(held) >= 2 + (size := int.from_bytes(held[:2], "big")):
                message = bytes(held[2 : 2 + size])
                del held[: 2 + size]
                reply = self.ask(message, server, proc, "tcp")
                if reply is not None:
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)
        except OSError:  # gone, or it does not read what it asked for
            data = b""
        if not data:
            self._end(number)

    def _end(self, number: int) -> None:
        self._loop.unregister(number)
        self._streams.pop(number).close()
