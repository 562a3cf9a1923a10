"""pySigma's parsed condition to Proctor's own nodes. What has no meaning here is refused by name, never dropped."""

from __future__ import annotations

import re
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SpecialChars,
)

from proctor.detectors.rules import And, Match, Node, Not, Or

__all__ = ["Unsupported", "condition"]


_FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}


_OPEN_ENDS = {
    (True, True): "contains", (True, False): "startswith", (False, True): "endswith", (False, False): "equals",
}  # fmt: skip
"""By where the text may go on: behind it, before it."""


class Unsupported(Exception):
    """A part of the rule language that is not evaluated here."""


def condition(parsed: Any, text: str | None = None) -> Node:
    """Return the node for a parsed condition.

    Args:
        parsed: pySigma's condition tree.
        text: the field that a search in no field looks into; None where the log source has none.

    Raises:
        Unsupported: naming what is not evaluated.
    """
    if isinstance(parsed, ConditionAND):
        return And(tuple(condition(item, text) for item in parsed.args))
    if isinstance(parsed, ConditionOR):
        return Or(tuple(condition(item, text) for item in parsed.args))
    if isinstance(parsed, ConditionNOT):
        return Not(condition(parsed.args[0], text))
    if isinstance(parsed, ConditionFieldEqualsValueExpression):
        return _value(parsed.field, parsed.value)
    if isinstance(parsed, ConditionValueExpression) and text is not None:
        return _anywhere(text, parsed.value)
    raise Unsupported(f"{type(parsed).__name__}: a search in no field")


def _anywhere(field: str, value: Any) -> Node:
    """A search in no field holds where the value stands anywhere in the record (Sigma specification, *Keywords*)."""
    if isinstance(value, SigmaExpansion):
        return Or(tuple(_anywhere(field, item) for item in value.values))
    if type(value) is SigmaNumber:
        return Match(field, "contains", str(value.number))
    if isinstance(value, SigmaString):
        within = type(value)()
        within.s = [SpecialChars.WILDCARD_MULTI, *value.s, SpecialChars.WILDCARD_MULTI]
        return _text(field, within, cased=isinstance(value, SigmaCasedString))
    if isinstance(value, SigmaRegularExpression):
        return _regex(field, value)
    raise Unsupported(f"a value of type {type(value).__name__} in no field")


def _value(field: str, value: Any) -> Node:
    if isinstance(value, SigmaExpansion):
        return Or(tuple(_value(field, item) for item in value.values))
    if isinstance(value, SigmaString):
        return _text(field, value, cased=isinstance(value, SigmaCasedString))
    if type(value) is SigmaNumber:  # a part of a timestamp (|hour) is one too, and means something else
        return Match(field, "equals", value.number)
    if isinstance(value, SigmaBool):
        return Match(field, "equals", value.boolean)
    if isinstance(value, SigmaNull):
        return Match(field, "null")
    if isinstance(value, SigmaExists):
        return Match(field, "exists", bool(value.exists))
    if isinstance(value, SigmaCIDRExpression):
        return Match(field, "cidr", value.cidr)
    if isinstance(value, SigmaCompareExpression):
        return Match(field, value.op.name.lower(), value.number.number)  # type: ignore[arg-type]
    if isinstance(value, SigmaRegularExpression):
        return _regex(field, value)
    raise Unsupported(f"{field}: a value of type {type(value).__name__}")


def _regex(field: str, value: SigmaRegularExpression) -> Node:
    source = value.regexp.original
    letters = "".join(sorted(_FLAGS[flag] for flag in value.flags))
    source = f"(?{letters}){source}" if letters else source
    try:
        re.compile(source)
    except re.error as error:
        raise Unsupported(f"{field}: a regular expression that Python does not take ({error})") from None
    return Match(field, "re", source, cased=True)


def _text(field: str, value: SigmaString, *, cased: bool) -> Node:
    parts = list(value.s)
    if any(not isinstance(part, str | SpecialChars) for part in parts):
        raise Unsupported(f"{field}: a placeholder (|expand)")
    many = SpecialChars.WILDCARD_MULTI
    starts, ends = bool(parts) and parts[-1] is many, bool(parts) and parts[0] is many
    inner = parts[1 if ends else 0 : len(parts) - 1 if starts and len(parts) > 1 else len(parts)]
    plain = "".join(part for part in inner if isinstance(part, str))
    if all(isinstance(part, str) for part in inner):
        op = _OPEN_ENDS[starts, ends]
        return Match(field, op, plain if cased else plain.lower(), cased)  # type: ignore[arg-type]
    pattern = "".join(
        ("*" if part is many else "?")
        if not isinstance(part, str)
        else re.sub(r"([\\*?])", r"\\\1", part if cased else part.lower())
        for part in parts
    )
    return Match(field, "wildcard", pattern, cased)
