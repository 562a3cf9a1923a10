"""Where supervisors come from: a small process that has everything imported and forks one for each episode.

The host program talks to it over a socket and is itself never forked, so that its threads and memory stay out of the
supervisor. Run as ``python -m proctor.session.launcher FD``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

from proctor.clock import SystemClock
from proctor.detectors.compile import load
from proctor.detectors.rules import RuleSet
from proctor.errors import ProctorError, SandboxError, UsageError
from proctor.journal.keys import load_or_make
from proctor.sandbox import linux
from proctor.sandbox.channel import receive, send
from proctor.session.closing import close
from proctor.session.spec import EpisodeSpec
from proctor.session.supervisor import Supervisor

__all__ = ["fork_supervisor", "main", "supervise", "warm"]

_rules: dict[tuple[str, ...], RuleSet] = {}


def _ruleset(spec: EpisodeSpec) -> RuleSet:
    if spec.rules not in _rules:
        _rules[spec.rules] = load([Path(folder) for folder in spec.rules], Path(spec.cache))
    return _rules[spec.rules]


def warm(rules: tuple[str, ...], cache: str) -> None:
    """Load now what a supervisor needs, so that none has to."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: F401 - 27 ms, spent before anybody waits

    _rules[rules] = load([Path(folder) for folder in rules], Path(cache))


def supervise(spec: EpisodeSpec, client: socket.socket) -> NoReturn:
    """Be the supervisor of one episode, in a process of its own; tell the client how it went."""
    status = 1
    try:
        linux.set_name("proctor-super")
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        supervisor = Supervisor(
            spec, client, rules=lambda: _ruleset(spec), key=lambda: load_or_make(Path(spec.keys)), clock=SystemClock()
        )
        linux.set_dumpable(on=False)
        try:
            supervisor.run()
            supervisor.finish()
            close(supervisor)
            status = 0
        finally:
            supervisor.abandon()
    except BaseException as error:  # noqa: BLE001 - told to the client, which is loud about it
        kind = (
            "usage" if isinstance(error, UsageError) else "sandbox" if isinstance(error, SandboxError) else "internal"
        )
        text = str(error) if isinstance(error, ProctorError) else "".join(traceback.format_exception(error)).strip()
        try:
            send(client, {"op": "failed", "kind": kind, "error": text[-20000:]})
        except OSError:
            sys.stderr.write(f"proctor: supervisor failed: {text}\n")
    finally:
        os._exit(status)


_CLIENT = 250
"""Where a supervisor keeps its client's socket: out of the way of what it closes."""


def fork_supervisor(spec: EpisodeSpec, client: socket.socket) -> int:
    """Fork a supervisor that talks over ``client``; return its pid. The caller must have one thread only.

    The supervisor leaves the terminal's session and holds none of the caller's descriptors but standard error, which
    takes its last words should the client be gone.
    """
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        # The supervisor waits for its own children; where SIGCHLD is ignored the kernel takes them away.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(client.detach(), _CLIENT, inheritable=False)
        os.closerange(3, _CLIENT)
        linux.close_from(_CLIENT + 1)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in (0, 1):
            os.dup2(null, number)
        supervise(spec, socket.socket(fileno=_CLIENT))
    return pid


def main() -> NoReturn:
    """Serve requests until the host program is gone: ``warm`` and ``episode`` (with the client's socket beside it)."""
    host = socket.socket(fileno=int(sys.argv[1]))
    linux.set_name("proctor-launch")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors report for themselves; the kernel reaps them
    while True:
        message, fds, _ = receive(host)
        if message is None:
            os._exit(0)
        if message["op"] == "warm":
            try:
                warm(tuple(message["rules"]), message["cache"])
                send(host, {"op": "warm"})
            except ProctorError as error:
                send(host, {"op": "failed", "kind": "usage", "error": str(error)})
            continue
        client = socket.socket(fileno=fds[0])
        fork_supervisor(msgspec.convert(message["spec"], EpisodeSpec), client)
        client.close()


if __name__ == "__main__":
    main()
