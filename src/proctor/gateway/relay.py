"""Relay between the sandbox's listeners and the destinations that the policy allows.

Two ways in. An address of the host's loopback that the policy allows is listened to at the same address inside, a name
at an address that stands for it there (:mod:`proctor.gateway.names` tells it), and both are connected straight through.
Everything that the policy allows can be asked for with HTTP CONNECT (RFC 9110, 9.3.6) at 127.0.0.1:3128. No byte passes
before the supervisor has recorded the connection, and without the supervisor none passes at all: its channel's end is
the gateway's end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Sequence
from typing import NoReturn

from proctor.gateway.addresses import PROXY, inside_names
from proctor.policy.records import Endpoint
from proctor.sandbox import linux
from proctor.sandbox.channel import receive, send

__all__ = ["serve"]

_HEAD_LIMIT = 8192
_CONNECT_SECONDS = 10.0
_CHUNK = 1 << 16


class _Gateway:
    def __init__(self, channel: socket.socket, allow: Sequence[Endpoint]) -> None:
        self._channel = channel
        self._allow = {(endpoint.host, endpoint.port) for endpoint in allow}
        self._named = {address: host for host, address in inside_names(allow).items()}
        self._lock = threading.Lock()
        self._flows = 0

    def _number(self) -> int:
        with self._lock:
            self._flows += 1
            return self._flows

    def _tell(self, **message: object) -> bool:
        """Have one fact recorded; returns once it is. One at a time: answers come in the order of questions.

        False: a response to a finding refuses what was told.
        """
        with self._lock:
            send(self._channel, dict(message))
            answer, _, _ = receive(self._channel)
        if answer is None:
            os._exit(0)
        return bool(answer["op"] == "recorded")

    def accept(self, listener: socket.socket, address: tuple[str, int]) -> NoReturn:
        """Take connections of one listener, a thread each."""
        while True:
            client, peer = listener.accept()
            handler = self._proxied if address == PROXY else self._direct
            threading.Thread(target=handler, args=(client, peer[1], address), daemon=True).start()

    def _direct(self, client: socket.socket, peer: int, address: tuple[str, int]) -> None:
        with client:
            self._connect(client, peer, self._named.get(address[0], address[0]), address[1], b"", b"")

    def _proxied(self, client: socket.socket, peer: int, address: tuple[str, int]) -> None:
        from h11 import (  # 60 ms, only where a proxy is used
            SERVER,
            Connection,
            LocalProtocolError,
            RemoteProtocolError,
            Request,
        )

        with client:
            client.settimeout(_CONNECT_SECONDS)
            parser = Connection(SERVER, max_incomplete_event_size=_HEAD_LIMIT)
            try:
                while not isinstance(event := parser.next_event(), Request):
                    data = client.recv(4096)
                    if not data:
                        return
                    parser.receive_data(data)
                rest = parser.trailing_data[0]
            except (RemoteProtocolError, LocalProtocolError, OSError) as error:
                self._tell(
                    phase="refused",
                    flow=self._number(),
                    peer=peer,
                    asked="?",
                    reason=f"no HTTP request: {type(error).__name__}",
                )
                _answer(client, 400)
                return
            asked = event.target.decode("ascii", "replace")
            host, port = _authority(asked)
            if event.method != b"CONNECT" or host is None or port is None:
                self._tell(
                    phase="refused",
                    flow=self._number(),
                    peer=peer,
                    asked=asked[:300],
                    reason="only CONNECT host:port is served",
                )
                _answer(client, 405 if event.method != b"CONNECT" else 400)
                return
            self._connect(client, peer, host, port, b"HTTP/1.1 200 Connection established\r\n\r\n", bytes(rest))

    def _connect(self, client: socket.socket, peer: int, host: str, port: int, greeting: bytes, early: bytes) -> None:
        flow, asked = self._number(), f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        known = {host, "localhost"} if host == "127.0.0.1" else {host}
        if not any((name, port) in self._allow for name in known):
            self._tell(phase="refused", flow=flow, peer=peer, asked=asked, reason="not in [network] allow")
            if greeting:
                _answer(client, 403)
            return
        try:
            server = socket.create_connection((host, port), _CONNECT_SECONDS)
        except OSError as error:
            self._tell(phase="failed", flow=flow, peer=peer, asked=asked, reason=str(error)[:200])
            if greeting:
                _answer(client, 502)
            return
        with server:
            address, number = server.getpeername()[:2]
            if not self._tell(phase="open", flow=flow, peer=peer, asked=asked, address=address, port=number):
                self._tell(phase="refused", flow=flow, peer=peer, asked=asked, reason="a response to a finding")
                return
            client.settimeout(None)
            server.settimeout(None)
            sent = received = 0
            with contextlib.suppress(OSError):
                client.sendall(greeting)
                server.sendall(early)
                sent, received = _both_ways(client, server)
            self._tell(
                phase="close",
                flow=flow,
                peer=peer,
                asked=asked,
                address=address,
                port=number,
                sent=sent + len(early),
                received=received,
            )


def _authority(target: str) -> tuple[str | None, int | None]:
    """Split host:port (RFC 9112, 3.2.3); (None, None) where it is not that."""
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536 or "@" in host:  # a port's range
        return None, None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return (host.lower().rstrip(".") or None), int(port)


def _answer(client: socket.socket, status: int) -> None:
    text = {400: "Bad Request", 403: "Forbidden", 405: "Method Not Allowed", 502: "Bad Gateway"}[status]
    with contextlib.suppress(OSError):
        client.sendall(f"HTTP/1.1 {status} {text}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def _pump(source: socket.socket, sink: socket.socket, count: list[int]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
            count[0] += len(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _both_ways(client: socket.socket, server: socket.socket) -> tuple[int, int]:
    """Pass bytes until both sides have ended; return how many went out and came in."""
    out, back = [0], [0]
    thread = threading.Thread(target=_pump, args=(client, server, out), daemon=True)
    thread.start()
    _pump(server, client, back)
    thread.join()
    return out[0], back[0]


def serve(
    channel: socket.socket, listeners: Sequence[tuple[socket.socket, tuple[str, int]]], allow: Sequence[Endpoint]
) -> NoReturn:
    """Be the gateway, in a process of its own. Ends with its channel, and with the supervisor."""
    linux.set_parent_death_signal(signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    linux.set_name("proctor-gateway")
    linux.drop_capabilities()  # what comes from inside is parsed here
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    low = 3
    for keep in sorted((channel.fileno(), *(listener.fileno() for listener, _ in listeners))):
        os.closerange(low, keep)  # the journal's and the collector's among them: bytes from the network are read here
        low = keep + 1
    linux.close_from(low)
    gateway = _Gateway(channel, allow)
    threads = [threading.Thread(target=gateway.accept, args=pair, daemon=True) for pair in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(1)
