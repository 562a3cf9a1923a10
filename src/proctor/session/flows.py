"""Which process holds the inner end of a connection to the gateway."""

from __future__ import annotations

import os

from proctor.sensors.processes import Proc, Processes

__all__ = ["flow_owner"]


def _inode(pid: int, port: int) -> str | None:
    """The socket whose local port is ``port``, in the network of process ``pid`` (/proc/PID/net/tcp, proc_pid_net(5))."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                lines = [line.split() for line in file][1:]
        except OSError:
            return None
        for fields in lines:
            if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
                return fields[9]
    return None


def flow_owner(processes: Processes, port: int) -> Proc | None:
    """Return the process that connected from ``port``; None where it ended meanwhile."""
    known = processes.all()
    inode = next((found for proc in known[:3] if (found := _inode(proc.pid, port)) is not None), None)
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
