"""Whether a condition can hold at all, by what the records of its log source can have in them."""

from __future__ import annotations

from collections.abc import Iterator

from proctor.detectors.auditd import CALLS
from proctor.detectors.fields import FIELDS, LOGSOURCES
from proctor.detectors.narrowing import narrow
from proctor.detectors.rules import Match, Node, Not

__all__ = ["fields_of", "limits"]


def fields_of(node: Node) -> set[str]:
    """Every field that a condition names."""
    return {match.field for match in _matches(node)}


def _matches(node: Node) -> Iterator[Match]:
    if isinstance(node, Match):
        yield node
    elif isinstance(node, Not):
        yield from _matches(node.item)
    else:
        for item in node.items:
            yield from _matches(item)


def limits(node: Node, source: str) -> tuple[bool, str]:
    """Return whether ``node`` can never hold on events of ``source``, and what in it never does (empty: nothing).

    A rule that is evaluated although it can never fire would look like one that found nothing.
    """
    names = LOGSOURCES[source].kinds
    types = {_type(name) for name in names}
    parts = [narrow(node, lambda match, name=name: _answer(match, name)) for name in names]  # type: ignore[misc]
    notes = []
    if lost := sorted({str(match.value) for match in _equal(node, "type") if match.value not in types}):
        notes.append(f"records of type {', '.join(text.upper() for text in lost)} are not given")
    if lost := sorted({str(match.value) for match in _equal(node, "SYSCALL") if match.value not in CALLS}):
        notes.append(f"the call {', '.join(lost)} is not recorded")
    return all(part is False for part in parts), "; ".join(notes)


def _equal(node: Node, field: str) -> Iterator[Match]:
    return (match for match in _matches(node) if match.field == field and match.op == "equals")


def _type(name: str) -> str:
    return name.partition("/")[2].partition(" ")[0].lower()


def _answer(match: Match, name: str) -> bool | None:
    """What holds of every record of one kind; None where it depends."""
    if match.field not in FIELDS[name]:
        return match.op == "null" or (match.op == "exists" and match.value is False)
    if match.op != "equals":
        return None
    if match.field == "type" and "/" in name:
        return str(match.value).lower() == _type(name)
    if match.field == "SYSCALL" and str(match.value).lower() not in CALLS:
        return False
    return None
