"""Sigma YAML to compiled rules (pySigma), and the cache that makes this happen once.

Rules of a folder are files ``<family>/<slug>.yml``. pySigma costs 200 ms to import, so it is imported only where the
cache does not hold these very files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from proctor.detectors.rules import RuleSet, Unevaluable
from proctor.errors import RuleError
from proctor.findings import Level

if TYPE_CHECKING:
    from proctor.detectors.rules import Correlation, Rule

__all__ = ["SHIPPED", "compile_rules", "load"]

SHIPPED = Path(__file__).resolve().parent.parent / "rules"
"""The rules that come with Proctor."""

VERSION = 1
"""Version of the compiled form; part of the digest."""


def _files(folders: Sequence[Path]) -> list[tuple[str, Path, bytes]]:
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise RuleError(f"{folder}: no such folder of rules")
        found += [(str(path.relative_to(folder)), path, path.read_bytes()) for path in sorted(folder.rglob("*.yml"))]
    return found


def _digest(files: list[tuple[str, Path, bytes]]) -> str:
    digest = hashlib.sha256(f"proctor-rules-{VERSION}\0".encode())
    for name, _, content in files:
        digest.update(b"%d %d\0" % (len(name.encode()), len(content)) + name.encode() + content)
    return digest.hexdigest()


def load(folders: Sequence[Path], cache: Path) -> RuleSet:
    """Return the shipped rules and those of ``folders``, from the cache where it has these very files.

    A cache that is damaged is made anew; one that cannot be written is done without.

    Raises:
        RuleError: a rule file cannot be compiled.
    """
    files = _files([SHIPPED, *folders])
    digest = _digest(files)
    path = cache / f"rules-{digest[:32]}.json"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        found = msgspec.json.decode(path.read_bytes(), type=RuleSet)
        if found.digest == digest:
            return found
    compiled = _compile(files, digest)
    with contextlib.suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(compiled))
        part.replace(path)
    return compiled


def compile_rules(folders: Sequence[Path]) -> RuleSet:
    """Compile the rules of ``folders`` alone, without any cache.

    Raises:
        RuleError: a rule file cannot be compiled.
    """
    files = _files(folders)
    return _compile(files, _digest(files))


def _compile(files: list[tuple[str, Path, bytes]], digest: str) -> RuleSet:
    from sigma.collection import SigmaCollection  # 200 ms, and only where the cache does not help
    from sigma.exceptions import SigmaError

    rules: list[Rule] = []
    unevaluable: list[Unevaluable] = []
    for name, path, content in files:
        slug = name.removesuffix(".yml").replace("/", ".")
        try:
            collection = SigmaCollection.from_yaml(content.decode("utf-8"), collect_errors=False)
            made, left = _file(slug, path, collection.rules)
        except RuleError:
            raise
        except (SigmaError, UnicodeDecodeError, ValueError) as error:
            raise RuleError(f"{path}: {_line(error)}") from None
        except Exception as error:  # noqa: BLE001 - a YAML error's class is the YAML library's own
            raise RuleError(f"{path}: no rule ({type(error).__name__}: {_line(error)})") from None
        rules += made
        unevaluable += left
    names = Counter(rule.name for rule in rules)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise RuleError(f"{', '.join(twice)}: two rules have this name; allowed is one each, over all folders")
    evaluated = []
    for rule in rules:
        # pySigma has seen that the rules exist: one that is missing here is listed as not evaluated itself.
        missing = set(rule.correlation.bases) - set(names) if rule.correlation is not None else set()
        if missing:
            reason = f"correlates {', '.join(sorted(missing))}, not evaluated"
            unevaluable.append(Unevaluable(slug=rule.slug, reason=reason))
        else:
            evaluated.append(rule)
    return RuleSet(digest=digest, rules=tuple(evaluated), unevaluable=tuple(unevaluable))


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


def _file(slug: str, path: Path, documents: Sequence[Any]) -> tuple[list[Rule], list[Unevaluable]]:
    from sigma.correlations import SigmaCorrelationRule

    from proctor.detectors.conditions import Unsupported, condition
    from proctor.detectors.fields import LOGSOURCES
    from proctor.detectors.rules import Rule

    correlated = {
        reference.reference
        for one in documents
        if isinstance(one, SigmaCorrelationRule)
        for reference in one.rules or ()
    }
    rules: list[Rule] = []
    unevaluable: list[Unevaluable] = []
    for number, one in enumerate(documents):
        custom = one.custom_attributes
        level = one.level.name.lower() if one.level is not None else "medium"
        if level not in get_args(Level):
            raise RuleError(f"{path}: level {level!r}; allowed are {', '.join(get_args(Level))}")
        name = one.name or (slug if len(documents) == 1 else f"{slug}#{number}")
        shared: dict[str, Any] = {
            "slug": slug, "name": name, "category": custom.get("category", slug), "level": level,
            "maturity": custom.get("maturity", "sandbox"), "summary": custom.get("summary", one.title or slug),
            "targets": tuple(custom.get("targets", ())), "silent": name in correlated,
        }  # fmt: skip
        if isinstance(one, SigmaCorrelationRule):
            rules.append(Rule(**shared, correlation=_correlation(path, one)))
            continue
        product = one.logsource.product or "linux"
        source = f"{product}/{one.logsource.category}"
        if source not in LOGSOURCES or one.logsource.service is not None:
            unevaluable.append(Unevaluable(slug=slug, reason=f"log source {source} is not recorded"))
            continue
        try:
            parsed = [condition(item.parsed) for item in one.detection.parsed_condition]
        except Unsupported as error:
            unevaluable.append(Unevaluable(slug=slug, reason=str(error)))
            continue
        if missing := _fields(parsed[0]) - LOGSOURCES[source].fields():
            unevaluable.append(Unevaluable(slug=slug, reason=f"{source} has no field {', '.join(sorted(missing))}"))
            continue
        if len(parsed) != 1:
            raise RuleError(f"{path}: {len(parsed)} conditions; one is allowed")
        rules.append(Rule(**shared, logsource=source, condition=parsed[0]))
    return rules, unevaluable


def _fields(node: Any) -> set[str]:
    from proctor.detectors.rules import Match, Not

    if isinstance(node, Match):
        return {node.field}
    if isinstance(node, Not):
        return _fields(node.item)
    return {field for item in node.items for field in _fields(item)}


def _correlation(path: Path, one: Any) -> Correlation:
    from proctor.detectors.rules import Correlation

    kind = one.type.name.lower()
    if kind not in {"event_count", "value_count"}:
        raise RuleError(f"{path}: correlation {kind}; allowed are event_count and value_count")
    operator = one.condition.op.name.lower()
    if operator not in {"gte", "gt"}:
        raise RuleError(f"{path}: a correlation on {operator}; allowed are gte and gt")
    return Correlation(
        type=kind, bases=tuple(reference.reference for reference in one.rules), group_by=tuple(one.group_by or ()),
        timespan_ns=one.timespan.seconds * 1_000_000_000, op=operator, count=one.condition.count,
        field=one.condition.fieldref,
    )  # fmt: skip
