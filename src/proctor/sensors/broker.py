"""Socket calls done on behalf of their caller (tier C), where no network namespace keeps it from the machine's network.

A connection or a bound port is made here, to the address that was judged, and put in the place of the caller's own
socket, with the options and the bound port that this one had. Its place in an epoll set is lost: none but the caller's
own process can give it back. Every bound port is one of the loopback.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator

from proctor.sandbox.layout import Layout
from proctor.sensors.datagrams import PORT, Datagrams
from proctor.sensors.datagrams import inode as _inode
from proctor.sensors.memory import Address
from proctor.sensors.options import Options, watched_by_epoll
from proctor.sensors.processes import Proc, Processes
from proctor.sensors.reply import Act, Reply, refusing

__all__ = ["Broker"]

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)
_BACKLOG = 128
Connection = Callable[[socket.socket, Proc | None], None]


class Broker:
    """Knows which sockets it made.

    Args:
        layout: its marker socket is answered here.
        processes: whose unix sockets are the episode's own.

    Attributes:
        mark: path of the marker socket.
        markers: takes the supervisor's end of a connection to the marker socket.
        datagrams: what stands for UDP sockets.
        options: what was set on sockets before they are replaced.
    """

    def __init__(self, layout: Layout, processes: Processes) -> None:
        self._processes = processes
        self.mark = layout.run + "/mark.sock"
        self._gateway: dict[tuple[str, int], tuple[str, int]] = {}
        self._bound: dict[int, str] = {}
        self._hosts: dict[str, str] = {}
        self._connected: set[str] = set()
        self.datagrams = Datagrams(processes)
        self.options = Options()
        self.markers: Connection = lambda connection, _: connection.close()

    def listen(self, address: tuple[str, int]) -> socket.socket:
        """Return a new listening socket of the loopback; the agent reaches it at ``address``."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        listener.listen(_BACKLOG)
        self._gateway[address] = listener.getsockname()[:2]
        return listener

    def lost(self, tid: int, fd: int) -> tuple[str, ...]:
        """What a socket of the caller's will not have any more once another has taken its place."""
        number = _inode(tid, fd)
        if number is None or number in self._connected:
            return ()
        return (*self.options.lost(number), *(("epoll",) if watched_by_epoll(tid, number) else ()))

    # --- connect ------------------------------------------------------------------------------------------------------

    def reaches(self, address: Address) -> tuple[str, int] | None:
        """Where a connection to an internet address really goes; None: nowhere."""
        if address.host is None or address.port is None:
            return None
        host = str(ipaddress.ip_address(address.host))
        if ipaddress.ip_address(host).is_unspecified:  # the kernel takes it for the loopback
            host = "::1" if ":" in host else "127.0.0.1"
        found = self._gateway.get((host, address.port))
        if found is not None:
            return found
        inode = self._bound.get(address.port)
        if ipaddress.ip_address(host).is_loopback and inode is not None and inode in _listening(address.port):
            return host, address.port
        return None

    def connect(self, tid: int, fd: int, proc: Proc, address: Address) -> Act:
        """Connect the caller's socket ``fd`` to an internet address."""
        inode = _inode(tid, fd)
        if inode is None:
            return refusing(errno.ENOTSOCK)
        if inode in self._connected:
            return refusing(errno.EISCONN)
        destination = self.reaches(address)
        if destination is None and address.port == PORT:

            def names() -> Reply | None:
                family = socket.AF_INET6 if ":" in (address.host or "") else socket.AF_INET
                with self.datagrams.connection(family, proc, address) as theirs:
                    self._remember(self._connected, theirs)
                    return _instead(tid, fd, theirs)

            return names
        if destination is None:
            host = ipaddress.ip_address(address.host or "0.0.0.0")  # noqa: S104 - compared, not bound
            return refusing(errno.ECONNREFUSED if host.is_loopback or host.is_unspecified else errno.ENETUNREACH)

        def act() -> Reply | None:
            family = socket.AF_INET6 if ":" in destination[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as ours:
                ours.settimeout(0)
                self.options.carry(inode, ours)
                self._bind_again(inode, ours)
                number = ours.connect_ex(destination)
                if number not in {0, errno.EINPROGRESS}:
                    raise OSError(number, os.strerror(number))
                self._remember(self._connected, ours)
                return _instead(tid, fd, ours, pending=number == errno.EINPROGRESS)

        return act

    def connect_unix(self, tid: int, fd: int, proc: Proc, path: bytes, name: str) -> Act:
        """Connect the caller's unix socket. ``path``: of the object; an abstract name starts with NUL."""
        if name == self.mark:

            def mark() -> Reply | None:
                ours, theirs = socket.socketpair()
                self.markers(ours, proc)
                with theirs:
                    return _instead(tid, fd, theirs)

            return mark
        inode = _inode(tid, fd)
        kind = next((int(row[4], 16) for row in _unix() if row[6] == inode), None)
        if inode is None or kind not in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
            return refusing(errno.ENOTSOCK)
        shown = "@" + path[1:].decode("utf-8", "surrogateescape") if path.startswith(b"\0") else None
        if shown is not None and not self._owns({row[6] for row in _unix() if row[7:] == [shown]}):
            return refusing(errno.ECONNREFUSED)

        def act() -> Reply | None:
            with socket.socket(socket.AF_UNIX, kind) as ours:
                ours.settimeout(0)
                self.options.carry(inode, ours)
                if shown is not None:
                    ours.connect(path)
                else:
                    held = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
                    try:
                        ours.connect(f"/proc/self/fd/{held}")
                    finally:
                        os.close(held)
                return _instead(tid, fd, ours)

        return act

    # --- bind, listen -------------------------------------------------------------------------------------------------

    def bind(self, tid: int, fd: int, address: Address) -> Act:
        """Bind the caller's socket to a port of the loopback: also where it asks for every address."""
        host = ipaddress.ip_address(address.host or "")
        inode = _inode(tid, fd)
        if inode is None:
            return refusing(errno.ENOTSOCK)
        if not (host.is_loopback or host.is_unspecified):
            return refusing(errno.EADDRNOTAVAIL)

        def act() -> Reply | None:
            family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as ours:
                self.options.carry(inode, ours)
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                own = str(host) if host.is_loopback else "::1" if host.version == 6 else "127.0.0.1"
                ours.bind((own, address.port or 0))
                number = str(os.fstat(ours.fileno()).st_ino)
                self._bound[ours.getsockname()[1]] = number
                self._hosts[number] = own
                return _instead(tid, fd, ours)

        return act

    def _bind_again(self, inode: str, ours: socket.socket) -> None:
        """To the port that the caller's socket has; both have SO_REUSEADDR, and neither listens."""
        port = next((port for port, bound in self._bound.items() if bound == inode), None)
        if port is not None:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ours.bind((self._hosts[inode], port))

    def may_listen(self, tid: int, fd: int) -> bool:
        """Whether the caller's socket is a unix one, or one that was bound here: another would get a port anywhere."""
        inode = _inode(tid, fd)
        return inode is not None and (inode in self._bound.values() or any(row[6] == inode for row in _unix()))

    # --- whose is it --------------------------------------------------------------------------------------------------

    @staticmethod
    def _remember(where: set[str], ours: socket.socket) -> None:
        if len(where) >= 1 << 16:
            where.clear()  # forgotten: a second connect of such a socket is done again instead of refused
        where.add(str(os.fstat(ours.fileno()).st_ino))

    def _owns(self, inodes: set[str]) -> bool:
        """Whether a process of the episode holds one of these sockets."""
        wanted = {f"socket:[{inode}]" for inode in inodes}
        for proc in self._processes.all():
            try:
                with os.scandir(f"/proc/{proc.pid}/fd") as entries:
                    for entry in entries:
                        if os.readlink(entry.path) in wanted:
                            return True
            except OSError:
                continue
        return False


def _instead(tid: int, fd: int, ours: socket.socket, *, pending: bool = False) -> Reply:
    """``ours`` in the place of the caller's descriptor, with its O_NONBLOCK and FD_CLOEXEC (proc_pid_fdinfo(5))."""
    with open(f"/proc/{tid}/fdinfo/{fd}", encoding="ascii") as file:
        flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    blocking = not flags & os.O_NONBLOCK
    copy = os.dup(ours.fileno())
    os.set_blocking(copy, blocking)
    value = -errno.EINPROGRESS if pending and not blocking else 0
    return Reply(value=value, fd=copy, at=fd, cloexec=bool(flags & os.O_CLOEXEC))


def _unix() -> Iterator[list[str]]:
    """Rows of /proc/net/unix: Num RefCount Protocol Flags Type St Inode [Path] (proc_pid_net(5))."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        next(file)
        for line in file:
            yield line.rstrip("\n").split(" ", 7) if line.count(" ") < 8 else line.split(None, 7)


def _listening(port: int) -> set[str]:
    """Inodes of the machine's sockets that listen on a TCP port."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        found |= {row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}
    return found
