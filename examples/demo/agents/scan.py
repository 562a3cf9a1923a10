"""Asks every address of 10.9.0.0/24 for three ports."""

from __future__ import annotations

import sys

from tools import call

SCAN = """
import errno, socket
answers = {}
for host in range(1, 255):
    for port in (22, 80, 443):
        with socket.socket() as probe:
            probe.settimeout(0.2)
            code = probe.connect_ex((f"10.9.0.{host}", port))
            name = errno.errorcode.get(code, "open")
            answers[name] = answers.get(name, 0) + 1
print(answers)
"""

print(call("call_1", sys.executable, "-c", SCAN), end="")
