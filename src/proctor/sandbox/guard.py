"""The guard of tier C: ends the agent's processes, and proves that none is left, where no PID namespace does.

It is the subreaper above them: whatever they fork, and however they leave their parents, they stay below it. It is
bound by no filter and no Landlock domain. It ends them when the supervisor is dead, when the sandbox's first process
is, and when the supervisor asks (SIGTERM); it exits with 0 once nothing is left below it. A fork cannot outrun it: the
clone calls of a dead supervisor's agents fail, and those of a living one's wait for it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import NoReturn

from proctor.sandbox import domain

__all__ = ["below", "keep"]

_AGAIN_MS = 5


def below(pid: int) -> list[int]:
    """Every process below ``pid``, itself left out."""
    queue, found = [pid], list[int]()
    while queue:
        parent = queue.pop()
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children", encoding="ascii") as file:
                    children = list(map(int, file.read().split()))
                found += children
                queue += children
    return found


def keep(supervisor: int, inner: int, name: str) -> NoReturn:
    """Guard until nothing is left.

    Args:
        supervisor: its pidfd. Where it is dead, what it left is removed, see :func:`proctor.sandbox.domain.abandon`.
        inner: pid of the sandbox's first process.
        name: of the episode's folder.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(supervisor, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    ending = False
    while True:
        ready = {fd for fd, _ in poll.poll(_AGAIN_MS if ending else None)}
        if wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
        ending = ending or asked or supervisor in ready
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                ending = ending or pid == inner
        if not ending:
            continue
        if supervisor in ready:
            poll.unregister(supervisor)
        for pid in below(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            continue
        # It has no child, dead or alive: nothing is left.
        if select.select([supervisor], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                domain.abandon(name)
        os._exit(0)
