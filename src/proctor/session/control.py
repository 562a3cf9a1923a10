"""Reach running episodes from another terminal: one unix socket an episode, below the user's own folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proctor.errors import UsageError
from proctor.session.spec import state_folder

__all__ = ["Control", "ask", "running"]

_SECONDS = 10.0
_LONGEST = 80
"""Characters of an id that sun_path (unix(7)) has room for, with the rest of :func:`_reachable`'s path."""


def _folder() -> Path:
    folder = state_folder() / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _name(episode: str) -> str:
    """The socket of an episode: named by its id, or by the id's digest where that is too long."""
    return f"{episode if len(episode) <= _LONGEST else hashlib.sha256(episode.encode()).hexdigest()}.sock"


@contextlib.contextmanager
def _reachable(folder: Path, name: str) -> Iterator[str]:
    """A path of the socket that fits in the 108 bytes of sun_path (unix(7)), however deep the folder lies."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


class Control:
    """The supervisor's side: answers one JSON line with one JSON line.

    Raises:
        UsageError: an episode of this id is running.
    """

    def __init__(self, episode: str, handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._handle = handle
        self._path = _folder() / _name(episode)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _reachable(self._path.parent, self._path.name) as path:
            if self._path.exists():
                self._replace(path, episode)
            self.listener.bind(path)
        os.chmod(self._path, 0o600)
        self.listener.listen(8)

    def _replace(self, path: str, episode: str) -> None:
        """Remove what a killed supervisor left behind."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
            if trial.connect_ex(path) not in {errno.ECONNREFUSED, errno.ENOENT}:
                raise UsageError(f"episode {episode!r} is running already; `proctor ps` lists it")
        self._path.unlink(missing_ok=True)

    def accept(self, _: int) -> None:
        """Serve one waiting request."""
        with contextlib.suppress(OSError, ValueError):
            connection, _peer = self.listener.accept()
            with connection:
                connection.settimeout(1.0)
                answer = self._handle(json.loads(connection.recv(4096)))
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def close(self) -> None:
        """Remove the socket."""
        self.listener.close()
        self._path.unlink(missing_ok=True)


def _ask(name: str, request: dict[str, Any]) -> dict[str, Any] | None:
    """Send a request to a socket; None where nobody listens there. Raises TimeoutError where nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _reachable(_folder(), name) as path:
        connection.settimeout(_SECONDS)
        data = b""
        try:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode())
            while not data.endswith(b"\n") and (chunk := connection.recv(65536)):
                data += chunk
        except (FileNotFoundError, NotADirectoryError, ConnectionError):
            return None
    answer: dict[str, Any] | None = json.loads(data) if data else None
    return answer


def ask(episode: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to a running episode.

    Raises:
        UsageError: no such episode is running.
    """
    try:
        answer = _ask(_name(episode), request)
    except TimeoutError:
        raise UsageError(f"episode {episode!r}: its supervisor does not answer") from None
    if answer is None:
        raise UsageError(f"episode {episode!r}: not running; `proctor ps` lists those that are")
    return answer


def running() -> list[dict[str, Any]]:
    """State of every running episode. Sockets that a killed supervisor left behind are removed."""
    found = []
    for path in sorted(_folder().glob("*.sock")):
        try:
            answer = _ask(path.name, {"op": "ps"})
        except TimeoutError:
            continue  # busy, and so not dead
        if answer is None:
            path.unlink(missing_ok=True)
        else:
            found.append(answer)
    return found
