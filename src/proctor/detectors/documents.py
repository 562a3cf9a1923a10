"""One rule file's YAML to compiled rules. Imported only where the cache does not help: pySigma costs 200 ms."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec
import yaml
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import (
    SigmaConditionError,
    SigmaCorrelationRuleError,
    SigmaError,
    SigmaModifierError,
    SigmaValueError,
)

from proctor.detectors.auditd import TEXT
from proctor.detectors.conditions import Unsupported, condition
from proctor.detectors.fields import LOGSOURCES
from proctor.detectors.possible import fields_of, limits
from proctor.detectors.rules import Rule, Unevaluable
from proctor.errors import RuleError
from proctor.findings import Level
from proctor.policy.taxonomy import OUTSIDE

__all__ = ["Document", "guarded", "is_correlation", "read", "shared", "single", "source_of"]

_CATEGORY = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_]+")
_TACTIC = re.compile(r"[a-z]+(?:[-_][a-z]+)*")

_TARGETS: dict[str, tuple[str, ...]] = {
    "linux/process_creation": ("Image",),
    "linux/network_connection": ("DestinationIp",),
    "linux/auditd": ("TargetFilename", "DestinationIp"),
}
"""What a finding names where the rule does not say: what it was done to. For files it is TargetFilename."""


class Document(NamedTuple):
    """One rule of a file, as pySigma read it, and where it stands."""

    file: str
    node: yaml.Node | None
    rule: Any
    slug: str
    name: str
    outside: bool

    def line(self, *keys: str) -> int | None:
        """The line of a key, one within another; of the rule where it is not there, None where none can be named."""
        return None if self.node is None else _line(self.node, *keys)


def read(file: str, slug: str, content: bytes, *, outside: bool) -> list[Document]:
    """Return the rules of one file; references between rules are not looked at.

    Raises:
        RuleError: the file is no rule: the line is that of what is wrong, or of its document.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RuleError("no rule: it is not UTF-8", file=file, line=line) from None
    try:
        nodes: list[yaml.Node] = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"no rule: {_one_line(error.problem or str(error))}"
        raise RuleError(problem, file=file, line=mark.line + 1 if mark is not None else None) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RuleError(f"no rule: {_one_line(str(error) or type(error).__name__)}", file=file) from None
    rules: list[yaml.MappingNode] = []
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            rules.append(node)
        elif not isinstance(node, yaml.ScalarNode) or node.value not in {"", "null", "~"}:  # a last --- leaves nothing
            raise RuleError("no rule: a document is not a table of keys", file=file, line=_line(node))
    if not rules:
        raise RuleError("no rule: the file holds no document", file=file, line=1)
    parsed = _parsed(file, text, rules)
    places: list[yaml.Node | None] = [*rules]
    if len(parsed) != len(rules):  # documents that only add to others
        places = [None] * len(parsed)
    return [
        Document(
            file, node, one, slug, one.name or (slug if len(parsed) == 1 else f"{slug}#{number}"), outside
        )
        for number, (one, node) in enumerate(zip(parsed, places, strict=True))
    ]  # fmt: skip


def _parsed(file: str, text: str, nodes: list[yaml.MappingNode]) -> list[Any]:
    try:
        collection = SigmaCollection.from_yaml(text, collect_errors=False, resolve_references=False)
    except Exception as error:  # noqa: BLE001 - pySigma lets its libraries' own errors through
        raise _error(file, error, _failing(text, nodes)) from None
    if not collection.rules:
        raise RuleError("no rule: it only filters or adds to other rules", file=file, line=_line(nodes[0]))
    return list(collection.rules)


def _failing(text: str, nodes: list[yaml.MappingNode]) -> yaml.MappingNode:
    """The document that pySigma refuses: the first without which the ones before it are good."""
    for number, node in enumerate(nodes[:-1], 1):
        documents = [one for one in yaml.safe_load_all(text) if one is not None][:number]
        try:
            SigmaCollection.from_dicts(documents, collect_errors=False, resolve_references=False)
        except Exception:  # noqa: BLE001 - as above
            return node
    return nodes[-1]


def _error(file: str, error: Exception, node: yaml.MappingNode) -> RuleError:
    problem = _one_line(str(error))
    if not isinstance(error, SigmaError):
        problem = f"no rule ({type(error).__name__}: {problem})"
    return RuleError(problem, file=file, line=_line(node, *_place(error)))


def _place(error: Exception) -> tuple[str, ...]:
    """The keys that an error speaks of."""
    if isinstance(error, SigmaConditionError):
        return "detection", "condition"
    if isinstance(error, SigmaCorrelationRuleError):
        return ("correlation",)
    if isinstance(error, SigmaModifierError | SigmaValueError):
        return ("detection",)
    return (type(error).__name__.removeprefix("Sigma").removesuffix("Error").lower(),)


