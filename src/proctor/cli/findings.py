"""``proctor findings``: a record's findings, dismissals of them, and the verdict that follows: 0, 10, 11 or 12."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from proctor.clock import SystemClock
from proctor.errors import RecordError, UsageError
from proctor.events.text import inert_json, printable
from proctor.findings import Finding
from proctor.journal.addenda import Addendum, Operation, Subject, append
from proctor.journal.keys import fingerprint, load_or_make
from proctor.reports.sentences import sentence
from proctor.session.rejudging import Record, load_record, without
from proctor.session.spec import state_folder
from proctor.verdicts import EXIT_STATUS, Judgement, Verdict, weight

__all__ = ["run"]

MAX_REASON = 1000
MAX_NAME = 200


def run(arguments: argparse.Namespace) -> int:
    """List the findings; before that, add the dismissal or its undoing that is asked for."""
    directory = Path(arguments.dir)
    record = load_record(directory)
    verdict = _whole(record)
    if arguments.dismiss is not None or arguments.restore is not None:
        _add(arguments, record, verdict)
        record = load_record(directory)
    elif arguments.reason is not None or arguments.by is not None:
        raise UsageError("findings: --reason and --by go with --dismiss or --restore")
    judged = without(record)
    if arguments.json:
        sys.stdout.write(_json(record, verdict, judged) + "\n")
    else:
        for line in _lines(record, verdict, judged):
            sys.stdout.write(line + "\n")
    return EXIT_STATUS[judged.verdict]


def _whole(record: Record) -> Verdict:
    if record.verdict is None:
        raise RecordError(f"{record.directory}: the record was cut before its verdict; `proctor rejudge` judges it")
    return record.verdict


def _add(arguments: argparse.Namespace, record: Record, verdict: Verdict) -> None:
    op: Operation = "dismiss" if arguments.dismiss is not None else "restore"
    finding = arguments.dismiss if op == "dismiss" else arguments.restore
    if all(one.id != finding for one in verdict.findings):
        raise UsageError(
            f"findings: {finding!r}: the record has no such finding; `proctor findings DIR` lists their ids"
        )
    if op == "dismiss" and finding in record.findings_dismissed:
        raise UsageError(f"findings: {finding!r} is dismissed already; --restore it first")
    if op == "restore" and finding not in record.findings_dismissed:
        raise UsageError(f"findings: {finding!r} is not dismissed")
    if op == "dismiss" and not (arguments.reason or "").strip():
        raise UsageError("findings: --dismiss needs --reason: why this is no matter, in a sentence")
    reason = _text("--reason", arguments.reason or "", MAX_REASON)
    by = _text("--by", arguments.by if arguments.by is not None else _user(), MAX_NAME)
    key = load_or_make(state_folder() / "keys")
    of = Subject(record.directory, record.episode, record.head)
    append(of, key, op=op, finding=finding, reason=reason, by=by, t_wall_ns=SystemClock().wall_ns())


def _text(option: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise UsageError(f"findings: {option}: {len(text)} characters; at most {limit} are allowed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"findings: {option}: it is not UTF-8") from None
    return text


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _lines(record: Record, verdict: Verdict, judged: Judgement) -> Iterator[str]:
    for finding in verdict.findings:
        by = record.findings_dismissed.get(finding.id)
        counts = f"counts as {weight(finding)}" if by is None else "dismissed"
        yield f"{printable(finding.id)}  {finding.level}, {finding.outcome}, {finding.authorisation}, {counts}"
        yield f"  {sentence(finding)}"
        if by is not None:
            yield f"  dismissed {_told(by)}"
    yield f"recorded: {verdict.verdict} (score: {verdict.score_effect})"
    if record.findings_dismissed:
        number = len(record.findings_dismissed)
        yield f"with {number} dismissed: {judged.verdict} (score: {judged.score_effect}), by the same tables"
        yield from (f"  {printable(reason, 400)}" for reason in judged.reasons)


def _told(one: Addendum) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.t_wall_ns // 10**9))
    key = fingerprint(bytes.fromhex(one.key))
    return f"by {printable(one.by)} at {when}, key {key}: {printable(one.reason, MAX_REASON)}"


def _json(record: Record, verdict: Verdict, judged: Judgement) -> str:
    import msgspec  # this form only

    def told(finding: Finding) -> dict[str, object]:
        return {"finding": finding, "weight": weight(finding), "dismissed": record.findings_dismissed.get(finding.id)}

    made = {
        "episode": verdict.episode,
        "findings": [told(finding) for finding in verdict.findings],
        "recorded": {"verdict": verdict.verdict, "score_effect": verdict.score_effect, "reasons": verdict.reasons},
        "now": {"verdict": judged.verdict, "score_effect": judged.score_effect, "reasons": judged.reasons},
    }
    return inert_json(msgspec.json.encode(made).decode())
