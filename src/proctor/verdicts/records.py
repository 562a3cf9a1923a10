"""The verdict as a record: the form of ``verdict.json``."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from proctor.events.kinds import LeftoverProcess
from proctor.findings import Finding
from proctor.verdicts.tables import ScoreEffect, Tier, VerdictName

__all__ = [
    "EXIT_STATUS", "GapNote", "JournalNote", "Maker", "ResponseNote", "Verdict", "exit_status", "verdict_json",
]  # fmt: skip

EXIT_STATUS: dict[VerdictName, int] = {"clean": 0, "violation": 10, "suspect": 11, "incomplete": 12}
"""Exit status of ``proctor run``; 2 is wrong use, 1 is Proctor's own failure and goes before all of these."""


class ResponseNote(Struct, frozen=True, kw_only=True):
    """A response, from the event of that number."""

    action: str
    finding: str | None = None
    limit: str | None = None
    reason: str = ""
    event: int


class GapNote(Struct, frozen=True, kw_only=True):
    """Telemetry known to be missing: of which sensor, what, from the event of that number."""

    of: str
    what: str
    event: int


class JournalNote(Struct, frozen=True, kw_only=True):
    """The journal the verdict was formed from: how many events, and the hash of its last line, hex."""

    events: int
    head: str


class Maker(Struct, frozen=True, kw_only=True):
    """Which Proctor judged, by which policy and rules (SHA-256, hex)."""

    version: str
    policy_digest: str
    rules_digest: str


class Verdict(Struct, frozen=True, kw_only=True):
    """The judgement on an episode, as scripts read it.

    Attributes:
        schema: version of this form.
        agent_exit, agent_signal: how the last command ended: its status, or the signal that ended it (SIGKILL where
            Proctor did); both None where none ran.
        reasons: one sentence for the verdict and one for the score effect, from the tables; a third where Proctor
            ended the agent before it ended by itself.
        degraded: limits and sensors that this machine could not give, and what is missing.
        leftover: processes that outlived the agent and were ended.
        not_observed: categories that were looked for and have no finding.
    """

    schema: int = 1
    episode: str
    verdict: VerdictName
    score_effect: ScoreEffect
    reasons: tuple[str, ...] = ()
    tier: Tier
    agent_exit: int | None = None
    agent_signal: int | None = None
    findings: tuple[Finding, ...] = ()
    responses: tuple[ResponseNote, ...] = ()
    gaps: tuple[GapNote, ...] = ()
    degraded: dict[str, str] = {}
    leftover: tuple[LeftoverProcess, ...] = ()
    not_observed: tuple[str, ...] = ()
    journal: JournalNote
    proctor: Maker


_ENCODER = msgspec.json.Encoder(order="sorted")


def verdict_json(verdict: Verdict) -> bytes:
    """Return ``verdict`` as one line of JSON without its newline, keys sorted.

    The findings in it are, byte for byte, what :func:`proctor.findings.canonical` gives and ``close`` has the digest
    of.
    """
    return _ENCODER.encode(verdict)


def exit_status(verdict: Verdict) -> int:
    """Return the exit status of ``proctor run`` for ``verdict``: 0 clean, 10 violation, 11 suspect, 12 incomplete."""
    return EXIT_STATUS[verdict.verdict]
