"""The judgement on an episode: pure, by the written tables of :mod:`proctor.verdicts.tables`."""

from __future__ import annotations

from proctor.verdicts.judge import Judgement, judge, not_observed, weight
from proctor.verdicts.records import (
    EXIT_STATUS,
    GapNote,
    JournalNote,
    Maker,
    ResponseNote,
    Verdict,
    exit_status,
    verdict_json,
)
from proctor.verdicts.tables import ScoreEffect, Tier, VerdictName, Weight

__all__ = [
    "EXIT_STATUS",
    "GapNote",
    "JournalNote",
    "Judgement",
    "Maker",
    "ResponseNote",
    "ScoreEffect",
    "Tier",
    "Verdict",
    "VerdictName",
    "Weight",
    "exit_status",
    "judge",
    "not_observed",
    "verdict_json",
    "weight",
]
