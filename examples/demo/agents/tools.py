"""What the demo's agents share: a tool call is a step, marked at its beginning and its end."""

from __future__ import annotations

import subprocess
import sys


def call(step: str, *argv: str) -> str:
    """Run a command as the step ``step``; return what it printed."""
    subprocess.run(["proctor", "mark", "begin", step], check=True)
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    subprocess.run(["proctor", "mark", "end", step], check=True)
    print(f"{step}: {' '.join(argv)[:60]!r} ended with {done.returncode}", file=sys.stderr)
    return done.stdout
