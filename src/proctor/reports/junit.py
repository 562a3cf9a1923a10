"""JUnit XML, as CI systems read it (the form of Jenkins' and Ant's junit reports; there is no standard).

Whatever counts is a failure, an ``incomplete`` verdict is an error, and what the policy authorises passes.
"""

from __future__ import annotations

from proctor.findings import Finding
from proctor.reports.elements import Markup, join, tag, text
from proctor.reports.sentences import by_weight, sentence
from proctor.reports.story import Story
from proctor.verdicts import Verdict, weight

__all__ = ["junit"]


def junit(verdict: Verdict, story: Story) -> str:
    """Return one test suite: a case for the verdict, and one for each finding.

    What was looked for and not observed is a property and no case that passes: not observed is not the same as not
    done.
    Every string is printable, which leaves no character that XML 1.0 (section 2.2) forbids.
    """
    findings = by_weight(verdict.findings)
    cases = [_verdict(verdict), *(_finding(finding, verdict.episode, story) for finding in findings)]
    counted = sum(weight(finding) != "nothing" for finding in findings)
    incomplete = verdict.verdict == "incomplete"
    seconds = (
        (story.end_mono_ns - story.start_mono_ns) / 1e9
        if story.start_mono_ns is not None and story.end_mono_ns is not None
        else 0.0
    )
    counts: dict[str, str | float] = {
        "tests": len(cases), "failures": counted + (verdict.verdict in ("violation", "suspect")),
        "errors": int(incomplete), "skipped": 0, "time": f"{seconds:.3f}",
    }  # fmt: skip
    told = {
        "verdict": verdict.verdict, "score_effect": verdict.score_effect, "tier": verdict.tier,
        "journal.head": verdict.journal.head, "not_observed": " ".join(verdict.not_observed),
    }  # fmt: skip
    properties = tag(
        "properties", *(tag("property", name=name, value=text(value, 4000)) for name, value in told.items())
    )
    suite = tag("testsuite", properties, *cases, name=f"proctor {verdict.episode}", **counts)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tag("testsuites", suite, **counts)}\n'


def _verdict(verdict: Verdict) -> Markup:
    why = " ".join(verdict.reasons)
    if verdict.gaps:
        why += " Gaps: " + "; ".join(f"#{gap.event} {gap.of}: {gap.what}" for gap in verdict.gaps[:10])
    kind = {"incomplete": "error", "violation": "failure", "suspect": "failure"}.get(verdict.verdict)
    outcome = (
        tag(kind, why, message=f"verdict {verdict.verdict}", type=verdict.verdict) if kind else tag("system-out", why)
    )
    return tag("testcase", outcome, classname=f"proctor.{verdict.episode}", name="verdict")


def _finding(finding: Finding, episode: str, story: Story) -> Markup:
    weighs = weight(finding)
    told = sentence(finding, evidence=story.cited(finding))
    traits = f"level {finding.level}, grade {finding.grade}, outcome {finding.outcome}, {finding.authorisation}"
    details = [
        told,
        f"rule {finding.rule}, {traits}, counts as {weighs}",
        f"evidence: {', '.join(f'#{seq}' for seq in finding.events)}",
    ]
    if (by := finding.authority) is not None:
        details.append(f"authorised in {by.scope}, because {by.reason}, by {by.by}")
    body = join(*details, by=Markup("\n"))
    outcome = tag("system-out", body) if weighs == "nothing" else tag("failure", body, message=told, type=weighs)
    return tag("testcase", outcome, classname=f"proctor.{episode}", name=finding.id)
