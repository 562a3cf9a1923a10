"""What a record gives a text to stand on: outcomes, times, counts, and the words that occur in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from proctor.events import kinds
from proctor.findings import Finding
from proctor.reports.markdown import cited, told
from proctor.reports.story import gather
from proctor.verdicts import Verdict

__all__ = ["Ground", "ground"]

_STEPS = 100_000
"""Names of steps that are told apart while counting; they come from the agent's side."""


@dataclass(frozen=True, slots=True)
class Ground:
    """``counts`` by plural noun; None for ``start_ns`` and ``end_ns`` (Unix time): no times known.

    ``held``: those of the strings asked for that occur in the record; ``report``: its own ``report.md``.
    """

    findings: tuple[Finding, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    start_ns: int | None = None
    end_ns: int | None = None
    held: frozenset[str] = frozenset()
    report: str = ""

    def holds(self, text: str) -> bool:
        """Whether ``text`` stands in the record, or in the report that is made of it."""
        return text in self.held or text in self.report


def ground(verdict: Verdict, events: Iterable[kinds.AnyEvent], strings: Collection[str]) -> Ground:
    """Return the ground that a record gives, from one pass; ``strings`` are looked for in its events."""
    sight = _Sight(strings)
    report = told(verdict, gather(sight.passing(events), cited(verdict)))
    counts = {
        "events": verdict.journal.events, "findings": len(verdict.findings), "gaps": len(verdict.gaps),
        "responses": len(verdict.responses), "processes": sight.processes, "steps": len(sight.steps),
    }  # fmt: skip
    return Ground(verdict.findings, counts, sight.start, sight.end, frozenset(sight.held), report)


class _Sight:
    def __init__(self, strings: Collection[str]) -> None:
        # In a journal a string stands as JSON writes it.
        self.sought = {json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace"): text for text in strings}
        self.held: set[str] = set()
        self.steps: set[str] = set()
        self.processes = 0
        self.start: int | None = None
        self.end: int | None = None

    def passing(self, events: Iterable[kinds.AnyEvent]) -> Iterator[kinds.AnyEvent]:
        for event in events:
            self.start = event.t_wall_ns if self.start is None else min(self.start, event.t_wall_ns)
            self.end = event.t_wall_ns if self.end is None else max(self.end, event.t_wall_ns)
            self.processes += isinstance(event, kinds.Process)
            name = event.data.id if isinstance(event, kinds.Step) else event.step
            if name is not None and len(self.steps) < _STEPS:
                self.steps.add(name)
            if self.sought:
                raw = kinds.encode(event)
                for needle in [needle for needle in self.sought if needle in raw]:
                    self.held.add(self.sought.pop(needle))
            yield event
