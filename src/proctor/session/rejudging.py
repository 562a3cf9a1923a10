"""Judging a record again: without findings that were dismissed, or by the rules of now. Never changes the record."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import structs

from proctor import __version__
from proctor.detectors.engine import Engine
from proctor.detectors.rules import RuleSet
from proctor.errors import RecordError, UsageError
from proctor.events import Capabilities, Close, Gap, Leftover, Open, Response, kinds
from proctor.findings import Finding
from proctor.journal.addenda import Addendum, Subject, dismissed, read_addenda
from proctor.journal.reader import read
from proctor.journal.verdict_file import FILE
from proctor.journal.verification import verify
from proctor.policy.load import from_dict
from proctor.verdicts import (
    GapNote,
    JournalNote,
    Judgement,
    Maker,
    ResponseNote,
    Tier,
    Verdict,
    judge,
    not_observed,
)

__all__ = ["Record", "load_record", "rejudge", "without"]


class Record(NamedTuple):
    """A record that was verified.

    Attributes:
        verdict: that of verdict.json; None where the record was cut before there was one.
        findings_dismissed: by id, what the addenda say.
        addenda: how many there are.
        head: hash of the journal's last good line.
        gaps: how many the journal holds.
        empty: the process tree was seen empty before the record was closed.
        cut: what its end lacks; empty where it is whole.
        signed: number of the last event whose signature is good; None where none is.
    """

    directory: Path
    episode: str
    verdict: Verdict | None
    findings_dismissed: dict[str, Addendum]
    addenda: int
    events: int
    head: str
    tier: Tier
    gaps: int
    empty: bool
    cut: str
    signed: int | None


def load_record(directory: Path) -> Record:
    """Verify a record and take what judging needs out of it.

    Raises:
        UsageError: it is no record.
        RecordError: something in it is not as it was written.
    """
    checked = verify(directory)
    if checked.status == "not_a_record":
        raise UsageError(checked.summary.splitlines()[0])
    if checked.status not in {"intact", "truncated"} or checked.episode is None:
        raise RecordError(f"{directory}: {checked.summary.splitlines()[0]}; nothing is judged by it")
    gaps, empty = 0, False
    tier: Tier = "B"
    for event in read(directory, lenient=True):
        if isinstance(event, Gap):
            gaps += 1
        elif isinstance(event, Capabilities):
            tier = event.data.tier
        elif isinstance(event, Close):
            empty = event.data.empty
    verdict: Verdict | None = None
    addenda: tuple[Addendum, ...] = ()
    if checked.status == "intact":
        try:
            verdict = msgspec.json.decode((directory / FILE).read_bytes(), type=Verdict)
        except msgspec.ValidationError as error:  # in what neither the journal nor a signature covers
            raise RecordError(f"{directory / FILE}: no verdict: {error}") from None
        addenda = read_addenda(Subject(directory, checked.episode, checked.head)).items
    return Record(
        directory=directory, episode=checked.episode, verdict=verdict, findings_dismissed=dismissed(addenda),
        addenda=len(addenda), events=checked.events, head=checked.head, tier=tier, gaps=gaps, empty=empty,
        cut=checked.reason, signed=checked.last_checkpoint,
    )  # fmt: skip


def without(record: Record) -> Judgement:
    """Return the judgement by the written tables on the findings of a whole record that are not dismissed.

    Raises:
        RecordError: the record was cut before it had a verdict.
    """
    if record.verdict is None:
        raise RecordError(f"{record.directory}: the record was cut before its verdict; `proctor rejudge` judges it")
    left = [finding for finding in record.verdict.findings if finding.id not in record.findings_dismissed]
    judged = judge(left, gaps=record.gaps, empty=record.empty, tier=record.tier)
    return Judgement(judged.verdict, judged.score_effect, _reasons(judged, record))


def rejudge(record: Record, rules: RuleSet) -> Verdict:
    """Return the verdict that a record's events give under ``rules``, by its own policy; dismissals play no part.

    A record that was cut before its end is judged as one with a gap.
    """
    engine: Engine | None = None
    opened: Open | None = None
    closed: kinds.CloseData | None = None
    gaps: list[GapNote] = []
    responses: list[ResponseNote] = []
    leftover: tuple[kinds.LeftoverProcess, ...] = ()
    degraded: dict[str, str] = {}
    for event in read(record.directory, lenient=True):
        if isinstance(event, Open):
            opened = event
            engine = Engine(rules, from_dict(event.data.policy))
        if engine is not None:
            engine.feed(event)
        if isinstance(event, Gap):
            gaps.append(GapNote(of=event.data.of, what=event.data.what, event=event.seq))
        elif isinstance(event, Response):
            responses.append(_response(event))
        elif isinstance(event, Leftover):
            leftover = event.data.processes
        elif isinstance(event, Capabilities):
            degraded = event.data.degraded
        elif isinstance(event, Close):
            closed = event.data
    if engine is None or opened is None:
        raise RecordError(f"{record.directory}: the journal does not begin with its open event")
    if record.verdict is None:
        gaps.append(GapNote(of="journal", what="the record ends before the episode did", event=record.events))
    findings: tuple[Finding, ...] = engine.findings()
    judged = judge(findings, gaps=len(gaps), empty=record.empty, tier=record.tier)
    made = Verdict(
        episode=record.episode, verdict=judged.verdict, score_effect=judged.score_effect,
        reasons=_reasons(judged, record),
        tier=record.tier, agent_exit=closed.agent_exit if closed is not None else None,
        agent_signal=closed.agent_signal if closed is not None else None, findings=findings,
        responses=tuple(responses), gaps=tuple(gaps), degraded=degraded, leftover=leftover,
        not_observed=not_observed(rules.categories, findings),
        journal=JournalNote(events=record.events, head=record.head),
        proctor=Maker(version=__version__, policy_digest=opened.data.policy_digest, rules_digest=rules.digest),
    )  # fmt: skip
    # What the machine turned out to lack after the sandbox stood is in verdict.json alone.
    return made if record.verdict is None else structs.replace(made, degraded=record.verdict.degraded)


def _reasons(judged: Judgement, record: Record) -> tuple[str, ...]:
    """The tables' two, and the recorded third, which no rule changes: that Proctor ended the agent."""
    return (*judged.reasons, *(record.verdict.reasons[2:] if record.verdict is not None else ()))


def _response(event: Response) -> ResponseNote:
    data = event.data
    return ResponseNote(
        action=data.action, finding=data.finding, limit=data.limit, reason=data.reason, event=event.seq
    )  # fmt: skip
