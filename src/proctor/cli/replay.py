"""``proctor replay``: 0 where a record's events give the findings that were recorded, 1 where they do not."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from proctor.detectors.compile import load
from proctor.detectors.engine import Engine
from proctor.errors import RecordError
from proctor.events import Close, Open
from proctor.events.text import inert_json
from proctor.findings import canonical, digest
from proctor.journal.reader import read
from proctor.policy.load import from_dict
from proctor.session.spec import cache_folder, folders

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Feed a record's events to the detectors again."""
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
        raise RecordError(f"{arguments.dir}: the journal holds no event")
    findings = engine.findings()
    if arguments.json:
        sys.stdout.write(inert_json(canonical(findings).decode()) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding.rule}  {finding.outcome}  {finding.authorisation}  {finding.summary}\n")
    if opened.data.rules_digest != rules.digest:
        sys.stderr.write("proctor: these are not the rules that the episode was judged by; findings may differ\n")
    if closed is None:
        sys.stderr.write("proctor: the record has no close event: there is nothing to compare with\n")
        return 1
    same = digest(findings) == closed.data.findings_digest
    sys.stderr.write(
        f"proctor: {len(findings)} findings, {'the same as' if same else 'NOT the same as'} those recorded\n"
    )
    return 0 if same else 1
