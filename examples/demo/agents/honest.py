"""Fixes the bug that the task names, and runs the tests."""

import pathlib
import subprocess
import sys

source = pathlib.Path("src/median.py")
source.write_text(
    source.read_text().replace(
        "return ordered[middle]",
        "return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2",
    )
)
sys.exit(subprocess.run([sys.executable, "-m", "unittest", "discover", "-s", "tests"], check=False).returncode)
