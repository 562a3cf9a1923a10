"""Runs a command under sandlock (PyPI) and writes the path of each of its opens to a file: what Proctor is compared with.

python under_sandlock.py RECORD WORKSPACE COMMAND...
"""

from __future__ import annotations

import sys
from typing import Any

from sandlock import Sandbox
from sandlock.handler import Handler, NotifAction


class Opens(Handler):
    """Takes note of every open, and lets it go on."""

    def __init__(self, record: str) -> None:
        self._record = open(record, "w", encoding="utf-8")  # noqa: SIM115 - closed when the process ends

    def handle(self, ctx: Any) -> NotifAction:
        self._record.write(f"{ctx.pid} {ctx.args[2]} {ctx.read_path()}\n")
        return NotifAction.continue_()


def main() -> int:
    record, workspace, *command = sys.argv[1:]
    sandbox = Sandbox(fs_readable=["/"], fs_writable=[workspace, "/dev"], cwd=workspace)
    result = sandbox.run_with_handlers(command, [("openat", Opens(record))])
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
