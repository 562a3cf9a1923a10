"""The words of a page that a reader from elsewhere has to guess."""

from __future__ import annotations

from collections.abc import Iterator

from proctor.reports.elements import Markup, tag

__all__ = ["glossary"]

_WORDS = {
    "asked to": "a process made the call; the call is recorded before it runs, so what became of it is said apart",
    "outcome": "attempted (what came of it was not seen), blocked (the sandbox refused), succeeded, unknown",
    "grade": "how it is known: observed (by the kernel), recorded (a log holds it), stated (a text says so), inferred",
    "authorised, unaddressed, forbidden": "the policy lets it be asked for; is silent on it; names it as not allowed",
    "level": "how grave the rule takes it to be, from informational to critical",
    "score effect": "keep, zero, or void: withheld until a person decides",
    "decoy": "a stand-in that the sandbox shows in the place of a hidden file",
    "how: lease": "the kernel made the opener of a watched file wait: who opened it is known, what was read is not",
    "truth: racy": "the argument was in memory that another thread of the process could have changed meanwhile",
    "tier": "how the agent was confined: A and B with user namespaces, C without; A is checked against a second sensor",
    "attribution": "how an event's step is known: by control group, by descent of the process, by a marker, or by time",
    "process tree not seen empty": "a process of the agent may still have run when the record ended",
    "ends without close": "the last line of every whole record, close, is missing",
    "files.home: fresh": "the agent had an empty home folder of its own",
    "responses.on_violation": "what Proctor does at once: log it, freeze the agent, or kill it",
    "gap": "something is known to be missing from the record; such an episode is never clean",
    "head, checkpoint": "the hash of the journal's last line; a signature over every line before it",
}


def glossary() -> Iterator[Markup]:
    """What they mean."""
    yield tag("h2", "Words on this page")
    parts = [part for word, meaning in _WORDS.items() for part in (tag("dt", word), tag("dd", meaning))]
    yield tag("dl", *parts, class_="facts")
