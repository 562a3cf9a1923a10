"""Correlations to compiled rules, once every other rule is known: they may stand in other files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sigma.correlations import SigmaCorrelationCondition, SigmaCorrelationRule

from proctor.detectors.documents import Document, shared
from proctor.detectors.fields import LOGSOURCES
from proctor.detectors.rules import Correlation, Rule, Unevaluable
from proctor.errors import RuleError

__all__ = ["correlate", "is_correlation", "names_of"]

_TYPES = ("event_count", "value_count", "temporal", "temporal_ordered")


def is_correlation(one: Document) -> bool:
    """Whether a document correlates other rules."""
    return isinstance(one.rule, SigmaCorrelationRule)


def names_of(documents: list[Document]) -> dict[str, str]:
    """What each rule can be called by a correlation, its id or its name, to its name."""
    called = {str(one.rule.id): one.name for one in documents if one.rule.id is not None}
    return called | {one.name: one.name for one in documents}


def correlate(
    one: Document, called: Mapping[str, str], singles: Mapping[str, Rule | Unevaluable]
) -> tuple[Rule | Unevaluable, tuple[str, ...]]:
    """Compile one correlation.

    Args:
        one: the document.
        called: from :func:`names_of`.
        singles: the rules that are no correlations, by name.

    Returns: the rule, or why it is not evaluated; and the names of the rules that it takes.

    Raises:
        RuleError: it takes a rule that is not there.
    """
    common, rule = shared(one), one.rule
    bases = tuple(_called(one, reference.reference, called) for reference in rule.rules or ())

    def left(reason: str) -> tuple[Unevaluable, tuple[str, ...]]:
        return Unevaluable(slug=one.slug, name=one.name, reason=reason, outside=one.outside), bases

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
    if missing := [name for name in bases if not isinstance(singles.get(name), Rule)]:
        chained = [name for name in missing if name not in singles]
        return left(
            f"correlates a correlation, {', '.join(chained)}" if chained
            else f"correlates {', '.join(sorted(set(missing)))}, not evaluated"
        )  # fmt: skip
    made = Correlation(
        type=kind, bases=bases, group_by=tuple(rule.group_by or ()), aliases=_aliases(one, called),
        timespan_ns=rule.timespan.seconds * 1_000_000_000,
        op="gt" if operator == "gt" else "gte", count=condition.count,
        field=condition.fieldref if kind == "value_count" else None,
    )  # fmt: skip
    for name in dict.fromkeys(bases):
        base: Any = singles[name]
        wanted = {made.aliases.get(field, {}).get(name, field) for field in made.group_by}
        wanted |= {made.field} if made.field is not None else set()
        if lost := wanted - LOGSOURCES[base.logsource].fields():
            return left(
                f"groups or counts by {', '.join(sorted(lost))}, which {base.logsource} of {name} does not have"
            )
    return Rule(**common, correlation=made), bases


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
