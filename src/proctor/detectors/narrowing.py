"""Leaving out what cannot apply: most events are of an operation and a role that most rules do not speak of.

A few fields of each kind take few values. Per combination of them, conditions are evaluated as far as those fields
decide them, once; an event then meets only the rules, and only the parts of them, that are still open. Of those, one
test over all their gates answers for most events: no rule can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from proctor.detectors.auditd import RECORDS
from proctor.detectors.fields import kind_of
from proctor.detectors.rules import And, Match, Node, Not, Or

__all__ = ["KEYS", "Key", "gate", "narrow"]

Key = Callable[[Any], Any]


def _alike(_: Any) -> None:
    """All records of one name are of one type."""


_OPERATION: Key = attrgetter("data.op")

KEYS: Mapping[str, tuple[Key, tuple[str, ...]]] = {
    **{name: (_OPERATION if kind_of(name) == "file" else _alike, ("type",)) for name in RECORDS},
    "file": (
        attrgetter("data.op", "data.role", "data.target_role", "data.existed"),
        ("Operation", "Role", "TargetRole", "Existed"),
    ),
    "net": (attrgetter("data.op"), ("Operation", "Initiated")),
    "flow": (attrgetter("data.phase"), ("Operation", "Initiated")),
    "read": (attrgetter("data.role"), ("Role",)),
    "refused": (attrgetter("data.reason"), ("Reason",)),
}
"""By kind or record: what to tell events apart by, and the fields that this alone decides. Only values of a fixed list
are used: the process chooses neither their number nor their text."""


def narrow(node: Node, decided: Callable[[Match], bool | None]) -> Node | bool:
    """Return what is left of ``node`` where ``decided`` answers for some matches: a smaller node, or the answer."""
    if isinstance(node, Match):
        answer = decided(node)
        return node if answer is None else answer
    if isinstance(node, Not):
        inner = narrow(node.item, decided)
        return not inner if isinstance(inner, bool) else Not(inner)
    ends = isinstance(node, Or)  # the answer that one item's answer is enough for
    left: list[Node] = []
    for item in node.items:
        found = narrow(item, decided)
        if found is ends:
            return ends
        if not isinstance(found, bool):
            left.append(found)
    if not left:
        return not ends
    return left[0] if len(left) == 1 else Or(tuple(left)) if ends else And(tuple(left))


_COSTS = {"contains": 2, "cidr": 4, "wildcard": 8, "re": 20}


def gate(node: Node) -> tuple[Match, ...] | None:
    """Return matches of which at least one holds wherever ``node`` holds, the cheapest; None without any."""
    if isinstance(node, Match):
        return None if node.op in {"null", "exists"} else (node,)
    if isinstance(node, Not):
        return None
    inner = [gate(item) for item in node.items]
    if isinstance(node, Or):
        return None if None in inner else tuple(match for matches in inner if matches is not None for match in matches)
    known = [matches for matches in inner if matches is not None]
    return min(known, key=lambda matches: sum(_COSTS.get(match.op, 1) for match in matches), default=None)
