"""``proctor report``: the page of a record, made again from the record alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from proctor.cli.record import put, verdict_of
from proctor.detectors.compile import load
from proctor.errors import RecordError, UsageError
from proctor.journal.reader import read_entries
from proctor.journal.verification import verify
from proctor.reports.page import Cut, html
from proctor.session.rejudging import load_record, rejudge
from proctor.session.spec import cache_folder, folders

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Write the page. 0 once it is there."""
    directory = Path(arguments.dir)
    if verify(directory).status == "truncated":
        page = _of_cut(directory, arguments.rules)
    else:
        page = html(verdict_of(directory), read_entries(directory))
    put(arguments.out if arguments.out is not None else str(directory / "report.html"), page)
    return 0


def _of_cut(directory: Path, given: list[str]) -> str:
    """The page of a record without a verdict of its own: what its events give under the rules of now."""
    try:
        record = load_record(directory)
        verdict = rejudge(record, load([Path(folder) for folder in folders(given)], cache_folder()))
    except RecordError as error:
        raise UsageError(str(error)) from None
    cut = Cut(record.cut, record.events, record.signed, record.closed)
    return html(verdict, read_entries(directory, lenient=True), cut)
