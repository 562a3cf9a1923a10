"""The supervisor's side of the talk with its client: requests come in, news goes out."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from proctor.events import kinds
from proctor.sandbox.channel import receive, send
from proctor.sensors.processes import Processes
from proctor.session.limits import Limits
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder
from proctor.session.tree import Tree

__all__ = ["Conversation"]

_MAX_NAMED = 1000


class Conversation:
    """Talks with the client at the other end of ``channel``. A client that is gone ends the episode, with a gap.

    Attributes:
        closing: the episode is to end once every command has; set by the client, and by the supervisor.
        tree: what is ended where the client is gone or asks for it; set before the first news.
    """

    tree: Tree

    def __init__(self, channel: socket.socket, loop: Loop, recorder: Recorder) -> None:
        self._channel: socket.socket | None = channel
        self._loop = loop
        self._recorder = recorder
        self.closing = False
        self._started = False

    def listen(self, processes: Processes, limits: Limits, run: Callable[[dict[str, Any], list[int]], None]) -> None:
        """Serve requests from now on. ``run`` starts a command, with its streams' descriptors."""
        self._processes = processes
        self._limits = limits
        self._run = run
        if self._channel is not None:
            self._loop.register(self._channel.fileno(), self._on_request)

    def tell(self, *, fds: tuple[int, ...] = (), **message: Any) -> None:
        """Send news to the client, with descriptors beside it, if it is still there."""
        self._started = self._started or message.get("op") == "started"
        if self._channel is not None:
            try:
                send(self._channel, message, fds)
            except OSError:
                self._lost()

    def _lost(self) -> None:
        if self._channel is None:
            return
        self._loop.unregister(self._channel.fileno())
        self._channel.close()
        self._channel = None
        if not self.closing:
            what = "the program that ran the episode ended before it closed it"
            self._recorder.emit(kinds.Gap, kinds.GapData(of="session", what=what))
            self.tree.end(what)

    def _on_request(self, _: int) -> None:
        if self._channel is None:
            return
        message, fds, _pid = receive(self._channel)
        op = message["op"] if message is not None else None
        if message is None or op is None:
            self._lost()
        elif op == "run" and self._recorder.decision == "kill":
            for fd in fds:  # it was ended before; the verdict, which is on its way, is the answer
                os.close(fd)
        elif op == "run":
            self._run(message, fds)
        elif op == "close":
            self.closing = True
        elif op == "kill":
            self.closing = True
            self.tree.end(str(message.get("reason", "asked for by the caller")))
        elif op == "signal":
            self._signal(int(message["signo"]))
        elif op == "stop":
            self.tree.pause()
            self._limits.pause()
            self.tell(op="stopped")
        elif op == "continue":
            self._limits.resume()
            self.tree.resume()

    def _signal(self, signo: int) -> None:
        """Signal the commands and what they wait for, as a terminal does: each began a process group of its own.

        Where none has started yet the episode is ended: a person who interrupts now does not want it.
        """
        if not self._started:
            self.closing = True
            keys: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGQUIT: "Ctrl-\\"}
            key = keys.get(signo, signal.Signals(signo).name)
            self.tree.end(f"proctor run was interrupted ({key})")
            return
        reached = []
        for proc in self._processes.all():
            if proc.root:
                with suppress(OSError):
                    signal.pidfd_send_signal(proc.pidfd, 0)  # it is there, so its number is nobody else's
                    os.killpg(proc.pid, signo)
                    reached.append(proc.pid)
        reason = f"{signal.Signals(signo).name} was passed on to the agent, as the caller asked"
        self._recorder.emit(
            kinds.Response, kinds.ResponseData(action="log", reason=reason, processes=tuple(reached[:_MAX_NAMED]))
        )
