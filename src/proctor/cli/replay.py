"""``proctor replay``: 0 where an intact record's events give the findings that were recorded, else 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from proctor.detectors.compile import load
from proctor.detectors.engine import Engine
from proctor.errors import RecordError, UsageError
from proctor.events import Close, Open
from proctor.events.text import inert_json
from proctor.findings import canonical, digest
from proctor.journal.reader import read
from proctor.journal.verification import Verification, verify
from proctor.policy.load import from_dict
from proctor.session.spec import cache_folder, folders

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Feed a record's events to the detectors again, as far as the record is what its writer left."""
    found = verify(Path(arguments.dir))
    if found.status == "not_a_record":
        raise UsageError(found.summary)
    rules = load([Path(folder) for folder in folders(arguments.rules)], cache_folder())
    engine: Engine | None = None
    opened: Open | None = None
    closed: Close | None = None
    for event in read(Path(arguments.dir), lenient=True):
        if isinstance(event, Open):
            opened = event
            engine = Engine(rules, from_dict(event.data.policy))
        if engine is None:
            raise RecordError(f"{arguments.dir}: the journal does not begin with its open event")
        engine.feed(event)
        if isinstance(event, Close):
            closed = event
    if engine is None or opened is None:
        raise RecordError(f"{arguments.dir}: the journal holds no event that can be read ({_fault(found)})")
    findings = engine.findings()
    if arguments.json:
        sys.stdout.write(inert_json(canonical(findings).decode()) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding.rule}  {finding.outcome}  {finding.authorisation}  {finding.summary}\n")
    if opened.data.rules_digest != rules.digest:
        sys.stderr.write("proctor: these are not the rules that the episode was judged by; findings may differ\n")
    if found.status != "intact":
        line = f"; reading stopped before line {found.line}" if found.line is not None and closed is None else ""
        sys.stderr.write(f"proctor: {_fault(found)}{line}\n")
    if closed is None:
        sys.stderr.write("proctor: the close event was not reached: there is nothing to compare the findings with\n")
        return 1
    same = digest(findings) == closed.data.findings_digest
    number = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}"
    sys.stderr.write(
        f"proctor: {number}, {'the same as' if same else 'NOT the same as'} the journal's close event has\n"
    )
    return 0 if same and found.status == "intact" else 1


def _fault(found: Verification) -> str:
    where = "" if found.line is None else f" at line {found.line}"
    return f"the record is {found.status}{where}: {found.reason}"
