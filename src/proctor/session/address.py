"""Where a journal is streamed to, or a collector listens: ``fd:N``, ``unix:PATH``, ``tcp:HOST:PORT``."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.journal.stream import is_stream
from proctor.policy.records import Policy
from proctor.sandbox.layout import SYSTEM, inside

__all__ = ["ALLOWED", "Address", "connect", "keep_from_agent", "listen", "parse"]

ALLOWED = "fd:N, unix:PATH or tcp:HOST:PORT with a loopback HOST"

_CONNECT_SECONDS = 10.0
_SUN_PATH = 107
"""Bytes of a socket's path (unix(7)), without the NUL."""

_LOCAL_HOSTS = {"localhost": "127.0.0.1"}


class Address(NamedTuple):
    """One of the three. ``fd``: a number; ``unix``: an absolute path; ``tcp``: host and port."""

    kind: Literal["fd", "unix", "tcp"]
    fd: int = -1
    path: str = ""
    host: str = ""
    port: int = 0


def parse(text: str, option: str) -> Address:
    """Return what ``text`` names.

    Raises:
        UsageError: it is none of the three, or names another machine.
    """
    kind, _, rest = text.partition(":")
    shown = f"{option} {printable(text, 200)}"
    if kind == "fd" and re.fullmatch("[0-9]{1,6}", rest):
        if int(rest) < 3:
            raise UsageError(f"{option} fd:{rest}: 0 to 2 are the agent's streams; allowed are 3 and above")
        return Address("fd", fd=int(rest))
    if kind == "unix" and rest:
        return Address("unix", path=str(Path(rest).absolute()))
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        return _tcp(host.strip("[]"), port, shown)
    raise UsageError(f"{shown}: allowed is {ALLOWED}")


def _tcp(host: str, port: str, shown: str) -> Address:
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{shown}: a port is a number from 1 to 65535; allowed is {ALLOWED}")
    try:
        address = ipaddress.ip_address(_LOCAL_HOSTS.get(host, host))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise UsageError(
            f"{shown}: not a loopback address; the stream is neither encrypted nor authenticated, so it does not leave "
            "the machine: use a unix socket, or the end of a tunnel of your own"
        )
    return Address("tcp", host=str(address), port=int(port))


def connect(address: Address, option: str = "--stream") -> int:
    """Return a descriptor that leads to the collector.

    Raises:
        UsageError: nobody listens there, or the descriptor is none that a journal can be sent over.
    """
    if address.kind == "fd":
        return _given(address.fd, option)
    family, where = _where(address)
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.settimeout(_CONNECT_SECONDS)
        with _reachable(where) as path:
            one.connect(path)
        one.settimeout(None)
    except OSError as error:
        one.close()
        raise UsageError(
            f"{option} {_shown(address)}: no collector is reached there: {error.strerror or error}"
        ) from None
    return one.detach()


def _given(fd: int, option: str) -> int:
    try:
        if not is_stream(fd):
            raise UsageError(f"{option} fd:{fd}: neither a pipe nor a stream socket")
        os.set_inheritable(fd, False)  # noqa: FBT003 - positional only
    except OSError as error:
        raise UsageError(f"{option} fd:{fd}: {error.strerror}") from None
    return fd


def _where(address: Address) -> tuple[int, str | tuple[str, int]]:
    if address.kind == "unix":
        return socket.AF_UNIX, address.path
    return (socket.AF_INET6 if ":" in address.host else socket.AF_INET), (address.host, address.port)


def _shown(address: Address) -> str:
    if address.kind == "unix":
        return f"unix:{printable(address.path, 200)}"
    return f"fd:{address.fd}" if address.kind == "fd" else f"tcp:{address.host}:{address.port}"


@contextlib.contextmanager
def _reachable(where: str | tuple[str, int]) -> Iterator[str | tuple[str, int]]:
    """An address as the kernel takes it: a path that is too long for sun_path leads through its open folder."""
    if not isinstance(where, str) or len(os.fsencode(where)) <= _SUN_PATH:
        yield where
        return
    fd = os.open(os.path.dirname(where), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{os.path.basename(where)}"
    finally:
        os.close(fd)


def listen(address: Address, mode: int) -> int:
    """Return the descriptor of a listening socket, or the one that was given: it may be connected, or a pipe's end.

    Args:
        mode: permission bits of a unix socket's file; who may write to it may send.

    Raises:
        UsageError: it cannot be listened on.
    """
    if address.kind == "fd":
        return _given(address.fd, "--listen")
    if address.kind == "unix":
        _remove_stale(address.path)
    family, where = _where(address)
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(where, str):
            _listen_at(one, where, mode)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(where)
            one.listen(64)
    except OSError as error:
        one.close()
        raise UsageError(f"--listen {_shown(address)}: cannot be listened on: {error.strerror}") from None
    return one.detach()


def _listen_at(one: socket.socket, path: str, mode: int) -> None:
    """Listen under another name first: who finds the socket, as a start-up probe does, can connect to it."""
    draft = os.path.join(os.path.dirname(path), f".{os.urandom(6).hex()}")
    previous = os.umask(0o177)
    try:
        with _reachable(draft) as there:
            one.bind(there)
    finally:
        os.umask(previous)
    try:
        os.chmod(draft, mode)
        one.listen(64)
        os.rename(draft, path)
    except OSError:
        os.unlink(draft)
        raise


def _remove_stale(path: str) -> None:
    """Remove the socket of a collector that is dead; anything else stays."""
    shown = f"--listen unix:{printable(path, 200)}"
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise UsageError(f"{shown}: exists, and is no socket; choose another path")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{shown}: cannot be used: {error.strerror}") from None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial, _reachable(path) as there:
        if trial.connect_ex(there) == 0:
            raise UsageError(f"{shown}: a collector listens there already")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def keep_from_agent(address: Address, policy: Policy) -> None:
    """Refuse a collector that the agent itself could reach.

    Raises:
        UsageError: the socket lies where the agent reads or writes, or the policy allows its port.
    """
    if address.kind == "unix":
        path = os.path.realpath(address.path)
        home = () if policy.files.home == "fresh" else (policy.files.home,)
        shown = (*policy.files.write, *policy.files.read, *home, *SYSTEM)
        root = next((root for root in shown if inside(path, os.path.realpath(root))), None)
        if root is not None:
            raise UsageError(
                f"--stream {_shown(address)}: lies in {printable(root)}, which the agent can see; choose another folder"
            )
    if address.kind == "tcp" and any(
        one.port == address.port and one.host in {"localhost", address.host, "127.0.0.1", "::1"}
        for one in policy.network.allow
    ):
        raise UsageError(f"--stream {_shown(address)}: [network] allow lets the agent reach it; take that out")
