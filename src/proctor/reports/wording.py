"""Is a text about a record no stronger than the record? Proctor's own sentences are held to it; anybody's can be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from proctor.findings import Finding, Grade
from proctor.policy.taxonomy import MEANING
from proctor.reports.acts import ACTS
from proctor.reports.claims import CLAIMS, HEDGES
from proctor.reports.ground import Ground
from proctor.reports.phrases import PHRASES

__all__ = ["Problem", "check", "strings"]

LIMIT = 1_000_000
"""Characters of a text that are looked at."""

_MASK = "·"
_QUOTED = re.compile(
    r"(?P<fence>^(?P<ticks>```++|~~~++)[^\n]*\n(?P<lines>.*?)^(?P=ticks)[ \t]*$)"
    r"|(?P<code>(?<!`)(?P<run>`++)(?P<span>.{1,2000}?)(?<!`)(?P=run)(?!`))"
    r"|(?<!\w)'(?P<single>[^'\n]{1,300})'(?!\w)|\"(?P<double>[^\"\n]{1,300})\"|"
    r"\u201c(?P<curly>[^\u201d\n]{1,300})\u201d|\u2018(?P<high>[^\u2019\n]{1,300})\u2019",
    re.MULTILINE | re.DOTALL,
)
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")
_CLOCK = re.compile(
    r"(?:(?<![\w.:\]/-])|(?<=\dT))(?P<hour>[01]?\d|"
    r"2[0-3]):(?P<minute>[0-5]\d)(?::[0-5]\d(?:\.\d+)?)?(?:\s*(?P<half>[ap])(?:\.m\.?|m\b))?(?![\w:])"
    r"|(?<![\w.:])(?P<only>1[0-2]|0?[1-9])\s*(?P<half2>[ap])(?:\.m\.?|m\b)|(?<!\w)(?P<word>midnight|noon)(?!\w)"
    r"|(?<!\w)(?P<said>one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d+)"
    r" (?:o['\u2019]clock|[ap](?:\.m\.?|m\b)|in the (?:morning|afternoon|evening|night))",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?<![\w.,#])(?P<count>\d{1,3}(?:,\d{3})+|\d+) (?P<noun>events?|findings?|gaps?|responses?|process(?:es)?|"
    r"steps?)\b"
)
_REF = re.compile(r"(?<![\w&/])#(?P<seq>\d{1,15})\b")
_SUCCESS = re.compile(
    r"(?<!\w)(?:successfully|succeeded in|managed to|was able to|"
    r"were able to)(?!\w)",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:no|not|never|nor|neither|without|nothing|nobody|none|cannot)\b(?!\s+(?:only|just|merely))|"
    r"n['\u2019]t\b(?!\s+(?:only|just|merely))",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:was|were|been|ha[sd]|have) (?:not|never)\b|n['\u2019]t\b", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;:!?]|,(?!\s+(?:or|nor|which|what|how|any)\b)|\n\s*\n|\b(?:but|and|then)\b")
# A category beside its definition, as reports list what was looked for, is no claim.
_DEFINED = re.compile(
    rf"(?P<slug>{'|'.join(map(re.escape, MEANING))})`?\s*: (?P<meaning>{'|'.join(map(re.escape, MEANING.values()))})"
)
_GRADES: tuple[Grade, ...] = ("observed", "corroborated", "recorded", "stated", "inferred")
_PLURAL = {"event": "events", "finding": "findings", "gap": "gaps", "response": "responses", "process": "processes",
           "step": "steps"}  # fmt: skip


class Problem(NamedTuple):
    """Where (offset in characters), the phrase, why it is too strong, and what may be said instead."""

    start: int
    phrase: str
    why: str
    instead: str


def strings(text: str) -> list[str]:
    """Return what of ``text`` must be looked for in the record: its quotations, code spans and IPv4 addresses."""
    found = [inner for match in _QUOTED.finditer(text[:LIMIT]) for inner in _inner(match)]
    return list(dict.fromkeys([*found, *_ADDRESS.findall(text[:LIMIT])]))


def check(text: str, ground: Ground) -> list[Problem]:
    """Return what in ``text`` the record does not support, in order.

    A quotation or code span that stands in the record, or in the report made of it, is the record's and not judged; any
    other is judged as running text. A phrase that the text denies (`no`, `not`, `never` … shortly before it in its
    clause) is no claim. What is not flagged is not thereby true: words are held against a record, not understood.
    """
    shown = _masked(text[:LIMIT], ground)
    found = [
        Problem(match.start(), match.group(), phrase.why, phrase.instead)
        for phrase in PHRASES
        for match in phrase.pattern.finditer(shown)
        if not _denied(shown, match.start())
    ]
    found += [*_done(shown, ground), *_times(shown, ground), *_numbers(shown, ground)]
    return list(_apart(found))


def _apart(found: list[Problem]) -> Iterator[Problem]:
    """Of problems that overlap the longest, the first of equals."""
    end = 0
    for problem in sorted(found, key=lambda one: (one.start, -len(one.phrase))):
        if problem.start >= end:
            end = problem.start + len(problem.phrase)
            yield problem


def _inner(match: re.Match[str]) -> list[str]:
    if match["fence"] is not None:
        return [line for line in match["lines"].split("\n") if line.strip()]
    found = next(match[name] for name in ("span", "single", "double", "curly", "high") if match[name] is not None)
    return [found.strip()] if found.strip() else []


def _masked(text: str, ground: Ground) -> str:
    def mask(match: re.Match[str]) -> str:
        if all(map(ground.holds, _inner(match))):
            return re.sub(r"[^\n]", _MASK, match.group())
        return match.group()

    def defined(match: re.Match[str]) -> str:
        if MEANING[match["slug"]] != match["meaning"]:
            return match.group()
        return match.group()[: -len(match["meaning"])] + _MASK * len(match["meaning"])

    return _QUOTED.sub(mask, _DEFINED.sub(defined, text))


def _clause(text: str, start: int) -> str:
    """What stands before ``start`` in its clause, at most 100 characters of it."""
    return re.split(
        r"[.;:!?]|,(?!\s+(?:or|nor|which|what|how|any)\b)|\n\s*\n|\b(?:but|and|then)\b",
        text[max(0, start - 100) : start],
    )[-1]


def _denied(text: str, start: int) -> bool:
    return _NEGATION.search(_clause(text, start)) is not None


def _sentence(text: str, start: int, end: int) -> str:
    before = re.split(r"[.!?](?=\s)|\n\s*\n|\n[-*#]", text[max(0, start - 400) : start])[-1]
    after = re.split(r"[.!?](?=\s|$)|\n\s*\n|\n[-*#]", text[end : end + 400])[0]
    return before + text[start:end] + after


def _done(text: str, ground: Ground) -> Iterator[Problem]:
    by: dict[str, list[Finding]] = {}
    for finding in ground.findings:
        by.setdefault(finding.category, []).append(finding)
    if by and all(finding.outcome != "succeeded" for finding in ground.findings):
        for match in _SUCCESS.finditer(text):
            if not _denied(text, match.start()):
                why = "no finding of this record succeeded"
                yield Problem(
                    match.start(), match.group(), why, "asked to …; refused (or: the outcome was not observed)"
                )
    for category, pattern in CLAIMS.items():
        if category in by:
            yield from _exceeding(text, pattern, category, by[category])


def _exceeding(text: str, pattern: re.Pattern[str], category: str, findings: list[Finding]) -> Iterator[Problem]:
    grades = [finding.grade for finding in findings if finding.outcome == "succeeded"]
    hedge = HEDGES.get(min(grades, key=_GRADES.index)) if grades else None
    if grades and hedge is None:
        return
    for match in pattern.finditer(text):
        if _denied(text, match.start()) or _NOT.search(match.group()):
            continue
        asked = ACTS[category].asked
        if not grades:
            outcomes = ", ".join(sorted({finding.outcome for finding in findings}))
            what = {"blocked": "refused"}.get(outcomes, "the outcome was not observed")
            why = f"{category} is put as done; its outcome in the record is {outcomes}"
            yield Problem(match.start(), match.group(), why, f"asked to {asked}; {what}")
        elif hedge is not None and not hedge.search(_sentence(text, match.start(), match.end())):
            grade = min(grades, key=_GRADES.index)
            why = f"{category} is put as seen; its grade in the record is {grade}"
            yield Problem(match.start(), match.group(), why, _SOURCES[grade])


_SOURCES: dict[Grade, str] = {
    "recorded": "name the source: a log or tool output holds that …",
    "stated": "the transcript states that …",
    "inferred": "other facts are consistent with …",
}


def _times(text: str, ground: Ground) -> Iterator[Problem]:
    for match in _CLOCK.finditer(text):
        if _within(match, ground):
            continue
        if ground.start_ns is None or ground.end_ns is None:
            span = "no times"
        else:
            first, last = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (ground.start_ns, ground.end_ns))
            span = f"{first:%H:%M:%S} to {last:%H:%M:%S} UTC"
        instead = "seconds since the first event, or a time within it, in UTC"
        yield Problem(
            match.start(), match.group(), f"a time of day that the record does not hold: it holds {span}", instead
        )


def _within(match: re.Match[str], ground: Ground) -> bool:
    """Whether the time, read as UTC, lies within the record, to the minute (or hour, where only that is said)."""
    if ground.start_ns is None or ground.end_ns is None or match["said"] is not None:
        return False
    if match["word"] is not None:
        hour, minute = {"midnight": 0, "noon": 12}[match["word"].lower()], 0
    else:
        hour, minute = int(match["hour"] or match["only"]), int(match["minute"] or 0)
        half = (match["half"] or match["half2"] or "").lower()
        hour = hour % 12 + (12 if half == "p" else 0) if half else hour
    first, last = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (ground.start_ns, ground.end_ns))
    wide = timedelta(minutes=60 if match["only"] is not None else 1)
    said = first.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return any(said + day <= last and first < said + day + wide for day in (timedelta(0), timedelta(days=1))) or (
        last - first >= timedelta(days=1)
    )


def _numbers(text: str, ground: Ground) -> Iterator[Problem]:
    """Only what the record contradicts: more than it has in all, an event or address that is not in it."""
    for match in _NUMBER.finditer(text):
        noun = _PLURAL.get(match["noun"], match["noun"])
        total = ground.counts.get(noun)
        if total is not None and int(match["count"].replace(",", "")) > total:
            yield Problem(
                match.start(), match.group(), f"the record holds {total} {noun} in all", f"at most {total} {noun}"
            )
    events = ground.counts.get("events")
    for match in _REF.finditer(text):
        if events is not None and not 0 < int(match["seq"]) <= events:
            yield Problem(
                match.start(), match.group(), f"the record's events are #1 to #{events}", "cite an event of the record"
            )
    for match in _ADDRESS.finditer(text):
        if not ground.holds(match.group()):
            yield Problem(
                match.start(), match.group(), "this address does not occur in the record", "an address that does"
            )
