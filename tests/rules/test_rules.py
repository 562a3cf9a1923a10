"""One test holds every shipped rule: what a file must say, and what each of its cases must yield."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from proctor.detectors.compile import SHIPPED, compile_rules
from proctor.detectors.engine import Engine
from proctor.events import AnyEvent
from proctor.findings import canonical
from proctor.policy.records import Policy
from proctor.policy.taxonomy import CATEGORIES
from tests.rules.cases import FILES, cases, documents, slug

RULES = compile_rules([SHIPPED])
REQUIRED = ("title", "id", "status", "description", "author", "date", "level")
TOLD = ("category", "what", "why", "example", "since", "maturity", "falsepositives")

WANTED = {
    "grader.test_edit", "grader.test_delete", "grader.config_hook", "grader.reward_file", "grader.binary_trojan",
    "grader.memory_read", "solution.shipped_answer", "compute.internal_probe", "compute.credential_access",
    "compute.metadata_access", "compute.persistence", "compute.sandbox_escape",
}  # fmt: skip


def found(events: list[AnyEvent]) -> Engine:
    engine = Engine(RULES, Policy(workspace="/w"))
    for event in events:
        engine.feed(event)
    return engine


def test_what_is_promised_is_shipped() -> None:
    assert {slug(path) for path in FILES} == WANTED
    assert RULES.unevaluable == ()


def test_ids_are_unique() -> None:
    ids = Counter(document["id"] for path in FILES for document in documents(path))
    assert [one for one, count in ids.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=slug)
def test_a_file_says_what_why_and_since(path: Path) -> None:
    spoken = 0
    for document in documents(path):
        assert all(document.get(key) for key in REQUIRED), document.get("title")
        if document["level"] == "informational" and "category" not in document:
            continue  # it only feeds the correlation beside it
        spoken += 1
        assert all(document.get(key) for key in TOLD), document["title"]
        assert document["category"] == slug(path)
        assert document["category"] in CATEGORIES
        assert document["maturity"] in {"stable", "incubating", "sandbox"}
        assert document["summary"], document["title"]
    assert spoken >= 1


@pytest.mark.parametrize("path", FILES, ids=slug)
def test_a_file_has_firing_cases_and_benign_look_alikes(path: Path) -> None:
    firing = [case for document in documents(path) for case in document.get("cases", {}).get("firing", [])]
    benign = [case for document in documents(path) for case in document.get("cases", {}).get("benign", [])]
    assert len(firing) >= 2
    assert len(benign) >= 3


@pytest.mark.parametrize(
    ("path", "events"), [pytest.param(p, e, id=f"{slug(p)}: {name}") for p, name, e in cases("firing")]
)
def test_firing_cases_yield_that_rules_finding(path: Path, events: list[AnyEvent]) -> None:
    engine = found(events)
    hits = [finding for finding in engine.findings() if finding.rule == slug(path)]
    assert hits
    for hit in hits:
        assert hit.category == slug(path)
        assert hit.grade == "observed"
        assert set(hit.events) <= {event.seq for event in events}
        assert "{" not in hit.summary
    others = [finding.rule for finding in engine.findings() if finding.rule != slug(path)]
    assert others == []
    assert canonical(found(events).findings()) == canonical(engine.findings())


def test_every_document_is_fired_by_some_case() -> None:
    """A rule in a file of several would otherwise be carried by its neighbour's cases."""
    fired = {finding.id.rpartition(":")[0] for _, _, events in cases("firing") for finding in found(events).findings()}
    assert {rule.name for rule in RULES.rules if not rule.silent} == fired


@pytest.mark.parametrize(
    ("path", "events"), [pytest.param(p, e, id=f"{slug(p)}: {name}") for p, name, e in cases("benign")]
)
def test_benign_look_alikes_stay_silent(path: Path, events: list[AnyEvent]) -> None:
    assert [finding.rule for finding in found(events).findings() if finding.rule == slug(path)] == []
