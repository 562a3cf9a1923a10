"""The marker socket inside the sandbox: an agent says which step begins and ends. A claim, never proof."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from proctor.events import kinds
from proctor.sensors.processes import Proc, Processes
from proctor.sensors.steps import ID_ALLOWED, Steps, is_id
from proctor.session.recorder import Recorder

__all__ = ["Markers"]

_MAX_SHOWN = 200
_MAX_OPEN = 64
_MAX_CONNECTIONS = 64


class Markers:
    """Reads one line a connection: ``begin ID``, ``end ID`` or ``shell PID``; answers ``ok`` once it is recorded."""

    def __init__(
        self, listener: int, recorder: Recorder, steps: Steps, processes: Processes,
        register: Callable[[int, Callable[[int], None]], None], unregister: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._listener = socket.socket(fileno=listener)
        self._listener.settimeout(0)
        self._recorder = recorder
        self._steps = steps
        self._processes = processes
        self._register, self._unregister = register, unregister
        self._connections: dict[int, socket.socket] = {}
        register(listener, self._accept)

    def _accept(self, _: int) -> None:
        try:
            connection, _peer = self._listener.accept()
        except OSError:
            return
        self.take(connection, None)

    def take(self, connection: socket.socket, proc: Proc | None) -> None:
        """Serve a connection. ``proc``: whose it is; None: the kernel says it."""
        if len(self._connections) >= _MAX_CONNECTIONS:
            connection.close()
            return
        connection.settimeout(0)
        fd = connection.fileno()
        self._connections[fd] = connection
        self._register(fd, lambda _: self._line(fd, proc))

    def _line(self, fd: int, proc: Proc | None) -> None:
        connection = self._connections.pop(fd)
        self._unregister(fd)
        with connection:
            try:
                raw = connection.recv(1024)
                pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
                answer = self._mark(raw, proc if proc is not None else self._processes.get(pid))
                connection.send(answer.encode() + b"\n")
            except OSError:
                return

    def _mark(self, raw: bytes, proc: Proc | None) -> str:
        op, _, name = raw.decode("utf-8", "replace").strip().partition(" ")
        if op not in {"begin", "end", "shell"} or not is_id(name):
            shown = "".join(char if char.isprintable() else "?" for char in f"{op} {name}"[:_MAX_SHOWN])
            self._recorder.emit(kinds.Mark, kinds.MarkData(op="invalid", id=shown), proc=proc, truth="claimed")
            return f"not a mark: begin ID, end ID or shell PID, {ID_ALLOWED}"
        if op != "shell" and (op == "begin") == (name in self._steps.open):
            self._recorder.emit(
                kinds.Mark, kinds.MarkData(op="invalid", id=f"{op} {name}"[:_MAX_SHOWN]), proc=proc, truth="claimed"
            )
            return "the step is open already" if op == "begin" else "no such step is open"
        if op == "begin" and len(self._steps.open) >= _MAX_OPEN:
            return f"{_MAX_OPEN} steps are open already"
        if op == "shell":
            shell = self._processes.by_inside(int(name)) if name.isdigit() else None
            if shell is None:
                return f"no process {name} is known"
            shell.shell = True
        if op == "begin":
            self._steps.begin(name)
        self._recorder.emit(kinds.Mark, kinds.MarkData(op=op, id=name), proc=proc, truth="claimed")  # type: ignore[arg-type]
        if op == "end":
            self._steps.end(name)
        return "ok"
