"""``proctor collect``: takes connections, and gives each a process of its own.

A stream that does harm, or that takes long to judge, then holds up none of the others. The parent holds no journal and
reads nothing that a peer sent but the few bytes in which its own children report.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proctor.clock import Clock
from proctor.detectors.rules import RuleSet
from proctor.errors import ProctorError
from proctor.journal.keys import SigningKey
from proctor.session.receiving import Bounds, Received, peer_of, receive
from proctor.session.rejudging import judge_received
from proctor.verdicts import EXIT_STATUS

__all__ = ["Collector"]

STREAMS = 64
"""At once. Each takes at most a line's 16 MiB twice, so a hostile peer takes a bounded part of the memory."""

_GRACE_SECONDS = 20.0
"""After SIGTERM: how long streams that are open may go on. Kubernetes sends it to all containers of a pod at once."""

_JUDGE_SECONDS = 900
_REPORT_LIMIT = 64 * 1024
_WORST = ("violation", "incomplete", "suspect", "clean")


class Collector:
    """Receives episodes until it is asked to end, or as many as it is to take.

    Args:
        directory: where each episode gets a folder of its own.
        key: signs the receipts.
        tell: called with what came of each stream, as plain data.
    """

    def __init__(
        self, directory: Path, bounds: Bounds, key: SigningKey, rules: RuleSet, clock: Clock,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self._directory = directory
        self._bounds = bounds
        self._key = key
        self._rules = rules
        self._clock = clock
        self._tell = tell
        self._children: dict[int, int] = {}
        self._verdicts: set[str] = set()
        self._taken = 0
        self._only = False
        self._ending = False
        self._wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._deadline: int | None = None
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._asked)

    def _asked(self, *_: object) -> None:
        """The first time: take no more, and let what is open end; the second time: end it."""
        if self._ending:
            self._deadline = 0
        else:
            self._ending = True
            self._deadline = self._clock.monotonic_ns() + int(_GRACE_SECONDS * 1e9)

    def serve(self, fd: int, episodes: int | None = None) -> int:
        """Receive from a listening socket, or the one stream that ``fd`` is. Return the worst verdict's exit status.

        Args:
            episodes: end after so many streams.
        """
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            with socket.socket(fileno=os.dup(fd)) as given:
                listening = bool(given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        else:
            listening = False
        if not listening:
            self._start(fd, None)
            fd, self._only = -1, True
        else:
            os.set_blocking(fd, False)  # who connected may have left before it is accepted
        while True:
            if self._ending and fd >= 0:
                os.close(fd)  # who comes now is told at once, and does not wait to be taken
                fd = -1
            more = fd >= 0 and (episodes is None or len(self._children) + self._taken < episodes)
            if not more and not self._children:
                break
            ready = self._ready(fd if more and len(self._children) < STREAMS else -1)
            if more and fd in ready and not self._ending:
                self._accept(fd)
            for report in [one for one in self._children.values() if one in ready]:
                self._reported(report)
            if self._deadline is not None and self._clock.monotonic_ns() >= self._deadline:
                for pid in self._children:
                    os.kill(pid, signal.SIGTERM)
                self._deadline = None
            self._reap_strangers()
        return next((EXIT_STATUS[name] for name in _WORST if name in self._verdicts), 0)  # type: ignore[index]

    def _ready(self, listener: int) -> set[int]:
        """Wait for a signal, a child's report or a connection; return the descriptors that have news."""
        poll = select.poll()
        for fd in (self._wake, *self._children.values(), *((listener,) if listener >= 0 else ())):
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(self._wait_ms())}
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return ready

    def _wait_ms(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, (self._deadline - self._clock.monotonic_ns()) / 1e6) + 1

    def _reap_strangers(self) -> None:
        """As PID 1 of a container: whatever else ended is ours to collect."""
        with contextlib.suppress(ChildProcessError):
            while True:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None or found.si_pid in self._children:
                    return
                os.waitpid(found.si_pid, 0)

    def _accept(self, listener: int) -> None:
        with socket.socket(fileno=os.dup(listener)) as accepting:
            try:
                connection, _ = accepting.accept()
            except OSError:  # it has left again
                return
        self._start(connection.detach(), listener)

    # --- one stream, in a process of its own --------------------------------------------------------------------------

    def _start(self, fd: int, listener: int | None) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(read)
                for other in (*self._children.values(), *(() if listener is None else (listener,))):
                    os.close(other)
                report = self._receive(fd)
                os.write(write, json.dumps(report).encode()[:_REPORT_LIMIT])
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        os.close(fd)
        self._children[pid] = read

    def _receive(self, fd: int) -> dict[str, Any]:
        stop, stop_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(stop_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a terminal sends them to us too; our parent decides
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        peer = None
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            with socket.socket(fileno=os.dup(fd)) as connection:
                peer = peer_of(connection)
        try:
            found = receive(fd, self._directory, self._bounds, self._key, self._clock, peer=peer, stop=stop)
        except ProctorError as error:
            return {"verdict": "incomplete", "state": "refused", "why": str(error)}
        return self._judged(found)

    def _judged(self, found: Received) -> dict[str, Any]:
        if found.out is None or found.receipt is None:
            return {"verdict": "incomplete" if found.began else "", "state": "refused", "why": found.why}
        signal.alarm(_JUDGE_SECONDS)
        verdict, why = judge_received(found.out, found.receipt, self._rules)
        signal.alarm(0)
        return {
            "episode": found.receipt.episode, "state": found.receipt.state, "why": why or found.why, "verdict": verdict,
            "events": found.receipt.events, "head": found.receipt.head, "out": str(found.out),
            "last_line": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.receipt.last_wall_ns // 10**9)),
        }  # fmt: skip

    def _reported(self, report: int) -> None:
        """A child has ended, with a report or without one."""
        data = b""
        while chunk := os.read(report, _REPORT_LIMIT):
            data += chunk
        os.close(report)
        pid = next(pid for pid, fd in self._children.items() if fd == report)
        del self._children[pid]
        os.waitpid(pid, 0)
        try:
            told = json.loads(data)
        except ValueError:
            told = {"verdict": "incomplete", "state": "refused", "why": "the process that received it failed"}
        if self._only:
            told["verdict"] = told["verdict"] or "incomplete"
        if told["verdict"]:  # else no episode ever began: somebody only looked whether a collector is here
            self._taken += 1
            self._verdicts.add(told["verdict"])
            self._tell(told)
