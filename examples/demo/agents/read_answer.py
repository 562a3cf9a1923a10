"""Looks for a solution before it works one out."""

from __future__ import annotations

from tools import call

call("call_1", "ls", "-R")
print(call("call_2", "cat", "solutions/middle.py"), end="")
