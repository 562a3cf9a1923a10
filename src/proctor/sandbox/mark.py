#!/usr/bin/env python3
"""``proctor mark begin|end|shell [ID]`` from inside a sandbox. Standard library only: it runs on the sandbox's Python.

Says to the supervisor that a step begins or ends, or that the parent process is a persistent shell whose children
belong to the step active when they start. The answer comes after the mark is recorded. Exit status: 0 recorded,
2 wrong use or not inside a sandbox.
"""

from __future__ import annotations

import os
import socket
import sys

SOCKET = os.environ.get("PROCTOR_MARK_SOCKET", "/run/proctor/mark.sock")


def mark(arguments: list[str]) -> int:
    """Send one mark; return the exit status."""
    wanted = {"begin": 2, "end": 2, "shell": 1}
    if not arguments or wanted.get(arguments[0]) != len(arguments):
        sys.stderr.write("proctor: mark: allowed is begin ID, end ID or shell\n")
        return 2
    name = arguments[1] if len(arguments) > 1 else str(os.getppid())
    line = arguments[0] + " " + name + "\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        try:
            connection.connect(SOCKET)
            connection.sendall(line.encode("utf-8", "surrogateescape"))
            answer = connection.recv(256).decode("utf-8", "replace").strip()
        except OSError as error:
            sys.stderr.write("proctor: mark: no supervisor at " + SOCKET + " (" + str(error) + ")\n")
            return 2
    if answer == "ok":
        return 0
    sys.stderr.write("proctor: mark: " + answer + "\n")
    return 2


if __name__ == "__main__":
    sys.exit(mark(sys.argv[2:] if sys.argv[1:2] == ["mark"] else ["usage"]))
