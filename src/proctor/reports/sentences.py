"""A finding as one sentence, never stronger than its grade and outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from proctor.events.text import printable
from proctor.findings import Finding
from proctor.reports.acts import ACTS, Act
from proctor.verdicts import weight

__all__ = ["by_weight", "quoted", "sentence"]

_SHOWN_TARGETS = 3
_WEIGHTS = ("violation", "suspect", "nothing")

_GRADES = {
    "observed": "",
    "corroborated": "Two independent sources agree: ",
    "recorded": "A log or tool output holds that ",
    "stated": "The transcript states, and nothing else confirms, that ",
    "inferred": "Other facts are consistent with this, which was not itself seen: ",
}

_OUTCOMES = {
    "attempted": "; the outcome was not observed",
    "blocked": "; refused",
    "unknown": "; the outcome is not known",
    "succeeded": "",
}


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """Return ``findings`` with those that count first, otherwise in their order: a cut list loses the lightest."""
    return sorted(findings, key=lambda finding: _WEIGHTS.index(weight(finding)))


def quoted(text: str) -> str:
    """Return ``text`` inert and in quotation marks."""
    return f"'{printable(text, 120)}'"


def sentence(finding: Finding, quote: Callable[[str], str] = quoted) -> str:
    """Return one sentence on ``finding``; ``quote`` makes foreign text inert where it is to be shown.

    ``succeeded`` alone is put as done; everything else was asked for, and what became of it is said as far as known.
    A category of the user's own has no words here: its rule's summary is quoted.
    """
    act = ACTS.get(finding.category)
    if act is None:
        core = f"the evidence matches the rule {quote(finding.rule)}: {quote(finding.summary)}"
    else:
        core = _core(act, finding, quote)
    text = _GRADES[finding.grade] + core + _OUTCOMES[finding.outcome]
    if finding.count > 1:
        text += f" ({finding.count} events)"
    return text[0].upper() + text[1:] + "."


def _core(act: Act, finding: Finding, quote: Callable[[str], str]) -> str:
    step = f" of step {quote(finding.step)}" if finding.step is not None else ""
    done = act.did if finding.outcome == "succeeded" or act.asked is None else f"asked to {act.asked}"
    shown = finding.targets[:_SHOWN_TARGETS]
    more = len(finding.targets) - len(shown)
    what = (": " + ", ".join(map(quote, shown))) if shown else ""
    return f"{act.who}{step} {done}{what}" + (f" and {more} more" if more else "")
