"""The block that ends a run: the verdict, what it rests on, and what was not seen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from proctor.events import kinds
from proctor.events.text import printable
from proctor.findings import Finding
from proctor.reports.evidence import counted, line
from proctor.reports.markdown import agent
from proctor.reports.sentences import by_weight, sentence
from proctor.verdicts import Verdict, weight

__all__ = ["terminal"]

FINDINGS = 10
EVIDENCE = 3
ENTRIES = 5

_COLOURS = {"clean": "32", "suspect": "33", "violation": "31", "incomplete": "33"}  # SGR, ECMA-48: green, yellow, red
_LABEL = 14


def terminal(verdict: Verdict, events: Mapping[int, kinds.AnyEvent], *, colour: bool, width: int) -> str:
    """Return the verdict block, lines of at most ``width`` (at least 48) characters, with a newline at its end.

    ``events`` holds the events that the findings cite, by number; with number 1 among them evidence lines show the
    time since the start. ``colour`` marks the verdict only, so that nothing is lost without it.
    """
    width = max(width, 48)
    name = f"\x1b[1;{_COLOURS[verdict.verdict]}m{verdict.verdict}\x1b[0m" if colour else verdict.verdict
    out = [f"proctor: {name} (score: {verdict.score_effect}, tier {verdict.tier})"]
    for label, text in _entries(verdict):
        out += _entry(label, text, width)
    start = events[1].t_mono_ns if 1 in events else None
    for finding in by_weight(verdict.findings)[:FINDINGS]:
        out += _finding(finding, events, start, width)
    if len(verdict.findings) > FINDINGS:
        out.append(f"  and {len(verdict.findings) - FINDINGS} more findings")
    return "\n".join(out) + "\n"


def _entry(label: str, text: str, width: int) -> list[str]:
    return _wrap(text, f"  {label:<{_LABEL}}", " " * (_LABEL + 2), width)


def _wrap(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _entries(verdict: Verdict) -> Iterator[tuple[str, str]]:
    yield "episode", printable(verdict.episode, 100)
    for label, reason in zip(("why", "score"), verdict.reasons, strict=False):
        yield label, printable(reason, 400)
    yield "agent", printable(agent(verdict), 400)
    counts = [weight(finding) for finding in verdict.findings]
    weighing = len(counts) - counts.count("nothing")
    yield "findings", f"{len(counts)}, of which {counted(weighing, 'counts', 'count')}" if counts else "none"
    if verdict.not_observed:
        shown = ", ".join(printable(slug, 60) for slug in verdict.not_observed[:ENTRIES])
        more = len(verdict.not_observed) - ENTRIES
        yield "not observed", shown + (f" and {more} more categories (report.md)" if more > 0 else "")
    yield (
        "gaps",
        _some([f"{printable(gap.of, 40)}: {printable(gap.what, 100)}" for gap in verdict.gaps]) or "none known",
    )
    if verdict.degraded:
        yield (
            "degraded",
            _some([f"{printable(k, 40)}: {printable(v, 100)}" for k, v in sorted(verdict.degraded.items())]),
        )
    if verdict.leftover:
        names = [printable(" ".join(p.cmdline) or p.exe or "name not known", 60) for p in verdict.leftover]
        yield "outlived", f"{len(names)} ended: {_some(names)}"
    if verdict.responses:
        yield "responses", _some([f"{printable(r.action, 20)}: {printable(r.reason, 80)}" for r in verdict.responses])
    yield (
        "record",
        f"{counted(verdict.journal.events, 'event', 'events')}, head {printable(verdict.journal.head[:16], 100)}",
    )


def _some(entries: list[str]) -> str:
    more = len(entries) - ENTRIES
    return "; ".join(entries[:ENTRIES]) + (f"; and {more} more" if more > 0 else "")


def _finding(finding: Finding, events: Mapping[int, kinds.AnyEvent], start: int | None, width: int) -> Iterator[str]:
    yield ""
    traits = (
        f"{finding.level}, {finding.grade}, {finding.outcome}, {finding.authorisation}, counts as {weight(finding)}"
    )
    yield from _wrap(f"{printable(finding.category, 80)}  {traits}", "  ", "    ", width)
    shown = [events[seq] for seq in finding.events if seq in events]
    yield from _wrap(sentence(finding, evidence=shown), "    ", "    ", width)
    if finding.authority is not None:
        by = finding.authority
        told = f"authorised in {printable(by.scope, 100)}: {printable(by.reason, 200)} ({printable(by.by, 80)})"
        yield from _wrap(told, "    ", "    ", width)
    for seq in finding.events[:EVIDENCE]:
        told = line(events[seq], start) if seq in events else f"#{seq}"
        yield from _wrap(told, "    ", "      ", width)
    if (more := max(finding.count, len(finding.events)) - min(len(finding.events), EVIDENCE)) > 0:
        yield f"    and {more} more events"
