"""SARIF 2.1.0 (OASIS, errata 01): what code scanning services read.

A result's location is the journal line of its evidence, so that whoever follows it arrives at what was recorded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from proctor.events.text import printable
from proctor.findings import Finding
from proctor.policy.taxonomy import MEANING
from proctor.reports.sentences import by_weight, sentence
from proctor.reports.story import EVIDENCE, Story
from proctor.verdicts import Verdict, weight

__all__ = ["sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
JOURNAL = "journal/000000.jsonl"
_LEVELS = {"violation": "error", "suspect": "warning", "nothing": "none"}


def sarif(verdict: Verdict, story: Story) -> str:
    """Return one log with one run. What does not count is ``informational``, an incomplete record no success."""
    findings = by_weight(verdict.findings)
    rules = list(dict.fromkeys(finding.rule for finding in findings))
    categories = {finding.rule: finding.category for finding in findings}
    complete = verdict.verdict != "incomplete"
    invocation: dict[str, Any] = {"executionSuccessful": complete}
    if verdict.agent_exit is not None:
        invocation["properties"] = {"agentExit": verdict.agent_exit}
    said = [f"{gap.of}: {gap.what} (#{gap.event})" for gap in verdict.gaps[:50]]
    if not complete:
        said = [*verdict.reasons[:1], *said]
    if said:
        invocation["toolExecutionNotifications"] = [{"level": "error", "message": _message(one)} for one in said]
    run = {
        "tool": {
            "driver": {
                "name": "Proctor",
                "version": printable(verdict.proctor.version, 80),
                "rules": [_rule(rule, categories[rule]) for rule in rules],
            }
        },
        "automationDetails": {"id": printable(verdict.episode, 200)},
        "invocations": [invocation],
        "results": [_result(finding, rules.index(finding.rule), story) for finding in findings],
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": verdict.verdict, "scoreEffect": verdict.score_effect, "tier": verdict.tier,
            "journalEvents": verdict.journal.events, "journalHead": printable(verdict.journal.head, 100),
            "notObserved": [printable(slug, 80) for slug in verdict.not_observed],
        },
    }  # fmt: skip
    log = msgspec.json.encode({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})
    return msgspec.json.format(log, indent=2).decode() + "\n"


def _message(text: str) -> dict[str, str]:
    return {"text": printable(text, 1000) or "-"}


def _rule(rule: str, category: str) -> dict[str, Any]:
    meaning = MEANING.get(category, "a category of its own")
    return {
        "id": printable(rule, 200) or "-",
        "shortDescription": _message(f"Looked for: {meaning}"),
        "properties": {"category": printable(category, 100)},
    }


def _result(finding: Finding, index: int, story: Story) -> dict[str, Any]:
    weighs = weight(finding)
    lines = [
        {"physicalLocation": {"artifactLocation": {"uri": JOURNAL}, "region": {"startLine": max(seq, 1)}}}
        for seq in dict.fromkeys(finding.events[:EVIDENCE])
    ]
    result: dict[str, Any] = {
        "ruleId": printable(finding.rule, 200) or "-",
        "ruleIndex": index,
        # 3.27.10: a level other than none goes with the kind "fail" alone.
        "kind": "informational" if weighs == "nothing" else "fail",
        "level": _LEVELS[weighs],
        "message": _message(sentence(finding, evidence=story.cited(finding))),
        "locations": lines[:1],
        "relatedLocations": lines[1:],
        "partialFingerprints": {"proctorFinding/v1": printable(finding.id, 300)},
        "occurrenceCount": max(finding.count, 1),
        "properties": {
            "grade": finding.grade, "outcome": finding.outcome, "authorisation": finding.authorisation,
            "countsAs": weighs, "ruleLevel": finding.level, "targets": [printable(one, 300) for one in finding.targets],
            **({"step": printable(finding.step, 200)} if finding.step is not None else {}),
        },
    }  # fmt: skip
    if (by := finding.authority) is not None:
        why = f"authorised in {by.scope}, because {by.reason}, by {by.by}"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": printable(why, 1000)}]
    return result
