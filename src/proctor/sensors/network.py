"""Socket calls, as ``net`` events. Unix sockets that the sandbox did not bind itself are refused.

What goes to port 53 in tier C is a ``lookup`` event when it asks; where it is not one of the machine's name servers, to
which every program's own questions go there, it is a ``net`` event too.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from proctor.events import kinds
from proctor.events.text import from_bytes, to_bytes
from proctor.sandbox.layout import MARK_SOCKET
from proctor.sensors.datagrams import PORT, inode
from proctor.sensors.memory import Address, read, read_address
from proctor.sensors.notify import Call
from proctor.sensors.paths import Resolver
from proctor.sensors.processes import Proc
from proctor.sensors.refusal import Refusal
from proctor.sensors.reply import Act, refusing, returning

if TYPE_CHECKING:
    from proctor.sensors.broker import Broker
    from proctor.sensors.kernel import Sink

__all__ = ["NetworkCalls"]

_AT_FDCWD = -100
_FASTOPEN = 0x20000000
_MAX_MESSAGES = 1024  # UIO_MAXIOV: what sendmmsg takes at once


def _routable(host: str) -> bool:
    """Whether the sandbox's own network, which holds nothing but loopback, has a way to ``host``."""
    address = ipaddress.ip_address(host)
    return address.is_loopback or address.is_unspecified


