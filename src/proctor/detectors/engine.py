"""Events in, findings out: no clock, no I/O. The same events give the same findings, byte for byte."""

from __future__ import annotations

import string
from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proctor.detectors.fields import FIELDS, LOGSOURCES, Extract, Value, kind_of
from proctor.detectors.matching import Facts, Test, predicate
from proctor.detectors.narrowing import KEYS, Key, gate, narrow
from proctor.detectors.rules import Match, Or, Rule, RuleSet
from proctor.detectors.window import Span, window
from proctor.detectors.words import OPERATIONS
from proctor.events import KINDS, Call, Event, Exec, ExecResult, File, Flow, Leftover, Mark, Net, Read, Refused, Result
from proctor.events.text import printable
from proctor.findings import Authority, Finding, Grade, Outcome
from proctor.policy.authorisation import authority
from proctor.policy.records import Authorise, Policy

__all__ = ["Engine"]

MAX_EVENTS = 100
MAX_SHOWN_TARGETS = 20
MAX_TARGETS = 10_000
"""Beyond it a finding's targets are no longer all known, so that no scope can cover them."""
MAX_GROUPS = 1_000
"""Groups of one correlation that are counted at a time; the one that was begun first is given up."""
MAX_AWAITED = 10_000
"""Events whose result is still looked for; the oldest is given up, and stays ``attempted``."""
MAX_KEYS = 1_000
MAX_FINDINGS = 1_000
"""Findings of one rule. Steps' names come from the agent's side: what meets the rule beyond is one finding together."""
_BEYOND = object()
"""In the place of a step: no step equals it."""

CHUNK = 12
"""Rules behind one gate: few enough that one open gate leaves most of a large set alone."""

_Tests = tuple[tuple[Test, Rule], ...]
_Applicable = tuple[tuple[tuple[Test, _Tests], ...], _Tests]
"""For events of one key: gates, each with the rules behind it, and the rules that have none."""


class _Lane(NamedTuple):
    """One way to look at events of a kind: as themselves, or as one of their records."""

    name: str
    fields: Mapping[str, Extract]
    key: Key | None
    decided: tuple[str, ...]


Authoriser = Callable[[Policy, str, Sequence[str]], Authorise | None]


@dataclass(slots=True)
class _Hit:
    """A finding as it grows."""

    rule: Rule
    first: int
    step: str | None
    grade: Grade
    summary: str
    events: list[int] = field(default_factory=list)
    count: int = 0
    last: int = 0
    targets: dict[str, None] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    entry: Authorise | None = None
    refused: bool = False
    forbidden: bool = False
    blocked: int = 0
    succeeded: int = 0
    unknown: int = 0
    steps: set[str | None] = field(default_factory=set)


