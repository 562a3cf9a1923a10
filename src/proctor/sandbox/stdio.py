"""Pass a command's standard streams through, in a process of their own.

A slow reader, a gigabyte of output or a stopped terminal then holds up the command, never the supervisor. Each stream
is digested whole and excerpted: its first and its last bytes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import threading
from dataclasses import dataclass, field

from proctor.journal.redaction import EXCERPT, MARGIN
from proctor.sandbox import linux

__all__ = ["Pipes", "Relay", "start"]

_CHUNK = 1 << 16


@dataclass(slots=True)
class Relay:
    """One relay process: its pid, and the channel on which it reports."""

    pid: int
    reports: socket.socket


@dataclass(slots=True)
class _Stream:
    name: str
    source: int
    sink: int
    total: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pump(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self.source, _CHUNK):
                with self.lock:
                    self.total += len(chunk)
                    self.digest.update(chunk)
                    if len(self.head) < EXCERPT + MARGIN:
                        self.head += chunk[: EXCERPT + MARGIN - len(self.head)]
                    self.tail = (
                        (self.tail + chunk)[-(EXCERPT + MARGIN) :]
                        if len(chunk) < EXCERPT + MARGIN
                        else bytearray(chunk[-(EXCERPT + MARGIN) :])
                    )
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self.sink, view) :]
        # The command sees what the reader did: a closed pipe, or the end of its input.
        for fd in (self.source, self.sink):
            with contextlib.suppress(OSError):
                os.close(fd)

    def report(self) -> dict[str, str | int]:
        with self.lock:
            return {
                "stream": self.name,
                "bytes": self.total,
                "digest": self.digest.hexdigest(),
                "head": base64.b64encode(self.head).decode(),
                "tail": base64.b64encode(self.tail).decode(),
            }


class Pipes:
    """Three new pipes. ``command``: the command's ends (stdin, stdout, stderr); ``relay``: the relay's."""

    def __init__(self) -> None:
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        self.command = (in_read, out_write, err_write)
        self.relay = (in_write, out_read, err_read)


def start(pipes: Pipes, stdin: int, stdout: int, stderr: int) -> Relay:
    """Fork a relay between the given descriptors and ``pipes``, whose command's ends the caller has closed.

    The relay ends when both outputs have ended.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    to_stdin, from_stdout, from_stderr = pipes.relay
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            _relay(theirs, (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr))
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    for fd in pipes.relay:
        os.close(fd)
    return Relay(pid, ours)


def _relay(reports: socket.socket, stdin: tuple[int, int], stdout: tuple[int, int], stderr: tuple[int, int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    linux.set_name("proctor-stdio")
    kept = sorted({reports.fileno(), *stdin, *stdout, *stderr})
    low = 3
    for fd in kept:
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    linux.close_from(max(low, 3))
    # One descriptor may serve two streams (2>&1): each stream closes its own.
    streams = [
        _Stream("stdin", os.dup(stdin[0]), stdin[1]),
        _Stream("stdout", stdout[0], os.dup(stdout[1])),
        _Stream("stderr", stderr[0], os.dup(stderr[1])),
    ]
    threads = [threading.Thread(target=stream.pump, daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    reports.sendall(json.dumps([stream.report() for stream in streams]).encode())
    reports.close()
