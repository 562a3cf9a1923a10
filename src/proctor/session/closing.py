"""The end of an episode: judge, close the journal, write ``verdict.json`` and the reports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proctor import __version__
from proctor.errors import RecordError
from proctor.events import AnyEvent, kinds
from proctor.findings import digest
from proctor.journal.reader import read, read_entries
from proctor.verdicts import GapNote, JournalNote, Maker, ResponseNote, Tier, Verdict, judge, not_observed, verdict_json

if TYPE_CHECKING:
    from proctor.detectors.engine import Engine
    from proctor.detectors.rules import RuleSet
    from proctor.journal.writer import Writer
    from proctor.session.outgoing import Outgoing
    from proctor.session.recorder import Recorder

__all__ = ["Finished", "close", "evidence", "write_reports", "write_whole"]


class _Spec(Protocol):
    @property
    def episode(self) -> str:
        """The episode's id."""

    @property
    def out(self) -> str:
        """The record's folder."""

    @property
    def policy_digest(self) -> str:
        """SHA-256, hex."""


class Finished(Protocol):
    """What is judged: an episode that was supervised, or a watch."""

    recorder: Recorder
    writer: Writer
    engine: Engine
    rules: RuleSet
    degraded: dict[str, str]
    outgoing: Outgoing | None

    @property
    def spec(self) -> _Spec:
        """Where it is recorded, and by which policy it is judged."""

    @property
    def tier(self) -> Tier:
        """The kind of sandbox; ``watch`` where there is none."""

    @property
    def empty(self) -> bool:
        """Whether the process tree was seen empty."""

    @property
    def agent_status(self) -> int | None:
        """Status of the last command as os.waitstatus_to_exitcode gives it."""

    @property
    def cut_short(self) -> bool:
        """Whether a command was ended before it ended by itself."""

    def tell(self, **message: Any) -> None:
        """Say to whoever asked for it that there is a verdict."""


_WATCHED = (
    "Processes that Proctor did not start were observed through the kernel's tracepoints for a stretch of time: "
    "recorded and judged, not contained."
)


def close(supervisor: Finished) -> None:
    """Judge the finished episode (or watch) and write everything that is handed over; then tell the client.

    Raises:
        RecordError: the record, the verdict or the report could not be written.
    """
    recorder, writer = supervisor.recorder, supervisor.writer
    findings = supervisor.engine.findings()
    ended = _ended(supervisor)
    judged = judge(findings, gaps=len(recorder.gaps), empty=supervisor.empty, tier=supervisor.tier, ended=ended)
    status = supervisor.agent_status
    code = status if status is not None and status >= 0 else None
    signo = -status if status is not None and status < 0 else None
    if supervisor.outgoing is not None:
        supervisor.outgoing.last_lines()
    recorder.emit(
        kinds.Close,
        kinds.CloseData(
            verdict=judged.verdict,
            score_effect=judged.score_effect,
            findings=len(findings),
            findings_digest=digest(findings),
            agent_exit=code,
            agent_signal=signo,
            empty=supervisor.empty,
        ),
    )
    recorder.checkpoint()
    collected: dict[str, Any] = (
        {}
        if supervisor.outgoing is None
        else supervisor.outgoing.finish(supervisor.spec.episode, supervisor.writer.head)
    )
    verdict = Verdict(
        episode=supervisor.spec.episode,
        verdict=judged.verdict,
        score_effect=judged.score_effect,
        reasons=(*judged.reasons, _WATCHED) if supervisor.tier == "watch" else judged.reasons,
        tier=supervisor.tier,
        agent_exit=code,
        agent_signal=signo,
        findings=tuple(findings),
        responses=tuple(
            ResponseNote(action=r.action, finding=r.finding, limit=r.limit, reason=r.reason, event=seq)
            for seq, r in recorder.responses
        ),
        gaps=tuple(GapNote(of=gap.of, what=gap.what, event=seq) for seq, gap in recorder.gaps),
        degraded=supervisor.degraded,
        leftover=recorder.leftover,
        not_observed=not_observed(supervisor.rules.categories, findings),
        journal=JournalNote(events=writer.count, head=writer.head),
        proctor=Maker(
            version=__version__, policy_digest=supervisor.spec.policy_digest, rules_digest=supervisor.rules.digest
        ),
    )
    writer.close()
    out = Path(supervisor.spec.out)
    write_whole(out / "verdict.json", verdict_json(verdict) + b"\n")
    write_reports(out, verdict)
    supervisor.tell(op="verdict", **collected)


def write_reports(out: Path, verdict: Verdict) -> None:
    """Write a record's pages for people.

    Raises:
        RecordError: they could not be written.
    """
    from proctor.reports.page import pages  # the agent has ended: nobody waits for its import

    told, shown = pages(verdict, read_entries(out))
    write_whole(out / "report.md", told.encode("utf-8", "replace"))
    write_whole(out / "report.html", shown.encode("utf-8", "replace"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and synced.

    Raises:
        RecordError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        # "x": a link that somebody else left in a record's folder under this name is not followed.
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RecordError(f"{path}: cannot be written: {error.strerror}") from None


def evidence(directory: Path, verdict: Verdict) -> dict[int, AnyEvent]:
    """The events that the verdict's findings, responses and gaps cite, by number: at most ten of each finding."""
    wanted = {number for finding in verdict.findings for number in finding.events[:10]}
    wanted |= {note.event for note in verdict.responses} | {note.event for note in verdict.gaps}
    if not wanted:
        return {}
    last = max(wanted)
    found: dict[int, AnyEvent] = {}
    for event in read(directory):
        if event.seq in wanted:
            found[event.seq] = event
        if event.seq >= last:
            break
    return found


def _ended(supervisor: Finished) -> str | None:
    """Why the agent was ended before it ended by itself."""
    if not supervisor.cut_short:
        return None
    kills = (response.reason for _, response in supervisor.recorder.responses if response.action == "kill")
    return next(kills, "the caller closed the episode")
