"""Correlations to compiled rules, once every other rule is known: they may stand in other files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import structs
from sigma.correlations import SigmaCorrelationCondition, SigmaCorrelationRule

from proctor.detectors.documents import Document, guarded, shared
from proctor.detectors.fields import LOGSOURCES
from proctor.detectors.rules import Correlation, Rule, Unevaluable
from proctor.errors import RuleError

__all__ = ["link"]

_TYPES = ("event_count", "value_count", "temporal", "temporal_ordered")


def link(documents: list[Document], singles: Mapping[str, Rule | Unevaluable]) -> dict[str, Rule | Unevaluable]:
    """Return all rules by name: the ``singles``, silent where they only serve correlations, and the correlations.

    Raises:
        RuleError: a correlation takes a rule that is not there.
    """
    # A rule is called by its id or its name.
    called = {str(one.rule.id): one.name for one in documents if one.rule.id is not None}
    called |= {one.name: one.name for one in documents}
    waiting = {one.name: one for one in documents if isinstance(one.rule, SigmaCorrelationRule)}
    bases = {name: guarded(one, partial(_bases, one, called)) for name, one in waiting.items()}
    takers: dict[str, list[str]] = {}
    for name, one in waiting.items():
        if not one.rule.generate:  # by the specification the rules of a correlation then stand for nothing themselves
            for base in dict.fromkeys(bases[name]):
                takers.setdefault(base, []).append(name)
    every = dict(singles)
    while ready := [name for name in waiting if not waiting.keys() & bases[name]]:
        for name in ready:
            one = waiting.pop(name)
            every[name] = guarded(one, partial(_correlate, one, bases[name], called, every))
    for name, one in waiting.items():
        every[name] = _left(one, f"correlates itself, by way of {', '.join(sorted(waiting.keys() & bases[name]))}")
    _silence(every, takers)
    return every


def _silence(every: dict[str, Rule | Unevaluable], takers: Mapping[str, list[str]]) -> None:
    changed = True
    while changed:  # what only serves a correlation that is not evaluated takes with it what only serves that
        changed = False
        for name, correlations in takers.items():
            base = every[name]
            if isinstance(base, Unevaluable):
                continue
            if any(isinstance(every[taker], Rule) for taker in correlations):
                every[name] = structs.replace(base, silent=True)
            else:
                reason = f"it only serves {', '.join(correlations)}, not evaluated"
                every[name] = Unevaluable(slug=base.slug, name=name, reason=reason, outside=base.outside)
                changed = True


def _bases(one: Document, called: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_called(one, reference.reference, called) for reference in one.rule.rules or ())


def _left(one: Document, reason: str) -> Unevaluable:
    return Unevaluable(slug=one.slug, name=one.name, reason=reason, outside=one.outside)


def _correlate(
    one: Document, bases: tuple[str, ...], called: Mapping[str, str], every: Mapping[str, Rule | Unevaluable]
) -> Rule | Unevaluable:
    """Compile one correlation whose bases are compiled, or say why it is not evaluated."""
    common, rule = shared(one), one.rule

    def left(reason: str) -> Unevaluable:
        return _left(one, reason)

    kind = rule.type.name.lower()
    if kind not in _TYPES:
        return left(f"correlation {kind}; evaluated are {', '.join(_TYPES)}")
    condition = rule.condition
    if not isinstance(condition, SigmaCorrelationCondition):
        return left(f"correlation {kind} with a condition in words")
    operator = condition.op.name.lower()
    if operator not in {"gte", "gt"}:
        return left(f"a correlation on {operator}; evaluated are gte and gt")
    if not isinstance(condition.count, int) or isinstance(condition.fieldref, list):
        return left(f"correlation {kind} over a fraction or several fields")
    if kind == "temporal_ordered" and condition.count + (operator == "gt") != len(bases):
        return left("correlation temporal_ordered of fewer than all of its rules")
    if kind == "temporal" and condition.count + (operator == "gt") > len(set(bases)):
        return left("correlation temporal of more rules than it names")
    if missing := sorted({name for name in bases if not isinstance(every[name], Rule)}):
        return left(f"correlates {', '.join(missing)}, not evaluated")
    made = Correlation(
        type=kind, bases=bases, group_by=tuple(rule.group_by or ()), aliases=_aliases(one, called),
        timespan_ns=rule.timespan.seconds * 1_000_000_000,
        op="gt" if operator == "gt" else "gte", count=condition.count,
        field=condition.fieldref if kind == "value_count" else None,
    )  # fmt: skip
    for name in dict.fromkeys(bases):
        wanted = {made.aliases.get(field, {}).get(name, field) for field in made.group_by}
        wanted |= {made.field} if made.field is not None else set()
        if lost := wanted - _fields(name, every):
            return left(f"groups or counts by {', '.join(sorted(lost))}, which events of {name} do not have")
    return Rule(**common, correlation=made)


def _fields(name: str, every: Mapping[str, Rule | Unevaluable]) -> frozenset[str]:
    """Fields that events of a rule can have; of a correlation, those of the rules that it takes."""
    rule: Any = every[name]
    if rule.correlation is None:
        return LOGSOURCES[rule.logsource].fields()
    return frozenset(field for base in rule.correlation.bases for field in _fields(base, every))


def _called(one: Document, reference: str, called: Mapping[str, str]) -> str:
    found = called.get(reference)
    if found is None:
        raise RuleError(
            f"correlates {reference!r}; no rule here has this name or id", file=one.file, line=one.line("correlation")
        )
    return found


def _aliases(one: Document, called: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {
        alias.alias: {_called(one, rule.reference, called): str(field) for rule, field in alias.mapping.items()}
        for alias in one.rule.aliases
    }
