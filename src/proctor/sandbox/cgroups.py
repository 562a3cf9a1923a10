"""A cgroup (version 2) for the episode and one for each of its steps, where this user may make them.

They name a process's step whatever it does, and limit what their controllers cover. Without them lineage and sampling
do the same, less strictly.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["Cgroup", "create"]


def _own() -> Path | None:
    """The folder of this process's own cgroup in the version 2 tree, wherever that is mounted."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split() for line in file]
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            path = next(line.rstrip("\n")[3:] for line in file if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    for fields in mounts:
        if "cgroup2" in fields[fields.index("-") :]:
            folder = Path(fields[4] + path)
            return folder if folder.is_dir() else None
    return None


class Cgroup:
    """One folder of the cgroup tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        controllers = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
        self.controllers = frozenset(controllers)

    def step(self, number: int) -> Cgroup:
        """A child for one step."""
        folder = self.folder / f"step-{number}"
        folder.mkdir()
        return Cgroup(folder)

    def open(self) -> int:
        """A descriptor of the folder, for a process to be started in it."""
        return os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def limit(self, *, memory_bytes: int | None, processes: int) -> set[str]:
        """Set hard limits; return which of ``memory`` and ``processes`` this kernel enforces here."""
        got = set()
        if memory_bytes is not None and "memory" in self.controllers:
            with contextlib.suppress(OSError):
                (self.folder / "memory.max").write_text(str(memory_bytes), encoding="ascii")
                got.add("memory")
        if "pids" in self.controllers:
            with contextlib.suppress(OSError):
                (self.folder / "pids.max").write_text(str(processes), encoding="ascii")
                got.add("processes")
        return got

    def remove(self) -> None:
        """Remove it and its steps. Only works once it is empty."""
        for child in self.folder.glob("step-*"):
            with contextlib.suppress(OSError):
                child.rmdir()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def create(episode: str) -> Cgroup | None:
    """Make the episode's cgroup below one's own; None where that is not allowed."""
    own = _own()
    if own is None:
        return None
    folder = own / f"proctor-{os.getpid()}-{episode[:40]}"
    try:
        folder.mkdir()
        return Cgroup(folder)
    except OSError:
        return None
