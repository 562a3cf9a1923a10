"""``proctor report``: the page of a record, made again from the record alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from proctor.cli.record import put, verdict_of
from proctor.journal.reader import read_entries
from proctor.reports.page import html

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Write the page. 0 once it is there."""
    directory = Path(arguments.dir)
    page = html(verdict_of(directory), read_entries(directory))
    put(arguments.out if arguments.out is not None else str(directory / "report.html"), page)
    return 0
