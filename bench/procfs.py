"""What /proc says of a supervisor while it runs: memory, processor time, and the processes below it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SUPERVISOR = "proctor-super"


def text(path: str) -> str:
    """A file of /proc; empty where its process is gone or may not be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """Living children of every thread of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, text(f"/proc/{pid}/task/{thread}/children").split())
    return found


def descendants(pid: int) -> list[int]:
    """Every process below one."""
    queue, found = [pid], []
    while queue:
        below = children(queue.pop())
        found += below
        queue += below
    return found


def supervisor_of(pid: int, seconds: float = 10.0) -> int:
    """The newest supervisor among a process's children, as soon as there is one.

    Raises:
        TimeoutError: there was none.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        named = [child for child in children(pid) if text(f"/proc/{child}/comm").strip() == SUPERVISOR]
        if named:
            return max(named, key=start_time)
        time.sleep(0.0005)
    raise TimeoutError(f"process {pid} has no child named {SUPERVISOR}")


def start_time(pid: int) -> int:
    """Ticks since boot at which a process started (field 22 of /proc/PID/stat); 0 where it is gone."""
    stat = text(f"/proc/{pid}/stat")
    return int(stat[stat.rindex(")") + 2 :].split()[19]) if stat else 0


def cpu_ns(pid: int) -> int:
    """Nanoseconds that a process's first thread has been on a processor, user and system (proc(5), schedstat)."""
    fields = text(f"/proc/{pid}/schedstat").split()
    return int(fields[0]) if fields else 0


def namespace(pid: int) -> str:
    """The PID namespace of a process; empty where it is gone or may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def in_namespace(name: str) -> list[int]:
    """Every process in a PID namespace."""
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and namespace(int(pid)) == name]


@dataclass
class Memory:
    """Largest values seen, in KiB: ``peak_rss`` is the kernel's own high-water mark (VmHWM), so none is missed but what
    came after the last look; ``pss`` shares pages that several processes map. None where it may not be read.
    """

    peak_rss: int = 0
    pss: int | None = None


class MemoryWatch:
    """Looks at a process every 10 ms until it is gone. Use it as a context manager."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen = Memory()

    def _watch(self) -> None:
        looks = 0
        while not self._stop.is_set():
            peak = re.search(r"VmHWM:\s*(\d+)", text(f"/proc/{self._pid}/status"))
            if peak is None:
                return
            self.seen.peak_rss = max(self.seen.peak_rss, int(peak[1]))
            # Adding up the pages of a process holds its memory's lock for a while, so it is done seldom.
            if looks % 20 == 0:
                pss = re.search(r"^Pss:\s*(\d+)", text(f"/proc/{self._pid}/smaps_rollup"), re.MULTILINE)
                if pss is not None:
                    self.seen.pss = max(self.seen.pss or 0, int(pss[1]))
            looks += 1
            self._stop.wait(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
