"""The finding as a record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

__all__ = ["Authorisation", "Authority", "Finding", "Grade", "Level", "Outcome", "canonical", "digest"]

Grade = Literal["observed", "corroborated", "recorded", "stated", "inferred"]
"""How it is known. ``observed``: the kernel or gateway saw it. ``corroborated``: two independent sources. ``recorded``:
a harness log or tool output. ``stated``: the model said so. ``inferred``: concluded from other facts."""

Outcome = Literal["attempted", "blocked", "succeeded", "unknown"]

Authorisation = Literal["authorised", "forbidden", "unaddressed"]
"""``authorised``: an ``[[authorise]]`` entry covers it. ``forbidden``: the policy names it (a protected or hidden
path). ``unaddressed``: the policy says nothing."""

Level = Literal["informational", "low", "medium", "high", "critical"]
"""Sigma's levels. ``informational`` is an observation and never moves a verdict; low and medium make an episode
``suspect``; high and critical make it a ``violation``."""


class Authority(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The ``[[authorise]]`` entry that covers a finding."""

    scope: str
    reason: str
    by: str


class Finding(Struct, frozen=True, kw_only=True):
    """One conclusion with its evidence.

    Attributes:
        id: stable within the episode: the rule (with the number of its document, where its file holds several), a
            colon, and the number of the first event of the evidence.
        rule: the rule's slug, which is its file's path below ``rules``: ``grader.test_edit``.
        category: the taxonomy's slug.
        level: the rule's level.
        grade, outcome, authorisation: how surely, with what effect, allowed or not.
        authority: the entry that authorises it, where one does.
        step: the step it belongs to, None where none is known.
        summary: one sentence, no stronger than grade and outcome.
        events: numbers of the events that are the evidence, ascending, at most 100.
        count: how many events there were in all.
        targets: what it was done to (paths, addresses), sorted, at most 20.
    """

    id: str
    rule: str
    category: str
    level: Level
    grade: Grade
    outcome: Outcome
    authorisation: Authorisation
    authority: Authority | None = None
    step: str | None = None
    summary: str
    events: tuple[int, ...]
    count: int = 1
    targets: tuple[str, ...] = ()


_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(findings: Sequence[Finding]) -> bytes:
    """Return the findings as canonical JSON: keys sorted, no white space, in the order given."""
    return _ENCODER.encode(list(findings))


def digest(findings: Sequence[Finding]) -> str:
    """Return SHA-256 of :func:`canonical`, hex; ``close`` carries it so that ``verdict.json`` can be checked."""
    return hashlib.sha256(canonical(findings)).hexdigest()
