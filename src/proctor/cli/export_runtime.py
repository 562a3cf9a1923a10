"""``proctor export-runtime``: a folder to mount read-only into a container. 0 once it is there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from proctor.events.text import printable
from proctor.runtime import export

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Write the folder, and say how to start what is in it."""
    directory = Path(arguments.dir).resolve()
    about = export(directory, python=arguments.python)
    what = f"with CPython {about['python']['version']}" if arguments.python else "without an interpreter"
    sys.stdout.write(
        f"{printable(str(directory), 300)}: {about['count']} files, {about['bytes'] / 1e6:.1f} MB, {what}; "
        "`proctor` in it starts it\n"
    )
    return 0
