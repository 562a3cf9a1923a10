"""``proctor export``: a record's findings in the form that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path

from proctor.cli.record import put, verdict_of
from proctor.journal.reader import read
from proctor.reports.junit import junit
from proctor.reports.markdown import cited
from proctor.reports.ocsf import ocsf
from proctor.reports.sarif import sarif
from proctor.reports.story import gather

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Write the findings. 0 once they are there, whatever they are."""
    directory = Path(arguments.dir)
    verdict = verdict_of(directory)
    form = {"ocsf": ocsf, "junit": junit, "sarif": sarif}[arguments.format]
    put(arguments.out, form(verdict, gather(read(directory), cited(verdict))))
    return 0
