"""Stand-ins for UDP sockets (tier C), where no network namespace keeps datagrams from the machine's network.

A UDP socket of one's own may send each datagram elsewhere, behind any check. So socket(2) gives the caller one end of a
pair of unix sockets (SOCK_SEQPACKET: it reaches its other end and nothing else), and calls that would show the
difference are done here: addresses that are set, sent to and received from are those of the internet that the caller
means. At the other end names are asked for (port 53); nothing else is there. It speaks TCP as well, for connections
to port 53.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from proctor.sensors import notify
from proctor.sensors.memory import Address, read, write
from proctor.sensors.notify import Call
from proctor.sensors.processes import Proc, Processes
from proctor.sensors.reply import Act, Reply, refusing, returning

__all__ = ["PORT", "Datagrams", "StandIn", "inode"]

PORT = 53
Ask = Callable[[bytes, str | None, Proc | None], bytes | None]
Register = Callable[[int, Callable[[int], None]], None]
Stream = Callable[[socket.socket, str | None, Proc | None], None]
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_MAX = 1024
_SWEEP = 64
_BATCH = 64
_LONGEST = 65507  # what an IPv4 datagram holds
_IOV_MAX = 1024
_ERRQUEUE, _TRUNC = 0x2000, 0x20
_HEADER = struct.Struct("=QI4xQQQQI4x")
"""struct msghdr: name, its length, iovec, their number, control, its length, flags (sys/socket.h)."""
_MESSAGE = 64  # sizeof(struct mmsghdr): a msghdr, and at 56 the length of its message


@dataclass(slots=True)
class StandIn:
    """One: ``ours`` is the supervisor's end, ``theirs`` a copy of the caller's; ``family`` the one asked for."""

    family: int
    ours: socket.socket
    theirs: socket.socket
    inode: str
    peer: Address | None = None
    port: int = 0
    sources: dict[bytes, Address] = field(default_factory=dict)

    def close(self) -> None:
        """Close both."""
        self.ours.close()
        self.theirs.close()


class Datagrams:
    """Knows every stand-in."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._all: dict[str, StandIn] = {}
        self._streams: dict[str, tuple[int, Address]] = {}
        self._sweep_at = _SWEEP
        self._ask: Ask = lambda _message, _server, _proc: None
        self._stream: Stream = lambda connection, _server, _proc: connection.close()
        self._register: Register = lambda _fd, _action: None
        self._unregister: Callable[[int], None] = lambda _fd: None

    def served(self, ask: Ask, stream: Stream, register: Register, unregister: Callable[[int], None]) -> None:
        """Connect the other ends.

        Args:
            ask: has a query recorded, and returns its answer. Takes the message, the server meant, its sender.
            stream: serves the supervisor's end of a connection to port 53.
            register: has a function called when a descriptor is readable. ``unregister``: no more.
        """
        self._ask, self._stream, self._register, self._unregister = ask, stream, register, unregister

    def of(self, tid: int, fd: int) -> StandIn | None:
        """The stand-in that a descriptor of the caller is."""
        return self._all.get(inode(tid, fd) or "") if self._all else None

    # --- made, bound, connected ---------------------------------------------------------------------------------------

    def make(self, family: int, kind: int, protocol: int) -> Act | None:
        """Give the caller one, where socket(2) was asked for UDP."""
        if (
            family not in {socket.AF_INET, socket.AF_INET6}
            or kind & 0xF != socket.SOCK_DGRAM
            or protocol not in {0, socket.IPPROTO_UDP}
        ):
            return None

        def act() -> Reply | None:
            if len(self._all) >= self._sweep_at:
                self._sweep()
            if len(self._all) >= _MAX:
                raise OSError(errno.ENFILE, "")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            ours.settimeout(0)
            theirs.setblocking(not kind & socket.SOCK_NONBLOCK)
            one = StandIn(family, ours, theirs, str(os.fstat(theirs.fileno()).st_ino))
            self._all[one.inode] = one
            self._register(ours.fileno(), lambda _: self._pump(one))
            return Reply(fd=os.dup(theirs.fileno()), cloexec=bool(kind & socket.SOCK_CLOEXEC))

        return act

    def _sweep(self) -> None:
        """Close those that no process of the episode holds any more."""
        held = set()
        for proc in self._processes.all():
            with contextlib.suppress(OSError), os.scandir(f"/proc/{proc.pid}/fd") as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        held.add(os.readlink(entry.path))
        for number in [number for number in self._all if f"socket:[{number}]" not in held]:
            one = self._all.pop(number)
            self._unregister(one.ours.fileno())
            one.close()
        self._sweep_at = min(_MAX, max(_SWEEP, 2 * len(self._all)))

    def close(self) -> None:
        """Close all."""
        for one in self._all.values():
            self._unregister(one.ours.fileno())
            one.close()
        self._all.clear()

    def connect(self, one: StandIn, address: Address | None) -> Act:
        """Connect one to a name server; None dissolves that."""

        def act() -> Reply | None:
            if address is None or address.port == PORT:
                one.peer = address
                return Reply()
            raise OSError(errno.ECONNREFUSED if _is_local(address) else errno.ENETUNREACH, "")

        return act

    def bind(self, one: StandIn, address: Address) -> Act:
        """Bind one to a port that the kernel is to choose, which names nothing here; others are not to be had."""

        def act() -> Reply | None:
            if address.port:
                raise OSError(errno.EACCES, "")
            one.port = one.port or 32768 + int(one.inode) % 28232  # as from net.ipv4.ip_local_port_range's default
            return Reply()

        return act

    def connection(self, family: int, proc: Proc, address: Address) -> socket.socket:
        """Return the caller's end of a connection to a name server over TCP."""
        ours, theirs = socket.socketpair()
        if len(self._streams) >= _MAX:
            self._streams.clear()  # forgotten: such a connection shows what it is, a unix socket
        self._streams[str(os.fstat(theirs.fileno()).st_ino)] = family, address
        self._stream(ours, address.host, proc)
        return theirs

    # --- sent ---------------------------------------------------------------------------------------------------------

    def _pump(self, one: StandIn) -> None:
        """Take what the caller sent without naming a destination: to its peer."""
        for _ in range(_BATCH):
            try:
                data, ancillary, _, _ = one.ours.recvmsg(_LONGEST, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return
            except OSError:
                self._unregister(one.ours.fileno())
                return
            pid = next((struct.unpack("=i", payload[:4])[0] for *_, payload in ancillary if len(payload) >= 4), 0)
            if one.peer is not None:
                self._asked(one, data, one.peer, self._processes.get(pid))

    def _asked(self, one: StandIn, data: bytes, server: Address, proc: Proc | None) -> None:
        answer = self._ask(data, server.host, proc)
        if answer is None:
            return
        while len(one.sources) >= _BATCH:
            one.sources.pop(next(iter(one.sources)))
        one.sources[answer[:2]] = server
        with contextlib.suppress(OSError):  # its queue is full: lost, as datagrams are
            one.ours.send(answer, socket.MSG_DONTWAIT)

    def sendto(self, call: Call, one: StandIn, proc: Proc, address: Address) -> Act:
        """Send one datagram. The query is recorded now, the call answered by the act."""
        size = call.args[2]
        if size > _LONGEST:
            return refusing(errno.EMSGSIZE)
        if address.port != PORT:
            return refusing(_nowhere(address))
        self._asked(one, read(call.tid, call.args[1], size) if size else b"", address, proc)
        return returning(size)

    def sendmsg(self, call: Call, one: StandIn, proc: Proc, addresses: list[Address | None], *, many: bool) -> Act:
        """Send the datagrams of one sendmsg or sendmmsg, of which at least one names its destination."""
        sent: list[int] = []
        for number, address in enumerate(addresses):
            to = address or one.peer
            size, parts = _parts(call.tid, call.args[1] + _MESSAGE * number)
            code = (
                errno.EDESTADDRREQ if to is None
                else errno.EMSGSIZE if size > _LONGEST
                else _nowhere(to) if to.port != PORT
                else 0
            )  # fmt: skip
            if code and not sent:
                return refusing(code)
            if code or to is None:
                break
            data = b"".join(read(call.tid, start, length) for start, length in parts if length)
            self._asked(one, data, to, proc)
            sent.append(size)

        def act() -> Reply | None:
            if not many:
                return Reply(value=sent[0])
            start = call.args[1] + 56
            write(call.tid, [(start + _MESSAGE * n, struct.pack("=I", size)) for n, size in enumerate(sent)],
                  lambda: notify.waits(call.listener, call.id))  # fmt: skip
            return Reply(value=len(sent))

        return act

    # --- received -----------------------------------------------------------------------------------------------------

    def receive(self, call: Call, name: str) -> Act | None:
        """Receive for a caller that asks from where; None where the kernel does it: not ours, or nothing there yet."""
        one = self.of(call.tid, call.args[0] & 0xFFFFFFFF)
        if one is None:
            return None
        flags = (call.args[2] if name == "recvmsg" else call.args[3]) & 0xFFFFFFFF
        if flags & _ERRQUEUE:
            return refusing(errno.EAGAIN)
        self._pump(one)
        try:
            one.theirs.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            waits = os.get_blocking(one.theirs.fileno()) and not flags & socket.MSG_DONTWAIT
            return None if waits else refusing(errno.EAGAIN)
        except OSError as error:
            return refusing(error.errno or errno.EIO)
        if name == "recvfrom":
            return lambda: self._recvfrom(call, one, flags)
        return lambda: self._recvmsg(call, one, flags, call.args[2] & 0xFFFFFFFF if name == "recvmmsg" else 0)

    def _take(self, one: StandIn, flags: int) -> tuple[bytes, bytes]:
        data = one.theirs.recv(_LONGEST, socket.MSG_DONTWAIT | flags & socket.MSG_PEEK)
        source = one.sources.get(data[:2], one.peer)
        return data, b"" if source is None else _packed(one.family, source.host or "", source.port or 0)

    def _recvfrom(self, call: Call, one: StandIn, flags: int) -> Reply:
        _, buffer, size, _, name, name_size = call.args
        data, source = self._take(one, flags)
        parts = [(buffer, data[:size]), *_named(call.tid, name, name_size, source)]
        write(call.tid, parts, lambda: notify.waits(call.listener, call.id))
        return Reply(value=len(data) if flags & _TRUNC else min(len(data), size))

    def _recvmsg(self, call: Call, one: StandIn, flags: int, many: int) -> Reply:
        out: list[tuple[int, bytes]] = []
        lengths: list[int] = []
        while len(lengths) < min(many or 1, _BATCH):
            start = call.args[1] + _MESSAGE * len(lengths)
            raw = read(call.tid, start, _HEADER.size)
            name, room, *_ = _HEADER.unpack(raw)
            size, parts = _parts(call.tid, start)
            try:
                data, source = self._take(one, flags)
            except BlockingIOError:
                break
            left = data
            for place, length in parts:
                out.append((place, left[:length]))
                left = left[length:]
            out.append((name, source[:room]) if name else (start, b""))
            out += [
                (start + 8, struct.pack("=I", len(source) if name else 0)),
                (start + 40, bytes(8)),
                (start + 48, struct.pack("=I", _TRUNC if left else 0)),
            ]
            lengths.append(len(data) if flags & _TRUNC else min(len(data), size))
            if many:
                out.append((start + 56, struct.pack("=I", lengths[-1])))
        write(call.tid, out, lambda: notify.waits(call.listener, call.id))
        return Reply(value=len(lengths) if many else lengths[0])

    # --- looked at ----------------------------------------------------------------------------------------------------

    def name(self, call: Call, name: str) -> Act | None:
        """Answer getsockname and getpeername of what stands for another socket; None where the kernel answers."""
        if not self._all and not self._streams:
            return None
        number = inode(call.tid, call.args[0] & 0xFFFFFFFF) or ""
        one, stream = self._all.get(number), self._streams.get(number)
        if one is None and stream is None:
            return None
        family, peer = stream if stream is not None else (one.family, one.peer) if one is not None else (0, None)
        if name == "getpeername":
            if peer is None:
                return refusing(errno.ENOTCONN)
            packed = _packed(family, peer.host or "", peer.port or 0)
        else:
            six = family == socket.AF_INET6
            host = ("::" if six else "0.0.0.0") if peer is None else "::1" if six else "127.0.0.1"  # noqa: S104 - shown
            packed = _packed(family, host, one.port if one is not None else 0)

        def act() -> Reply | None:
            parts = _named(call.tid, call.args[1], call.args[2], packed)
            write(call.tid, parts, lambda: notify.waits(call.listener, call.id))
            return Reply()

        return act

    def stands(self, number: str | None) -> bool:
        """Whether the socket of this inode stands for another."""
        return number is not None and (number in self._all or number in self._streams)


def inode(tid: int, fd: int) -> str | None:
    """The inode of a socket among the caller's descriptors; None: that is no socket."""
    try:
        found = _SOCKET.fullmatch(os.readlink(f"/proc/{tid}/fd/{fd}"))
    except OSError:
        return None
    return found[1] if found is not None else None


def _is_local(address: Address) -> bool:
    return (address.host or "").startswith("127.") or address.host in {"::1", "::", "0.0.0.0"}  # noqa: S104 - compared


def _nowhere(address: Address) -> int:
    return errno.EACCES if _is_local(address) else errno.ENETUNREACH


def _packed(family: int, host: str, port: int) -> bytes:
    """A struct sockaddr_in or sockaddr_in6 (netinet/in.h)."""
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)
    text = host if ":" in host else f"::ffff:{host}"
    return struct.pack("=H", family) + struct.pack(">HI", port, 0) + socket.inet_pton(family, text) + bytes(4)


def _named(tid: int, address: int, size_at: int, packed: bytes) -> list[tuple[int, bytes]]:
    """What to write where a caller gives room for an address, and the room's size beside it."""
    (room,) = struct.unpack("=i", read(tid, size_at, 4))
    if room < 0:
        raise OSError(errno.EINVAL, "")
    return [(address, packed[:room]), (size_at, struct.pack("=i", len(packed)))]


def _parts(tid: int, header: int) -> tuple[int, list[tuple[int, int]]]:
    """The buffers of a struct msghdr as (address, length), and their whole length."""
    _, _, vector, count, *_ = _HEADER.unpack(read(tid, header, _HEADER.size))
    if count > _IOV_MAX:
        raise OSError(errno.EMSGSIZE, "")
    raw = read(tid, vector, 16 * count) if count else b""
    parts = [(start, min(length, _LONGEST + 1)) for start, length in struct.iter_unpack("=QQ", raw)]
    return sum(length for _, length in parts), parts