class Engine:
    """Judges one episode's events.

    Args:
        rules: compiled rules.
        policy: what the task allows; decides authorisation only.
        authorise: the function that decides it.
    """

    def __init__(self, rules: RuleSet, policy: Policy, authorise: Authoriser = authority) -> None:
        self._policy = policy
        self._authorise = authorise
        self._hits: dict[tuple[Any, ...], _Hit] = {}
        self._made: Counter[str] = Counter()
        self._awaited: dict[int, list[_Hit]] = {}
        self._windows: dict[str, dict[tuple[Value, ...], Span]] = {}
        self._rules: dict[str, list[Rule]] = {}
        self._tests: dict[tuple[str, Any], _Applicable] = {}
        self._lanes: dict[type[Event], list[_Lane]] = {}
        self._correlations: dict[str, list[Rule]] = {}
        for rule in rules.rules:
            if rule.correlation is not None:
                for base in dict.fromkeys(rule.correlation.bases):
                    self._correlations.setdefault(base, []).append(rule)
            else:
                for name in LOGSOURCES[rule.logsource].kinds:
                    self._rules.setdefault(name, []).append(rule)
        for name in self._rules:
            lane = _Lane(name, FIELDS[name], *KEYS.get(name, (None, ())))
            self._lanes.setdefault(KINDS[kind_of(name)], []).append(lane)

    def _applicable(self, lane: _Lane, key: Any, facts: Facts) -> _Applicable:
        """What events of one key can still meet."""
        gates: list[tuple[Match, ...]] = []
        gated: list[tuple[Test, Rule]] = []
        others: list[tuple[Test, Rule]] = []

        def known(match: Match) -> bool | None:
            """A field that the key decides, or that these events never have."""
            decided = match.field in lane.decided or match.field not in lane.fields
            return predicate(match)(facts) if decided else None

        there = "type" not in lane.fields or facts.value("type") is not None
        for rule in self._rules[lane.name] if there else ():
            if rule.condition is None or not LOGSOURCES[rule.logsource].only(facts.event):
                continue
            left = narrow(rule.condition, known)
            if isinstance(left, bool):
                others += [(lambda _: True, rule)] if left else []
                continue
            needed = gate(left)
            if needed is None:
                others.append((predicate(left), rule))
            else:
                gates.append(needed)
                gated.append((predicate(left), rule))
        chunks = tuple(
            (
                predicate(Or(tuple(match for needed in gates[at : at + CHUNK] for match in needed))),
                tuple(gated[at : at + CHUNK]),
            )
            for at in range(0, len(gated), CHUNK)
        )
        if len(self._tests) >= MAX_KEYS:
            self._tests.clear()
        found = self._tests[lane.name, key] = (chunks, tuple(others))
        return found

    def feed(self, event: Event) -> list[Finding]:
        """Take one event; return the findings that it made or changed."""
        kind = type(event)
        if kind is Result or kind is ExecResult:
            return self._result(event)
        found: list[_Hit] = []
        lanes = self._lanes.get(kind)
        if lanes is None:
            return []
        met: set[str] | None = set() if len(lanes) > 1 else None  # a rule is met once, by however many records
        for lane in lanes:
            name, fields, key_of, _ = lane
            key = key_of(event) if key_of is not None else None
            facts = Facts(event, fields)
            applicable = self._tests.get((name, key))
            if applicable is None:
                applicable = self._applicable(lane, key, facts)
            chunks, tests = applicable
            for gate_test, gated in chunks:
                if gate_test(facts):
                    tests += gated
            for test, rule in tests:
                if test(facts):
                    if met is not None:
                        if rule.name in met:
                            continue
                        met.add(rule.name)
                    found += self._met(rule, facts)
        return [self._finding(hit) for hit in found] if found else []

    def _met(self, rule: Rule, facts: Facts) -> list[_Hit]:
        found = [] if rule.silent else [self._hit(rule, (), facts.event)]
        for correlation in self._correlations.get(rule.name, ()):
            found += self._correlate(correlation, rule.name, facts)
        return found

    def findings(self) -> tuple[Finding, ...]:
        """Every finding so far, by its first event and then its rule."""
        hits = sorted(self._hits.values(), key=lambda hit: (hit.first, hit.rule.name))
        for hit in hits:
            if not hit.refused:  # the entry that covers most, now that all targets are known
                hit.entry = self._authorise(self._policy, hit.rule.category, sorted(hit.targets))
                hit.unjudged.clear()
        return tuple(self._finding(hit) for hit in hits)

    # --- hits ---------------------------------------------------------------------------------------------------------

    def _hit(self, rule: Rule, group: tuple[Value, ...], event: Event) -> _Hit:
        # A correlation spans its window's events, whatever their steps; any other rule makes one finding a step.
        step = _step(event)
        key: tuple[object, ...] = (rule.name, *group) if rule.correlation is not None else (rule.name, step)
        hit = self._hits.get(key)
        if hit is None and self._made[rule.name] >= MAX_FINDINGS:
            key = (rule.name, _BEYOND)
            hit = self._hits.get(key)
        if hit is None:
            self._made[rule.name] += 1
            hit = _Hit(rule, event.seq, step, _grade(event), self._summary(rule, event))
            self._hits[key] = hit
        self._add(hit, event)
        return hit

    def _add(self, hit: _Hit, event: Event) -> None:
        if event.seq == hit.last:  # two rules of a correlation fit one event
            return
        hit.last = event.seq
        hit.count += 1
        if len(hit.steps) < 2:  # one step, or not one
            hit.steps.add(_step(event))
        if len(hit.events) < MAX_EVENTS:
            hit.events.append(event.seq)
        for name in hit.rule.targets:
            target = _target(name, event)
            if target is None or target in hit.targets:
                continue
            if len(hit.targets) == MAX_TARGETS:
                hit.refused = True
                continue
            hit.targets[target] = None
            insort(hit.shown, target)
            del hit.shown[MAX_SHOWN_TARGETS:]
            if not hit.refused:
                hit.unjudged.append(target)
        hit.forbidden = hit.forbidden or _forbidden(event)
        outcome = _outcome(event)
        hit.blocked += outcome == "blocked"
        hit.succeeded += outcome == "succeeded"
        if outcome == "attempted" and isinstance(event, File | Exec):
            self._awaited.setdefault(event.seq, []).append(hit)
            if len(self._awaited) > MAX_AWAITED:
                del self._awaited[next(iter(self._awaited))]

    def _result(self, event: Event) -> list[Finding]:
        data = event.data  # type: ignore[attr-defined]
        hits = self._awaited.pop(data.ref, [])
        if isinstance(event, ExecResult):  # that a program was started is not that it did what its arguments name
            return []
        for hit in hits:
            hit.succeeded += data.outcome == "succeeded"
            hit.unknown += data.outcome == "unknown"
        return [self._finding(hit) for hit in hits if data.outcome in {"succeeded", "unknown"}]

    def _judge(self, hit: _Hit) -> Authorise | None:
        """The entry that authorises a finding. Only targets that came since are looked at: one outside is enough."""
        if hit.unjudged or not hit.targets:
            found = self._authorise(self._policy, hit.rule.category, hit.unjudged)
            if found is None or not hit.entry:
                hit.entry = found
            hit.refused = hit.refused or (found is None and bool(hit.unjudged))
            hit.unjudged.clear()
        return None if hit.refused else hit.entry

    def _finding(self, hit: _Hit) -> Finding:
        entry = self._judge(hit)
        outcome: Outcome = "attempted"
        if hit.succeeded:
            outcome = "succeeded"
        elif hit.unknown:
            outcome = "unknown"
        elif hit.blocked == hit.count:
            outcome = "blocked"
        step = next(iter(hit.steps)) if len(hit.steps) == 1 else None
        return Finding(
            id=f"{hit.rule.name}:{hit.first}", rule=hit.rule.slug, category=hit.rule.category, level=hit.rule.level,
            grade=hit.grade, outcome=outcome,
            authorisation="authorised" if entry is not None else "forbidden" if hit.forbidden else "unaddressed",
            authority=Authority(scope=entry.scope, reason=entry.reason, by=entry.by) if entry is not None else None,
            step=step, summary=hit.summary, events=tuple(hit.events), count=hit.count, targets=tuple(hit.shown),
        )  # fmt: skip

    @staticmethod
    def _summary(rule: Rule, event: Event) -> str:
        parts = []
        for literal, name, _, _ in string.Formatter().parse(rule.summary):
            parts.append(literal)
            if name is not None:
                extract = _extractor(name, event)
                value = extract(event) if extract is not None else None
                text = str(value) if value is not None else "a program not known" if name == "Image" else "?"
                parts.append(printable(OPERATIONS.get(text, text) if name == "Operation" else text))
        return "".join(parts)

    # --- correlations -------------------------------------------------------------------------------------------------

    def _correlate(self, rule: Rule, base: str, facts: Facts) -> list[_Hit]:
        correlation = rule.correlation
        if correlation is None:
            return []
        event = facts.event
        group = tuple(
            _grouped(correlation.aliases.get(name, {}).get(base, name), facts) for name in correlation.group_by
        )
        outer = self._correlations.get(rule.name, ())
        found = (rule.name, *group) in self._hits
        if found and not outer:
            return [self._hit(rule, group, event)]
        windows = self._windows.setdefault(rule.name, {})
        seen = windows.get(group)
        if seen is None:
            if len(windows) >= MAX_GROUPS:
                windows.pop(next(iter(windows)))
            seen = windows[group] = window(correlation)
        value: Value = base if correlation.type.startswith("temporal") else event.seq
        holds = seen.add(event, _grouped(correlation.field, facts) if correlation.field is not None else value)
        if not holds:
            return [self._hit(rule, group, event)] if found else []
        hits: list[_Hit] = []
        if not rule.silent:
            hits = [self._hit(rule, group, one) for one in ([event] if found else seen.events())][-1:]
        if not outer:
            del windows[group]
        for correlation_of_it in outer:  # to which this one is met by every event at which it holds
            hits += self._correlate(correlation_of_it, rule.name, facts)
        return hits


