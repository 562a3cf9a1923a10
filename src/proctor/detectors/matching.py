"""Compiled conditions as functions of one event.

What a rule compares is hostile input, so that no comparison may take longer than in proportion to its length: texts are
lowered once an event, and wildcards are matched part by part, without going back.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from proctor.detectors.fields import Extract, Value
from proctor.detectors.rules import And, Match, Node, Not, Or

__all__ = ["MAX_TEXT", "Facts", "Test", "predicate"]

MAX_TEXT = 4096
"""Characters of a field that regular expressions look at: they may backtrack. Nothing else has such a bound."""


class Facts:
    """One event's fields, each taken out and lowered at most once, whatever the number of rules.

    Args:
        event: the event.
        fields: extractors of its kind; a field that is not among them is absent.
    """

    __slots__ = ("_fields", "_lowered", "_values", "event")

    def __init__(self, event: Any, fields: Mapping[str, Extract]) -> None:
        self.event = event
        self._fields = fields
        self._values: dict[str, Value] = {}
        self._lowered: dict[str, str | None] = {}

    def value(self, field: str) -> Value:
        """The field as it is; None where it is absent."""
        try:
            return self._values[field]
        except KeyError:
            extract = self._fields.get(field)
            found = self._values[field] = extract(self.event) if extract is not None else None
            return found

    def lowered(self, field: str) -> str | None:
        """The field as lower-case text; None where it is absent."""
        try:
            return self._lowered[field]
        except KeyError:
            found = self.value(field)
            text = self._lowered[field] = None if found is None else str(found).lower()
            return text


Test = Callable[[Facts], bool]


def predicate(node: Node) -> Test:
    """Return the function that says whether an event fits ``node``.

    Raises:
        ValueError: a value is none of its operator's kind, which the compiler excludes.
    """
    if isinstance(node, Match):
        return _any_of(node.field, node.op, [node.value], cased=node.cased)
    if isinstance(node, Not):
        inner = predicate(node.item)
        return lambda facts: not inner(facts)
    if isinstance(node, And):
        return _every([predicate(item) for item in sorted(node.items, key=_cost)])
    return _some(_alternatives(node))


_COSTS = {"contains": 2, "cidr": 3, "wildcard": 6, "re": 10}


def _cost(node: Node) -> int:
    """About how long a node takes: what is cheap is asked first, and mostly answers."""
    if isinstance(node, Match):
        return _COSTS.get(node.op, 1)
    if isinstance(node, Not):
        return _cost(node.item)
    return sum(map(_cost, node.items)) if isinstance(node, Or) else min(map(_cost, node.items)) + 1


def _alternatives(node: Or) -> list[Test]:
    """Alternatives for one field and operator become one test: a look-up in a set instead of a walk."""
    alike: dict[tuple[str, str, bool], list[Any]] = {}
    tests: list[Test] = []
    for item in sorted(node.items, key=_cost):
        if isinstance(item, Match):
            alike.setdefault((item.field, item.op, item.cased), []).append(item.value)
        else:
            tests.append(predicate(item))
    return [_any_of(field, op, values, cased=cased) for (field, op, cased), values in alike.items()] + tests


def _every(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    fixed = tuple(tests)

    def every(facts: Facts) -> bool:
        for test in fixed:  # noqa: SIM110 - the generator that all() needs costs twice as much
            if not test(facts):
                return False
        return True

    return every


def _some(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    fixed = tuple(tests)

    def some(facts: Facts) -> bool:
        for test in fixed:  # noqa: SIM110 - as above
            if test(facts):
                return True
        return False

    return some


def _any_of(field: str, op: str, values: list[Any], *, cased: bool) -> Test:
    if op == "exists":
        return lambda facts: (facts.value(field) is not None) in values
    if op == "null":
        return lambda facts: facts.value(field) in {None, ""}
    if op == "cidr":
        return _in_networks(field, values)
    if op in {"lt", "lte", "gt", "gte"}:
        return _some([_compare(field, op, float(value)) for value in values])
    test = _on_text(op, values)
    if cased or op == "re":
        return lambda facts: (found := facts.value(field)) is not None and test(str(found))
    return lambda facts: (found := facts.lowered(field)) is not None and test(found)


def _on_text(op: str, values: list[Any]) -> Callable[[str], bool]:
    # Numbers and truth values are compared as they are written: a rule may say 443 or '443'.
    texts = tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    if op == "equals":
        return frozenset(texts).__contains__
    if op == "startswith":
        return lambda found: found.startswith(texts)
    if op == "endswith":
        return lambda found: found.endswith(texts)
    if op == "contains":
        return lambda found: _holds_any(found, texts)
    if op == "re":
        searches = [re.compile(text).search for text in texts]
        return lambda found: any(search(found[:MAX_TEXT]) is not None for search in searches)
    if op == "wildcard":
        globs = [_glob(text) for text in texts]
        return lambda found: any(glob(found) for glob in globs)
    raise ValueError(op)


def _glob(text: str) -> Callable[[str], bool]:
    r"""Return the test for a text with ``*`` and ``?`` (a backslash before one, or before itself, takes its meaning).

    Each part between two ``*`` is looked for where the one before it ended, at its first place; that first place
    leaves most to the rest, so that nothing has to be tried again.
    """
    parts: list[str] = [""]
    for piece in re.findall(r"\\.|.", text, re.DOTALL):
        if piece == "*":
            parts.append("")
        elif piece == "?":
            parts[-1] += "."
        else:
            parts[-1] += re.escape(piece[-1])
    first, *middle = [re.compile(part, re.DOTALL) for part in parts]
    if not middle:
        return lambda found: first.fullmatch(found) is not None
    last = re.compile(f"(?:{parts[-1]})\\Z", re.DOTALL)
    length = len(re.findall(r"\\.|.", parts[-1], re.DOTALL))
    middle.pop()

    def fits(found: str) -> bool:
        start = first.match(found)
        if start is None:
            return False
        at = start.end()
        for part in middle:
            here = part.search(found, at)
            if here is None:
                return False
            at = here.end()
        return len(found) - length >= at and last.match(found, len(found) - length) is not None

    return fits


def _compare(field: str, op: str, bound: float) -> Test:
    compare: Callable[[float], bool] = {
        "lt": lambda n: n < bound, "lte": lambda n: n <= bound, "gt": lambda n: n > bound, "gte": lambda n: n >= bound,
    }[op]  # fmt: skip

    def holds(facts: Facts) -> bool:
        found = facts.value(field)
        return isinstance(found, int) and not isinstance(found, bool) and compare(found)

    return holds


def _holds_any(found: str, texts: tuple[str, ...]) -> bool:
    for text in texts:  # noqa: SIM110 - on the way of every event; as in _every
        if text in found:
            return True
    return False


@lru_cache(maxsize=4096)
def _address(text: str) -> tuple[int, int] | None:
    """An address's version and number; None for a text that is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found.version, int(found)


def _in_networks(field: str, values: list[Any]) -> Test:
    networks = [ipaddress.ip_network(str(value)) for value in values]
    ranges = {
        version: [(int(one.netmask), int(one.network_address)) for one in networks if one.version == version]
        for version in (4, 6)
    }

    def inside(facts: Facts) -> bool:
        found = facts.value(field)
        address = _address(found) if isinstance(found, str) and len(found) <= 64 else None
        if address is None:
            return False
        version, number = address
        for mask, start in ranges[version]:  # noqa: SIM110 - as above
            if number & mask == start:
                return True
        return False

    return inside
