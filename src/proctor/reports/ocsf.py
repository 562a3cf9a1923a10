"""OCSF Detection Findings (class 2004, category 2) with the Security Control profile, one event a line, for a SIEM.

Names and numbers are those of the OCSF schema 1.4.0 (schema.ocsf.io: detection_finding, finding_info, analytic,
evidences, security_control).
"""

from __future__ import annotations

from typing import Any

import msgspec

from proctor.events import kinds
from proctor.events.text import printable
from proctor.findings import Finding
from proctor.reports.evidence import describe
from proctor.reports.sentences import by_weight, sentence
from proctor.reports.story import Story
from proctor.verdicts import Verdict, weight

__all__ = ["ocsf"]

VERSION = "1.4.0"
_SEVERITY = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_DISPOSITION = {"blocked": (2, 2), "succeeded": (1, 1), "attempted": (0, 17), "unknown": (0, 0)}
"""By outcome: action (0 unknown, 1 allowed, 2 denied) and disposition (0 unknown, 1 allowed, 2 blocked, 17 logged)."""
_CONFIDENCE = {"corroborated": 3, "observed": 3, "recorded": 2, "stated": 1, "inferred": 1}


def ocsf(verdict: Verdict, story: Story) -> str:
    """Return JSON Lines: an event for each finding, and one for an ``incomplete`` verdict, so that it is not silent.

    An authorised finding is Informational, its status Suppressed, and ``is_alert`` false, as that of any finding that
    does not count. ``time`` is the end of the episode, when the finding was final.
    """
    events = [_finding(finding, verdict, story) for finding in by_weight(verdict.findings)]
    if verdict.verdict == "incomplete":
        events.append(_incomplete(verdict, story))
    return "".join(msgspec.json.encode(event).decode() + "\n" for event in events)


def _incomplete(verdict: Verdict, story: Story) -> dict[str, Any]:
    why = " ".join(verdict.reasons[:1])
    about = {
        "uid": printable(f"{verdict.episode}:incomplete", 300),
        "title": "The record is incomplete",
        "desc": printable(why, 1000),
        "types": ["incomplete"],
    }
    gaps = [
        {"data": {"of": printable(gap.of, 80), "what": printable(gap.what, 300), "line": gap.event}}
        for gap in verdict.gaps[:50]
    ]
    event = _event(verdict, story, severity=0, status=1, message=why, alert=True)
    return event | {"finding_info": about, "evidences": gaps}


def _milliseconds(nanoseconds: int) -> int:
    return nanoseconds // 10**6


def _end(story: Story) -> int:
    if story.opened is None or story.start_mono_ns is None or story.end_mono_ns is None:
        return 0
    return _milliseconds(story.opened.t_wall_ns + story.end_mono_ns - story.start_mono_ns)


def _event(verdict: Verdict, story: Story, *, severity: int, status: int, message: str, alert: bool) -> dict[str, Any]:
    return {
        "activity_id": 1,  # Create
        "category_uid": 2,
        "class_uid": 2004,
        "type_uid": 2004 * 100 + 1,
        "time": _end(story),
        "severity_id": severity,
        "status_id": status,
        "is_alert": alert,
        "message": printable(message, 1000),
        "metadata": {
            "version": VERSION,
            "profiles": ["security_control"],
            "product": {
                "name": "Proctor",
                "vendor_name": "The Proctor authors",
                "version": printable(verdict.proctor.version, 80),
            },
            "correlation_uid": printable(verdict.episode, 200),
        },
        "unmapped": {
            "verdict": verdict.verdict, "score_effect": verdict.score_effect, "tier": verdict.tier,
            "journal_head": printable(verdict.journal.head, 100),
        },
    }  # fmt: skip


def _finding(finding: Finding, verdict: Verdict, story: Story) -> dict[str, Any]:
    weighs = weight(finding)
    authorised = finding.authorisation == "authorised"
    told = sentence(finding, evidence=story.cited(finding))
    severity = 1 if weighs == "nothing" else _SEVERITY[finding.level]
    event = _event(
        verdict, story, severity=severity, status=3 if authorised else 1, message=told, alert=weighs != "nothing"
    )
    found = story.cited(finding)
    times = [_milliseconds(one.t_wall_ns) for one in found]
    seen = {"first_seen_time": min(times), "last_seen_time": max(times)} if times else {}
    action, disposition = _DISPOSITION[finding.outcome]
    event |= {
        "action_id": action,
        "disposition_id": disposition,
        "confidence_id": _CONFIDENCE[finding.grade],
        "finding_info": {
            "uid": printable(f"{verdict.episode}:{finding.id}", 400),
            "title": printable(finding.category, 100),
            "desc": printable(told, 1000),
            "types": [printable(finding.category, 100)],
            "analytic": {"type_id": 1, "uid": printable(finding.rule, 200), "name": printable(finding.rule, 200)},
            "created_time": event["time"],
            **seen,
        },
        "evidences": [_evidence(one) for one in found],
    }
    event["unmapped"] |= {
        "grade": finding.grade, "outcome": finding.outcome, "authorisation": finding.authorisation, "counts_as": weighs,
        "step": printable(finding.step, 200) if finding.step is not None else None, "events": finding.count,
        "targets": [printable(one, 300) for one in finding.targets],
    }  # fmt: skip
    if (by := finding.authority) is not None:
        event["unmapped"]["authority"] = {
            "scope": printable(by.scope, 300), "reason": printable(by.reason, 300), "by": printable(by.by, 100),
        }  # fmt: skip
    return event


def _evidence(event: kinds.AnyEvent) -> dict[str, Any]:
    told: dict[str, Any] = {"data": {"line": event.seq, "what": describe(event), "sensor": event.sensor}}
    if event.pid is not None:
        name = printable(event.exe.rpartition("/")[2], 100) if event.exe else None
        told["process"] = {"pid": event.pid} | ({"name": name} if name else {})
    return told
