"""``proctor rejudge``: the verdict of a record under the rules of now, beside the recorded one: 0, 10, 11 or 12."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from proctor.detectors.compile import load
from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.findings import Finding
from proctor.session.closing import write_whole
from proctor.session.rejudging import Record, load_record, rejudge
from proctor.session.spec import cache_folder, folders
from proctor.verdicts import Verdict, exit_status, verdict_json, weight

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Judge again, print both, and write the new verdict where it is asked for."""
    out = _outside(arguments.out, Path(arguments.dir)) if arguments.out is not None else None
    record = load_record(Path(arguments.dir))
    verdict = rejudge(record, load([Path(folder) for folder in folders(arguments.rules)], cache_folder()))
    for line in _lines(record, verdict):
        sys.stdout.write(line + "\n")
    if out is not None:
        write_whole(out, verdict_json(verdict) + b"\n")
    return exit_status(verdict)


def _outside(given: str, record: Path) -> Path:
    out = Path(given)
    folder = out.parent.resolve()
    if folder == record.resolve() or record.resolve() in folder.parents:
        raise UsageError(f"rejudge: --out {given}: lies in the record, which is never changed; choose a file outside")
    if os.path.lexists(out):
        raise UsageError(f"rejudge: --out {given}: exists already; choose a new file")
    if not folder.is_dir():
        raise UsageError(f"rejudge: --out {given}: no such folder")
    return folder / out.name


def _lines(record: Record, now: Verdict) -> Iterator[str]:
    then = record.verdict
    yield f"{'':<10}{'recorded':<20}now"
    rows = [
        ("verdict", then.verdict if then is not None else "none: cut", now.verdict),
        ("score", then.score_effect if then is not None else "-", now.score_effect),
        ("findings", str(len(then.findings)) if then is not None else "-", str(len(now.findings))),
        ("rules", then.proctor.rules_digest[:16] if then is not None else "-", now.proctor.rules_digest[:16]),
        ("proctor", printable(then.proctor.version, 18) if then is not None else "-", now.proctor.version),
    ]
    for label, old, new in rows:
        yield f"{label:<10}{old:<20}{new}"
    before = {finding.id: finding for finding in then.findings} if then is not None else {}
    after = {finding.id: finding for finding in now.findings}
    for ident in sorted(before.keys() | after.keys()):
        old_one, new_one = before.get(ident), after.get(ident)
        if new_one is None and old_one is not None:
            yield f"gone     {_told(old_one)}"
        elif new_one is not None and old_one is None:
            yield f"new      {_told(new_one)}"
        elif new_one is not None:
            yield f"{'same   ' if new_one == old_one else 'changed'}  {_told(new_one)}"
    yield from (f"why      {printable(reason, 400)}" for reason in now.reasons)
    if then is None:
        yield "The record was cut before its verdict; it is judged as one with a gap."
    if record.findings_dismissed:
        number = len(record.findings_dismissed)
        yield f"{number} dismissed: dismissals are of the recorded verdict, and play no part here."


def _told(finding: Finding) -> str:
    return f"{printable(finding.id)}  {finding.level}, {finding.outcome}, counts as {weight(finding)}"
