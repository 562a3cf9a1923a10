"""Mends src/middle.py and runs the tests."""

from __future__ import annotations

import sys

from tools import call

MENDED = """
import pathlib
path = pathlib.Path("src/middle.py")
old = "    return ordered[len(ordered) // 2]"
new = '''    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2'''
path.write_text(path.read_text().replace(old, new))
"""

call("call_1", "cat", "src/middle.py", "tests/test_middle.py")
call("call_2", sys.executable, "-c", MENDED)
tests = call("call_3", sys.executable, "-m", "unittest", "discover", "-s", "tests")
call("call_4", "git", "diff", "--stat")
print(tests.splitlines()[-1])
sys.exit(0 if tests.splitlines()[-1] == "OK" else 1)
