"""Reach running episodes from another terminal: one unix socket an episode, below the user's own folder."""

from __future__ import annotations

import contextlib
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


def _folder() -> Path:
    folder = state_folder() / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _reachable(folder: Path, name: str) -> Iterator[str]:
    """A path of the socket that fits in the 108 bytes of sun_path (unix(7)), however deep the folder lies."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


class Control:
    """The supervisor's side: answers one JSON line with one JSON line."""

    def __init__(self, episode: str, handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._handle = handle
        self._path = _folder() / f"{episode}.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _reachable(self._path.parent, self._path.name) as path:
            self.listener.bind(path)
        os.chmod(self._path, 0o600)
        self.listener.listen(8)

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


def ask(episode: str, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request to a running episode.

    Raises:
        UsageError: no such episode is running.
    """
    folder = _folder()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _reachable(folder, f"{episode}.sock") as path:
        connection.settimeout(_SECONDS)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode())
            data = b""
            while not data.endswith(b"\n") and (chunk := connection.recv(65536)):
                data += chunk
        except (FileNotFoundError, ConnectionRefusedError):
            raise UsageError(f"episode {episode!r}: not running; `proctor ps` lists those that are") from None
        except TimeoutError:
            raise UsageError(f"episode {episode!r}: its supervisor does not answer") from None
    answer: dict[str, Any] = json.loads(data)
    return answer


def running() -> list[dict[str, Any]]:
    """State of every running episode. Sockets that a killed supervisor left behind are removed."""
    found = []
    for path in sorted(_folder().glob("*.sock")):
        try:
            found.append(ask(path.stem, {"op": "ps"}))
        except (UsageError, OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
    return found