def _line(node: yaml.Node, *keys: str) -> int:
    """The line of a key, one within another, or of the last of them that is there."""
    line: int = node.start_mark.line + 1
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((name, value) for name, value in node.value if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "no reason given"


T = TypeVar("T")


def guarded(one: Document, make: Callable[[], T]) -> T:
    """Return what ``make`` makes of ``one``; pySigma checks few types, and so what fails on a value fails here.

    Raises:
        RuleError: it fails, or its result is not of the kinds that a compiled rule has.
    """
    try:
        made = make()
        if isinstance(made, Rule | Unevaluable):
            msgspec.convert(msgspec.to_builtins(made), type(made))
    except RuleError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a value of a wrong kind leads to
        raise _wrong(one, f"no rule ({type(error).__name__}: {_one_line(str(error))})", *_place(error)) from None
    return made


# --- one rule ---------------------------------------------------------------------------------------------------------


def shared(one: Document) -> dict[str, Any]:
    """What every rule has, with what stands in where it says nothing.

    Raises:
        RuleError: a key of Proctor's own holds what is not allowed.
    """
    rule, custom = one.rule, one.rule.custom_attributes
    level = rule.level.name.lower() if rule.level is not None else "medium"
    if level not in get_args(Level):
        raise _wrong(one, f"level {level!r}; allowed are {', '.join(get_args(Level))}", "level")
    title = (rule.title or one.slug).replace("{", "{{").replace("}", "}}")
    summary, category = custom.get("summary", title), custom.get("category", _outside(rule.tags))
    targets, maturity = custom.get("targets", _targets(one)), custom.get("maturity", "sandbox")
    if not isinstance(category, str) or _CATEGORY.fullmatch(category) is None:
        raise _wrong(one, f"category {category!r}; allowed is family.name in small letters, digits and _", "category")
    if not isinstance(targets, list | tuple) or not all(isinstance(name, str) for name in targets):
        raise _wrong(one, f"targets {targets!r}; allowed is a list of field names", "targets")
    if not isinstance(maturity, str):
        raise _wrong(one, f"maturity {maturity!r}; allowed is a word", "maturity")
    try:
        list(string.Formatter().parse(summary))
    except (ValueError, TypeError):
        raise _wrong(one, f"summary {summary!r}; allowed is a sentence with {{Field}} places", "summary") from None
    return {
        "slug": one.slug, "name": one.name, "category": category, "level": level, "maturity": maturity,
        "summary": summary, "targets": tuple(targets), "outside": one.outside,
    }  # fmt: skip


def _wrong(one: Document, problem: str, *keys: str) -> RuleError:
    return RuleError(problem, file=one.file, line=one.line(*keys))


def _outside(tags: list[Any]) -> str:
    """The category of a rule that names none: by its first tag that is a tactic of ATT&CK (``attack.discovery``).

    The tags of techniques, groups and software have a number in them (Sigma specification, appendix *Tags*).
    """
    for tag in tags:
        if tag.namespace == "attack" and _TACTIC.fullmatch(tag.name):
            return f"{OUTSIDE}.{tag.name.replace('-', '_')}"
    return f"{OUTSIDE}.unclassified"


def is_correlation(one: Document) -> bool:
    """Whether a document correlates other rules."""
    return isinstance(one.rule, SigmaCorrelationRule)


def _targets(one: Document) -> tuple[str, ...]:
    if not one.outside or is_correlation(one):
        return ()
    source = source_of(one.rule)
    return _TARGETS.get(source, ("TargetFilename",) if source.startswith("linux/file_") else ())


def source_of(rule: Any) -> str:
    """``product/category``, or ``product/service`` where there is no category; a rule for any product is Linux's."""
    source = rule.logsource
    parts = [source.product or "linux", *(part for part in (source.category, source.service) if part is not None)]
    return "/".join(parts)


def single(one: Document) -> Rule | Unevaluable:
    """Compile a rule that is no correlation; an :class:`Unevaluable` says why it is not evaluated.

    Raises:
        RuleError: it is no rule.
    """
    common = shared(one)
    source = source_of(one.rule)

    def left(reason: str) -> Unevaluable:
        return Unevaluable(slug=one.slug, name=one.name, reason=reason, outside=one.outside)

    if source not in LOGSOURCES:
        return left(f"log source {source} is not recorded")
    try:
        parsed = [
            condition(item.parsed, TEXT if source == "linux/auditd" else None)
            for item in one.rule.detection.parsed_condition
        ]
    except Unsupported as error:
        return left(str(error))
    except Exception as error:  # noqa: BLE001 - pySigma lets its libraries' own errors through
        raise _wrong(one, _one_line(str(error)), *_place(error)) from None
    if len(parsed) != 1:
        raise _wrong(one, f"{len(parsed)} conditions; one is allowed", "detection", "condition")
    if missing := fields_of(parsed[0]) - LOGSOURCES[source].fields():
        return left(f"{source} has no field {', '.join(sorted(missing))}")
    never, note = limits(parsed[0], source)
    if never:
        return left(note or f"no event of {source} has all that it asks for")
    return Rule(**common, logsource=source, condition=parsed[0], note=note)
