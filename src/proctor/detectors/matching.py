"""Compiled conditions as functions of one event."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from proctor.detectors.fields import FIELDS, Value
from proctor.detectors.rules import And, Match, Node, Not

__all__ = ["MAX_TEXT", "Test", "predicate"]

Test = Callable[[Any], bool]

MAX_TEXT = 4096
"""Characters of a field that regular expressions look at: the input is hostile, and they may backtrack."""


def predicate(node: Node, kind: str) -> Test:
    """Return the function that says whether an event of ``kind`` fits ``node``. A field the kind lacks is absent."""
    if isinstance(node, Match):
        return _match(node, kind)
    if isinstance(node, Not):
        inner = predicate(node.item, kind)
        return lambda event: not inner(event)
    tests = tuple(predicate(item, kind) for item in node.items)
    if isinstance(node, And):

        def every(event: Any) -> bool:
            for test in tests:  # noqa: SIM110 - the generator that all() needs costs twice as much
                if not test(event):
                    return False
            return True

        return every

    def some(event: Any) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if test(event):
                return True
        return False

    return some


def _match(node: Match, kind: str) -> Test:
    extract = FIELDS[kind].get(node.field, lambda _: None)
    check = _check(node)
    return lambda event: check(extract(event))


def _check(node: Match) -> Callable[[Value], bool]:
    value = node.value
    if node.op == "exists":
        return lambda found: (found is not None) == value
    if node.op == "null":
        return lambda found: found is None or found == ""
    if node.op == "cidr":
        return _cidr(str(value))
    if node.op in {"lt", "lte", "gt", "gte"}:
        return _compare(node.op, float(value))  # type: ignore[arg-type]
    if node.op in {"pattern", "re"}:
        search = re.compile(str(value)).match if node.op == "pattern" else re.compile(str(value)).search
        return _on_text(lambda text: search(text[:MAX_TEXT]) is not None, cased=node.cased)
    if isinstance(value, bool):
        return lambda found: found is value
    text = str(value)
    test: Callable[[str], bool] = {
        "equals": text.__eq__,
        "contains": lambda found: text in found,
        "startswith": lambda found: found.startswith(text),
        "endswith": lambda found: found.endswith(text),
    }[node.op]
    return _on_text(test, cased=node.cased)


def _on_text(test: Callable[[str], bool], *, cased: bool) -> Callable[[Value], bool]:
    if cased:
        return lambda found: found is not None and test(found if isinstance(found, str) else str(found))
    return lambda found: found is not None and test(found.lower() if isinstance(found, str) else str(found).lower())


def _compare(op: str, bound: float) -> Callable[[Value], bool]:
    compare: Callable[[float], bool] = {
        "lt": lambda n: n < bound, "lte": lambda n: n <= bound, "gt": lambda n: n > bound, "gte": lambda n: n >= bound,
    }[op]  # fmt: skip
    return lambda found: isinstance(found, int) and not isinstance(found, bool) and compare(found)


def _cidr(text: str) -> Callable[[Value], bool]:
    network = ipaddress.ip_network(text)

    def inside(found: Value) -> bool:
        if not isinstance(found, str):
            return False
        try:
            address = ipaddress.ip_address(found)
        except ValueError:
            return False
        return address.version == network.version and address in network

    return inside