class NetworkCalls:
    """Handlers for connect, bind, listen and addressed sends."""

    def __init__(self, sink: Sink, resolver: Resolver, broker: Broker | None = None) -> None:
        self._sink = sink
        self._broker = broker
        self._resolver = resolver
        self._bound: set[str] = {MARK_SOCKET}
        self.handlers: dict[str, Callable[[Call, Proc, str], Act | None]] = {
            "connect": self._connect,
            "bind": self._bind,
            "listen": self._listen,
            "sendto": self._sendto,
            "sendmsg": self._sendmsg,
            "sendmmsg": self._sendmsg,
        }
        if broker is not None:
            self._servers = _name_servers()
            self.handlers |= {
                **dict.fromkeys(("recvfrom", "recvmsg", "recvmmsg"), self._receive),
                **dict.fromkeys(("getsockname", "getpeername"), self._name),
                "setsockopt": self._option,
            }

    def _emit(
        self,
        call: Call,
        proc: Proc,
        op: Literal["connect", "bind", "listen", "sendto"],
        name: str,
        address: Address | None,
        *,
        fastopen: bool = False,
        nowhere: bool = False,
    ) -> None:
        path = None
        outcome: kinds.Outcome = "attempted"
        if address is not None and address.family == "unix":
            path, known = self._unix(call, proc, address)
            if op == "bind" and path is not None:
                self._bound.add(path)
            elif self._broker is not None and path == self._broker.mark:
                pass
            elif op in {"connect", "sendto"} and not known:
                raise Refusal(errno.EACCES, "sandbox", path)
        elif (
            address is not None
            and address.host is not None
            and op in {"connect", "sendto"}
            and not (not nowhere and _routable(address.host) if self._broker is None else self._broker.reaches(address))
        ):
            outcome = "blocked"
        unix = address is None or address.family == "unix"
        replaced = not nowhere and outcome != "blocked" and (op == "connect" or (op == "bind" and not unix))
        data = kinds.NetData(
            op=op,
            lost=self._lost(call) if replaced else (),
            call=name,
            family=address.family if address else None,
            address=path or (address.host if address else None),
            port=address.port if address else None,
            fastopen=fastopen,
            outcome=outcome,
        )
        self._sink.emit(kinds.Net, data, proc=proc, tid=call.tid, truth="racy")

    def _unix(self, call: Call, proc: Proc, address: Address) -> tuple[str | None, bool]:
        """(path as text, whether it is a socket of the sandbox). Abstract names are the network namespace's own."""
        raw = address.path or b""
        if not raw or raw.startswith(b"\0"):
            return ("@" + from_bytes(raw[1:]) if raw else None), True
        found = self._resolver.resolve(call.tid, proc.inside, _AT_FDCWD, raw, follow=True)
        path = found.object or found.claimed
        return path, path in self._bound or not found.existed

    def _connect(self, call: Call, proc: Proc, name: str) -> Act | None:
        address = read_address(call.tid, call.args[1], call.args[2] & 0xFFFFFFFF)
        fd = call.args[0] & 0xFFFFFFFF
        one = self._broker.datagrams.of(call.tid, fd) if self._broker is not None else None
        if not self._is_name_server(address):
            self._emit(call, proc, "connect", name, address, nowhere=one is not None)
        if self._broker is None:
            return None
        if one is not None:
            inside = address is None or address.family in {"inet", "inet6"}
            return self._broker.datagrams.connect(one, address) if inside else refusing(errno.EAFNOSUPPORT)
        if address is not None and address.family == "unix":
            raw = address.path or b""
            path, _ = self._unix(call, proc, address)
            return self._broker.connect_unix(
                call.tid, fd, proc, raw if raw[:1] == b"\0" else to_bytes(path or ""), path or ""
            )
        if address is None or address.family not in {"inet", "inet6"}:
            return refusing(errno.EAFNOSUPPORT)
        return self._broker.connect(call.tid, fd, proc, address)

    def _bind(self, call: Call, proc: Proc, name: str) -> Act | None:
        address = read_address(call.tid, call.args[1], call.args[2] & 0xFFFFFFFF)
        self._emit(call, proc, "bind", name, address)
        if self._broker is None or (address is not None and address.family in {"unix", "netlink"}):
            return None  # where a unix socket may be made is Landlock's to say
        if address is None or address.family not in {"inet", "inet6"}:
            return refusing(errno.EAFNOSUPPORT)
        one = self._broker.datagrams.of(call.tid, call.args[0] & 0xFFFFFFFF)
        if one is not None:
            return self._broker.datagrams.bind(one, address)
        return self._broker.bind(call.tid, call.args[0] & 0xFFFFFFFF, address)

    def _listen(self, call: Call, proc: Proc, name: str) -> None:
        if self._broker is not None and not self._broker.may_listen(call.tid, call.args[0] & 0xFFFFFFFF):
            raise Refusal(errno.EACCES, "sandbox")
        self._emit(call, proc, "listen", name, None)

    def _lost(self, call: Call) -> tuple[str, ...]:
        return self._broker.lost(call.tid, call.args[0] & 0xFFFFFFFF) if self._broker is not None else ()

    def _is_name_server(self, address: Address | None) -> bool:
        return self._broker is not None and address is not None and (
            address.port == PORT and address.host in self._servers
        )  # fmt: skip

    def _receive(self, call: Call, proc: Proc, name: str) -> Act | None:
        return self._broker.datagrams.receive(call, name) if self._broker is not None else None

    def _name(self, call: Call, proc: Proc, name: str) -> Act | None:
        return self._broker.datagrams.name(call, name) if self._broker is not None else None

    def _option(self, call: Call, proc: Proc, name: str) -> Act | None:
        """A socket that stands for another takes the other's options, and heeds those that both have."""
        number = inode(call.tid, call.args[0] & 0xFFFFFFFF)
        if self._broker is None or number is None:
            return None
        if self._broker.datagrams.stands(number):
            return returning(0) if call.args[1] & 0xFFFFFFFF != socket.SOL_SOCKET else None
        self._broker.options.asked(call, number)
        return None

    def _sendto(self, call: Call, proc: Proc, name: str) -> Act | None:
        args = call.args
        address = read_address(call.tid, args[4], args[5] & 0xFFFFFFFF) if args[4] else None
        one = self._broker.datagrams.of(call.tid, args[0] & 0xFFFFFFFF) if self._broker is not None else None
        if self._broker is not None and one is not None and address is not None:
            if not self._is_name_server(address):
                self._emit(call, proc, "sendto", name, address, nowhere=True)
            return self._broker.datagrams.sendto(call, one, proc, address)
        fastopen = bool(args[3] & _FASTOPEN)
        if self._broker is not None and (fastopen or address is None or address.family != "netlink"):
            raise Refusal(errno.EACCES, "sandbox", address.host if address is not None else None)
        self._emit(call, proc, "sendto", name, address, fastopen=fastopen)
        return None

    def _sendmsg(self, call: Call, proc: Proc, name: str) -> Act | None:
        """Struct msghdr starts with msg_name (8 bytes) and msg_namelen (4); an array of struct mmsghdr is 64 apart."""
        args = call.args
        count, flags = (1, args[2]) if name == "sendmsg" else (min(args[2] & 0xFFFFFFFF, _MAX_MESSAGES), args[3])
        seen: set[Address | None] = set()
        one = self._broker.datagrams.of(call.tid, args[0] & 0xFFFFFFFF) if self._broker is not None else None
        named: list[Address | None] = []
        for number in range(count):
            pointer, length = struct.unpack("=QI", read(call.tid, args[1] + 64 * number, 12))
            if not pointer and not flags & _FASTOPEN:
                named.append(None)
                continue
            address = read_address(call.tid, pointer, length) if pointer else None
            named.append(address)
            if one is not None:
                if address not in seen and not self._is_name_server(address):
                    self._emit(call, proc, "sendto", name, address, nowhere=True)
                seen.add(address)
                continue
            if self._broker is not None and (flags & _FASTOPEN or address is None or address.family != "netlink"):
                raise Refusal(errno.EACCES, "sandbox", address.host if address is not None else None)
            if address not in seen:
                seen.add(address)
                self._emit(call, proc, "sendto", name, address, fastopen=bool(flags & _FASTOPEN))
        if self._broker is not None and one is not None and any(named):
            return self._broker.datagrams.sendmsg(call, one, proc, named, many=name == "sendmmsg")
        return None


def _name_servers() -> frozenset[str]:
    """Those of the machine (resolv.conf(5); without one, the loopback)."""
    try:
        with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as file:
            rows = [line.split() for line in file]
    except OSError:
        rows = []
    return frozenset(row[1].partition("%")[0] for row in rows if len(row) > 1 and row[0] == "nameserver") or frozenset(
        {"127.0.0.1"}
    )
