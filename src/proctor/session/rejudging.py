"""Judging a record again: without findings that were dismissed, or by the rules of now. Never changes the record."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import structs

from proctor import __version__
from proctor.detectors.engine import Engine
from proctor.detectors.rules import RuleSet
from proctor.errors import ProctorError, RecordError, UsageError
from proctor.events import Capabilities, Close, Gap, Leftover, Open, Response, kinds
from proctor.events.text import printable
from proctor.findings import Finding, digest
from proctor.journal.addenda import Addendum, Subject, dismissed, read_addenda
from proctor.journal.reader import read
from proctor.journal.receipt import Receipt
from proctor.journal.verdict_file import FILE
from proctor.journal.verification import verify
from proctor.policy.load import from_dict
from proctor.session.closing import write_reports, write_whole
from proctor.verdicts import (
    GapNote,
    JournalNote,
    Judgement,
    Maker,
    ResponseNote,
    Tier,
    Verdict,
    VerdictName,
    judge,
    not_observed,
    verdict_json,
)

__all__ = ["Record", "judge_received", "load_record", "rejudge", "without"]


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
        closed: the journal has its end.
        ended: why Proctor ended the agent, as far as the journal tells; only where there is no verdict.json to say it.
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
    closed: bool
    ended: str | None


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
    kill: str | None = None
    killed = False
    for event in read(directory, lenient=True):
        if isinstance(event, Gap):
            gaps += 1
        elif isinstance(event, Capabilities):
            tier = event.data.tier
        elif isinstance(event, Response) and event.data.action == "kill":
            kill = event.data.reason if kill is None else kill
        elif isinstance(event, Close):
            empty, killed = event.data.empty, event.data.agent_signal == signal.SIGKILL
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
        closed=checked.closed, ended=kill if verdict is None and killed else None,
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

    A record whose journal was cut before its end is judged as one with a gap.
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
    if not record.closed:
        gaps.append(GapNote(of="journal", what="the record ends before the episode did", event=record.events))
    findings: tuple[Finding, ...] = engine.findings()
    judged = judge(findings, gaps=len(gaps), empty=record.empty, tier=record.tier, ended=record.ended)
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


def judge_received(directory: Path, received: Receipt, rules: RuleSet) -> tuple[VerdictName, str]:
    """Judge what a collector received, by ``rules``; return the verdict, and what there is to say about it.

    Where the journal came whole and says of itself what its events give, ``verdict.json`` and the pages for people are
    written, as the sender's own Proctor would have: a sender's verdict is never taken over, only confirmed. Else the
    verdict is ``incomplete``, or what the findings make of it, and no verdict.json is there.
    """
    try:
        record = load_record(directory)
        made = rejudge(record, rules)
        events = read(directory, lenient=True)
        opened = next(events, None)
        closed = next((event for event in events if isinstance(event, Close)), None)
    except (ProctorError, ValueError, LookupError, RecursionError) as error:
        return "incomplete", f"it cannot be judged: {printable(str(error), 300)}"
    if received.state != "complete" or closed is None or not isinstance(opened, Open):
        return _at_best(made), ""
    said = closed.data
    if said.findings_digest != digest(made.findings):
        other = "" if opened.data.rules_digest == rules.digest else ", under other rules than it names (see --rules)"
        return _at_best(made), f"its events do not give the findings that it states{other}"
    if (said.verdict, said.score_effect) != (made.verdict, made.score_effect):
        return _at_best(made), f"it states {said.verdict}, but its events give {made.verdict}"
    # What the journal says of its maker: verdict.json has to agree with it, and its findings have just been confirmed.
    maker = Maker(
        version=opened.data.proctor, policy_digest=opened.data.policy_digest, rules_digest=opened.data.rules_digest
    )
    made = structs.replace(made, proctor=maker)
    write_whole(directory / FILE, verdict_json(made) + b"\n")
    write_reports(directory, made)
    found = verify(directory)
    if found.status != "intact":
        return "incomplete", found.reason
    return made.verdict, ""


def _at_best(made: Verdict) -> VerdictName:
    return made.verdict if made.verdict == "violation" else "incomplete"
