"""The supervisor's side of the gateway: has its flows recorded, names their process, and ends with it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence

from proctor.events import kinds
from proctor.gateway.relay import serve
from proctor.policy.records import Endpoint
from proctor.sandbox.channel import pair, receive, send
from proctor.sensors.processes import Proc, Processes
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder
from proctor.session.tree import kill_child

__all__ = ["Gateway", "flow_owner"]


class Gateway:
    """A gateway process. When it ends the network is closed, and the record has a gap."""

    def __init__(
        self,
        listeners: Sequence[tuple[socket.socket, tuple[str, int]]],
        allow: Sequence[Endpoint],
        loop: Loop,
        recorder: Recorder,
        processes: Processes,
    ) -> None:
        self._loop = loop
        self._recorder = recorder
        self._processes = processes
        self._closing = False
        self._held: str | None = None
        self._channel, theirs = pair()
        self._pid = os.fork()
        if self._pid == 0:
            loop.close()
            self._channel.close()
            serve(theirs, listeners, allow)
        theirs.close()
        for listener, _ in listeners:
            listener.close()
        loop.register(self._channel.fileno(), self._on_message)

    def _on_message(self, _: int) -> None:
        message, _fds, _pid = receive(self._channel)
        if message is None:
            self._loop.unregister(self._channel.fileno())
            if not self._closing:
                what = "the gateway ended; the network is closed from here on"
                self._recorder.emit(kinds.Gap, kinds.GapData(of="gateway", what=what))
            return
        data = kinds.FlowData(
            flow=message["flow"], phase=message["phase"], asked=message["asked"], address=message.get("address"),
            port=message.get("port"), reason=message.get("reason"), sent_bytes=message.get("sent", 0),
            received_bytes=message.get("received", 0),
        )  # fmt: skip
        proc = flow_owner(self._processes, message["peer"]) if message["phase"] != "close" else None
        frozen_before = self._recorder.decision == "hold"
        self._recorder.emit(kinds.Flow, data, proc=proc)
        if self._recorder.decision == "go_on":
            self._answer("recorded")
        elif self._recorder.decision == "hold":
            # The gateway asks one thing at a time, so there is one answer to hold.
            self._held = "recorded" if frozen_before else "refused"

    def thaw(self) -> None:
        """Answer what was asked while the tree was frozen: the flow that it was frozen for is refused."""
        answer, self._held = self._held, None
        if answer is not None:
            self._answer(answer)

    def _answer(self, op: str) -> None:
        with contextlib.suppress(OSError):  # it is dead: the end of its channel, a gap, is the next thing read
            send(self._channel, {"op": op})

    def close(self) -> None:
        """End it; what it relays ends with it."""
        self._closing = True
        kill_child(self._pid)
        self._loop.unregister(self._channel.fileno())


def _inode(pid: int, port: int, tables: tuple[str, ...]) -> str | None:
    """The socket with a local port, in the network of process ``pid`` (/proc/PID/net/tcp, proc_pid_net(5))."""
    for name in tables:
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                lines = [line.split() for line in file][1:]
        except OSError:
            return None
        for fields in lines:
            if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
                return fields[9]
    return None


def flow_owner(processes: Processes, port: int, tables: tuple[str, ...] = ("tcp", "tcp6")) -> Proc | None:
    """Return the process that connected from ``port``; None where it ended meanwhile. ``tables``: of /proc/PID/net."""
    known = processes.all()
    inode = next((found for proc in known[:3] if (found := _inode(proc.pid, port, tables)) is not None), None)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    for proc in known:
        try:
            for fd in os.scandir(f"/proc/{proc.pid}/fd"):
                if os.readlink(fd.path) == wanted:
                    return proc
        except OSError:
            continue
    return None
