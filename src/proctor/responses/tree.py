"""Stop, continue or end every process of a sandbox."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence

from proctor.sandbox.linux import signal_thread

__all__ = ["freeze", "kill", "members", "stopped", "thaw"]

_KILL_SECONDS = 30.0
_FREEZE_SECONDS = 10.0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def members(init: int) -> list[int]:
    """Every process below the sandbox's first one: orphans become its children, so none is left out."""
    queue, found = [init], []
    while queue:
        below = _children(queue.pop())
        found += below
        queue += below
    return found


def _running(pid: int) -> list[int]:
    """Threads that could still run code of their own.

    A thread in state D is inside a call: it stops before it returns to its own code.
    """
    found = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for thread in threads:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
            raw = file.read()
            if raw[raw.rindex(b")") + 2 : raw.rindex(b")") + 3] in {b"R", b"S"}:
                found.append(int(thread))
    return found


def freeze(init: int) -> list[int]:
    """Stop every process (SIGSTOP) and return once none can run code of its own any more.

    The supervisor calls this while it answers no notification, so a thread that asks for a child stays in its call.
    The signal goes to each running thread: sent to the process it could wait for the one thread that is held in a call,
    while the others run on.

    Raises:
        TimeoutError: after 10 seconds some process still runs; the caller must kill instead.
    """
    deadline = time.monotonic() + _FREEZE_SECONDS
    while True:
        found = members(init)
        running = [(pid, tid) for pid in found for tid in _running(pid)]
        if not running:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"threads still running: {running[:10]}")
        for pid, tid in running:
            signal_thread(pid, tid, signal.SIGSTOP)


def stopped(init: int) -> set[int]:
    """The processes that a signal has stopped already (state T of proc_pid_stat(5))."""
    found = set()
    for pid in members(init):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read()
            if raw[raw.rindex(b")") + 2 : raw.rindex(b")") + 3] == b"T":
                found.add(pid)
    return found


def thaw(processes: Sequence[int]) -> None:
    """Let processes continue (SIGCONT)."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill(ends: int, outer: int, *, guarded: bool) -> bool:
    """End every process inside; return whether the tree is known to be empty. Both arguments are pidfds.

    ``ends`` is the sandbox's first process: with it the kernel ends a PID namespace's other processes, before it can be
    reaped, and the outer process ends after it has reaped that one. Where there is no namespace (``guarded``) it is the
    guard, which ends them one by one and then itself.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(ends, signal.SIGTERM if guarded else signal.SIGKILL)
    poll = select.poll()
    poll.register(outer, select.POLLIN)
    return bool(poll.poll(_KILL_SECONDS * 1000))
