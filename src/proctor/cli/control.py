"""``proctor ps``, ``thaw`` and ``kill``: reach running episodes from another terminal."""

from __future__ import annotations

import argparse
import sys

from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.session.control import ask, running

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """List the running episodes, or send one of them a request."""
    if arguments.action == "ps":
        rows = [("EPISODE", "STATE", "PROCESSES", "EVENTS", "FINDINGS", "COMMAND")]
        rows += [
            (
                one["episode"],
                one["state"],
                str(one["processes"]),
                str(one["events"]),
                str(one["findings"]),
                printable(" ".join(one["command"]), 60),
            )
            for one in running()
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            sys.stdout.write(
                "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n"
            )
        return 0
    answer = ask(arguments.episode, {"op": arguments.action})
    if not answer["ok"]:
        raise UsageError(f"episode {arguments.episode!r}: {answer['error']}")
    return 0