def _grouped(name: str, facts: Facts) -> Value:
    """A field of the record that was met, or else of its event."""
    found = facts.value(name)
    return _value(name, facts.event) if found is None else found


def _tag(kind: type[Event]) -> str:
    return str(kind.__struct_config__.tag)


def _extractor(name: str, event: Event) -> Callable[[Any], Value] | None:
    return FIELDS.get(_tag(type(event)), {}).get(name)


def _value(name: str, event: Event) -> Value:
    extract = _extractor(name, event)
    return extract(event) if extract is not None else None


def _target(name: str, event: Event) -> str | None:
    """A field as a target: an address together with its port, as scopes are written."""
    value = _value(name, event)
    if value is None:
        return None
    port = _value("DestinationPort", event) if name in {"DestinationIp", "DestinationHostname"} else None
    if port is None:
        return str(value)
    return f"[{value}]:{port}" if ":" in str(value) else f"{value}:{port}"


def _step(event: Event) -> str | None:
    """The step that an event belongs to: of what outlived the agent the one step that all of it came from."""
    if isinstance(event, Leftover):
        steps = {process.origin_step for process in event.data.processes}
        return steps.pop() if len(steps) == 1 else None
    return event.step


def _grade(event: Event) -> Grade:
    return "stated" if isinstance(event, Mark) else "observed"


def _forbidden(event: Event) -> bool:
    """Whether the policy names what was touched: a protected or hidden path."""
    named = {"protected", "hidden"}
    if isinstance(event, Read):
        return event.data.role in named
    return isinstance(event, File) and (event.data.role in named or event.data.target_role in named)


def _outcome(event: Event) -> str:
    if isinstance(event, Refused):
        return "blocked"
    if isinstance(event, Read | Leftover):
        return "succeeded"
    if isinstance(event, Flow):
        return {"refused": "blocked", "open": "succeeded", "close": "succeeded"}.get(event.data.phase, "attempted")
    if isinstance(event, File | Net | Call):
        return event.data.outcome
    return "attempted"
