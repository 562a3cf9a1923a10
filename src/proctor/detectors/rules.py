"""Compiled rules: plain data, so that they can be kept in a cache and loaded without the rule language."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from proctor.findings import Level

__all__ = ["And", "Correlation", "Match", "Node", "Not", "Op", "Or", "Rule", "RuleSet", "Unevaluable"]

Op = Literal[
    "equals", "contains", "startswith", "endswith", "wildcard", "re", "cidr", "lt", "lte", "gt", "gte", "exists", "null"
]
"""How a field is compared. Texts are lower-case unless ``cased``; ``wildcard`` has ``*`` and ``?``, ``re`` is a regular
expression, looked for anywhere."""


class Match(Struct, frozen=True, tag="match"):
    """One field against one value."""

    field: str
    op: Op
    value: str | int | float | bool | None = None  # without int, 1 would come back from the cache as 1.0
    cased: bool = False


class Not(Struct, frozen=True, tag="not"):
    """The negation of one node."""

    item: Node


class And(Struct, frozen=True, tag="and"):
    """All of its items."""

    items: tuple[Node, ...]


class Or(Struct, frozen=True, tag="or"):
    """Any of its items."""

    items: tuple[Node, ...]


Node = Match | Not | And | Or


class Correlation(Struct, frozen=True, kw_only=True):
    """Sigma's correlation (Sigma Correlation Rules Specification 2.0.0), per group.

    ``event_count``: how many events; ``value_count``: how many distinct values of ``field``; ``temporal``: of how many
    of the ``bases`` at least one event; ``temporal_ordered``: one event of each of the ``bases``, in their order. All
    within ``timespan_ns``, its ends included.

    Attributes:
        bases: names of the rules whose matches it takes.
        group_by: fields whose values tell groups apart.
        aliases: field of ``group_by`` to base to the field that stands for it there.
    """

    type: Literal["event_count", "value_count", "temporal", "temporal_ordered"]
    bases: tuple[str, ...]
    group_by: tuple[str, ...] = ()
    aliases: dict[str, dict[str, str]] = {}
    timespan_ns: int
    op: Literal["gt", "gte"]
    count: int
    field: str | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """One rule.

    Attributes:
        slug: ``family.name``, which is the file's path below its folder.
        name: what correlations call it.
        category: the taxonomy's slug or one of the user's own; ``outside.TACTIC`` for a rule that names none.
        logsource: ``product/category`` or ``product/service``, deciding which events it sees.
        condition: None for a correlation.
        summary: one sentence with ``{Field}`` places, phrased for what was asked for.
        targets: fields whose values a finding names, and an authorisation has to cover.
        silent: only feeds correlations; makes no finding of its own.
        outside: it comes from a folder of the user's, not with Proctor.
        note: what of it is not evaluated; empty where all of it is.
    """

    slug: str
    name: str
    category: str
    level: Level
    maturity: str = "sandbox"
    logsource: str = ""
    condition: Node | None = None
    correlation: Correlation | None = None
    summary: str = ""
    targets: tuple[str, ...] = ()
    silent: bool = False
    outside: bool = False
    note: str = ""


class Unevaluable(Struct, frozen=True, kw_only=True):
    """A rule that is not evaluated, and why."""

    slug: str
    name: str = ""
    reason: str
    outside: bool = False


class RuleSet(Struct, frozen=True, kw_only=True):
    """All rules of one or more folders.

    ``digest`` is SHA-256 over their files' names and bytes and the compiler's version, hex.
    """

    digest: str
    rules: tuple[Rule, ...]
    unevaluable: tuple[Unevaluable, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that are looked for."""
        return tuple(sorted({rule.category for rule in self.rules if not rule.silent}))
