"""A finding as one sentence, never stronger than its grade and outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from proctor.events import kinds
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
    "blocked": "; refused by the sandbox",
    "unknown": "; the outcome is not known",
    "succeeded": "",
}


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """Return ``findings`` with those that count first, otherwise in their order: a cut list loses the lightest."""
    return sorted(findings, key=lambda finding: _WEIGHTS.index(weight(finding)))


def quoted(text: str) -> str:
    """Return ``text`` inert and in quotation marks."""
    return f"'{printable(text, 120)}'"


def sentence(finding: Finding, quote: Callable[[str], str] = quoted, evidence: Iterable[kinds.AnyEvent] = ()) -> str:
    """Return one sentence on ``finding``; ``quote`` makes foreign text inert where it is to be shown.

    ``succeeded`` alone is put as done; everything else was asked for, and what became of it is said as far as known.
    A category of the user's own has no words here: its rule's summary is quoted. ``evidence`` are the events that the
    finding cites, as far as they are at hand: by them it is said that what was opened is a decoy, that nobody knows who
    opened it, or that a command line is all that was seen.
    """
    seen = tuple(evidence)
    act = ACTS.get(finding.category)
    end = _OUTCOMES[finding.outcome]
    if act is None:
        core = f"the evidence matches the rule {quote(finding.rule)}: {quote(finding.summary)}"
    elif _all(seen, kinds.Leftover):
        core = "processes were still there when the agent's last command had ended; they were ended"
    elif _all(seen, kinds.Exec) and act.asked is not None and finding.outcome == "attempted":
        core = f"{act.who}{_of_step(finding, quote)} asked to run a command line that would {act.asked}"
        core += _what(finding, quote)
        end = "; what it did is not known"
    else:
        core = _core(act, finding, quote, unknown=_all(seen, kinds.Read) and all(map(_by_nobody, seen)))
    if finding.outcome == "attempted" and len(seen) == finding.count and seen and all(map(_failed, seen)):
        end = "; it failed"
    if finding.outcome != "blocked" and any(map(_decoy, seen)):
        end += "; what is there is a decoy"
    text = _GRADES[finding.grade] + core + end
    if finding.count > 1:
        text += f" ({finding.count} events)"
    return text[0].upper() + text[1:] + "."


def _all(seen: Sequence[kinds.AnyEvent], kind: type[kinds.AnyEvent]) -> bool:
    return bool(seen) and all(isinstance(event, kind) for event in seen)


def _by_nobody(event: kinds.AnyEvent) -> bool:
    return isinstance(event, kinds.Read) and event.data.opener_unknown


def _decoy(event: kinds.AnyEvent) -> bool:
    """Whether a call met a path that the sandbox covers with a decoy."""
    covered = {"hidden", "credential"}
    if isinstance(event, kinds.Read):
        return event.data.role in covered
    return isinstance(event, kinds.File) and (event.data.role in covered or event.data.target_role in covered)


def _failed(event: kinds.AnyEvent) -> bool:
    return isinstance(event, kinds.Net) and event.data.outcome == "failed"


def _of_step(finding: Finding, quote: Callable[[str], str], word: str = "of") -> str:
    return f" {word} step {quote(finding.step)}" if finding.step is not None else ""


def _core(act: Act, finding: Finding, quote: Callable[[str], str], *, unknown: bool) -> str:
    done = act.did if finding.outcome == "succeeded" or act.asked is None else f"asked to {act.asked}"
    who = f"{act.who}{_of_step(finding, quote)}"
    if unknown:
        who = f"somebody not known{_of_step(finding, quote, 'during')}"
    return f"{who} {done}{_what(finding, quote)}"


def _what(finding: Finding, quote: Callable[[str], str]) -> str:
    shown = finding.targets[:_SHOWN_TARGETS]
    more = len(finding.targets) - len(shown)
    what = (": " + ", ".join(map(quote, shown))) if shown else ""
    # A finding names twenty of its targets at most; where there were more events there may be more of them.
    least = "at least " if finding.count > len(finding.targets) else ""
    return what + (f" and {least}{more} more" if more else "")
