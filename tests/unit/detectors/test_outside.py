"""Rules that were not written for Proctor."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.detectors.compile import compile_rules
from proctor.detectors.engine import Engine
from proctor.detectors.rules import Rule, RuleSet
from proctor.errors import RuleError
from proctor.events import Event
from proctor.findings import Finding
from proctor.policy.records import Authorise, Policy
from proctor.verdicts import judge, weight
from tests.unit.detectors.events import connect, run, write

SIGMA = Path(os.environ.get("PROCTOR_DATA") or Path(__file__).parents[4] / "shared" / "data") / "sigma/rules/linux"

RULE = """
title: Some {braces} in a title
id: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b77
status: test
level: critical
tags: [attack.t1082, attack.g0032, attack.defense-evasion, attack.discovery]
logsource: {product: linux, category: process_creation}
detection:
  s: {Image|endswith: /uname}
  condition: s
"""


def compiled(tmp_path: Path, text: str = RULE, name: str = "any.yml") -> RuleSet:
    tmp_path.joinpath(name).write_text(text)
    return compile_rules([tmp_path])


def one(tmp_path: Path, text: str = RULE) -> Rule:
    (rule,) = compiled(tmp_path, text).rules
    return rule


def found(rules: RuleSet, *events: Event, policy: Policy | None = None) -> tuple[Finding, ...]:
    engine = Engine(rules, policy or Policy(workspace="/w"))
    for event in events:
        engine.feed(event)
    return engine.findings()


def test_what_the_rule_does_not_say_is_filled_in(tmp_path: Path) -> None:
    rule = one(tmp_path)
    assert (rule.slug, rule.category, rule.level, rule.outside) == ("any", "outside.defense_evasion", "critical", True)
    assert rule.targets == ("Image",)


@pytest.mark.parametrize("tags", ["", "tags: [attack.t1082]\n", "tags: [cve.2021-1, detection.threat-hunting]\n"])
def test_without_a_tactic_it_is_unclassified(tmp_path: Path, tags: str) -> None:
    text = "".join(tags if line.startswith("tags:") else line for line in RULE.splitlines(keepends=True))
    assert one(tmp_path, text).category == "outside.unclassified"


def test_its_title_is_the_summary_and_no_place_in_it_is_filled(tmp_path: Path) -> None:
    (finding,) = found(compiled(tmp_path), run("/usr/bin/uname", "-a"))
    assert finding.summary == "Some {braces} in a title"
    assert finding.targets == ("/usr/bin/uname",)


def test_it_is_a_reason_to_look_and_no_violation(tmp_path: Path) -> None:
    findings = found(compiled(tmp_path), run("/usr/bin/uname"))
    assert [weight(each) for each in findings] == ["suspect"]
    assert judge(findings, gaps=0, empty=True, tier="B").verdict == "suspect"


def test_a_category_in_its_file_makes_it_count_by_its_level(tmp_path: Path) -> None:
    findings = found(compiled(tmp_path, RULE + "category: own.reconnaissance\n"), run("/usr/bin/uname"))
    assert [each.category for each in findings] == ["own.reconnaissance"]
    assert judge(findings, gaps=0, empty=True, tier="B").verdict == "violation"


@pytest.mark.parametrize("category", ["outside", "outside.defense_evasion"])
def test_it_can_be_authorised(tmp_path: Path, category: str) -> None:
    entry = Authorise(category=category, scope="/usr/bin", reason="r", by="b")
    policy = Policy(workspace="/w", authorise=(entry,))
    (finding,) = found(compiled(tmp_path), run("/usr/bin/uname"), policy=policy)
    assert finding.authorisation == "authorised"


@pytest.mark.parametrize(
    ("source", "search", "event", "target"),
    [
        ("category: file_event", "TargetFilename|endswith: /a", write("/w/a"), "/w/a"),
        ("category: network_connection", "DestinationPort: 22", connect("10.0.0.1"), "10.0.0.1:22"),
        ("service: auditd", "name|endswith: /a", write("/w/a"), "/w/a"),
    ],
)
def test_a_finding_names_what_it_was_done_to(
    tmp_path: Path, source: str, search: str, event: Event, target: str
) -> None:
    text = RULE.replace("category: process_creation", source).replace("Image|endswith: /uname", search)
    (finding,) = found(compiled(tmp_path, text), event)
    assert finding.targets == (target,)


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ("category: [a]\n", "category ['a']; allowed is family.name"),
        ("category: mining\n", "category 'mining'; allowed is family.name"),
        ("targets: Image\n", "targets 'Image'; allowed is a list of field names"),
        ("summary: 'a {b'\n", "summary 'a {b'; allowed is a sentence with {Field} places"),
        ("maturity: 3\n", "maturity 3; allowed is a word"),
    ],
)
def test_a_key_of_proctor_s_own_that_is_wrong_is_an_error(tmp_path: Path, added: str, problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        compiled(tmp_path, RULE + added)
    assert str(caught.value).startswith(f"{tmp_path / 'any.yml'}:11: {problem}")


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (("level: critical", "level: urgent"), 5, "urgent"),
        (("status: test", "status: done"), 4, "done"),
        (("condition: s", "condition: t"), 10, "'t' not defined"),
        (("Image|endswith", "Image|ends"), 8, "Unknown modifier"),
        (("detection:", "detections:"), 2, "detection"),
        (("  s: {Image", "\ts: {Image"), 9, "no rule: found character that cannot start any token"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, change: tuple[str, str], line: int, problem: str) -> None:
    good = RULE.replace("5d0c", "6d0c").lstrip()
    with pytest.raises(RuleError) as caught:
        compiled(tmp_path, RULE.replace(*change))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "any.yml"), line)
    assert problem in str(caught.value)
    if "\t" not in change[1]:
        with pytest.raises(RuleError) as caught:
            compiled(tmp_path, good + "---" + RULE.replace(*change))
        assert caught.value.line == line + len(good.splitlines())


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- a\n- b\n", "just words\n", "a: &a [*a]\n", "x: 1\n", "action: global\n"]
)
def test_a_file_that_is_no_rule_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RuleError, match=r"any\.yml") as caught:
        compiled(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yml").mkdir()
    with pytest.raises(RuleError, match=r"a\.yml: no rule: it is not a regular file"):
        compile_rules([tmp_path])
    (tmp_path / "a.yml").rmdir()
    os.mkfifo(tmp_path / "a.yml")
    with pytest.raises(RuleError, match="not a regular file"):
        compile_rules([tmp_path])


def test_a_folder_without_rules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="holds none"):
        compile_rules([tmp_path])


def test_a_correlation_may_name_a_rule_of_another_file_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "z.yml").write_text(RULE)
    rules = compiled(
        tmp_path,
        "title: c\ncorrelation:\n  type: event_count\n  rules: [5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b77]\n"
        "  timespan: 1m\n  condition: {gte: 2}\n",
    )
    assert [(rule.name, rule.silent) for rule in rules.rules] == [("any", False), ("z", True)]
    assert [each.rule for each in found(rules, run("/bin/uname"), run("/bin/uname", seq=2))] == ["any"]


def test_a_base_that_generates_makes_findings_too(tmp_path: Path) -> None:
    (tmp_path / "z.yml").write_text(RULE)
    rules = compiled(
        tmp_path,
        "title: c\ncorrelation:\n  type: event_count\n  rules: [z]\n  generate: true\n"
        "  timespan: 1m\n  condition: {gte: 2}\n",
    )
    assert [each.rule for each in found(rules, run("/bin/uname"), run("/bin/uname", seq=2))] == ["any", "z"]


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["s", "1 of them"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=5,
)
CORRELATED = """
title: c
name: c
level: low
correlation:
  type: temporal
  rules: [any#0]
  group-by: [Image]
  timespan: 1m
  aliases: {Image: {any#0: Image}}
  condition: {gte: 1}
category: own.c
summary: "{Image}"
targets: [Image]
maturity: sandbox
"""


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [*([at] if at else []), *(place for key, one in inner for place in places(one, (*at, key)))]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_stands_in_a_rule_it_is_one_line_or_a_rule(data: st.DataObject) -> None:
    documents = [yaml.safe_load(RULE), yaml.safe_load(CORRELATED)]
    number = data.draw(st.integers(0, 1))
    place = data.draw(st.sampled_from(places(documents[number])))
    node = documents[number]
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "any.yml"
        file.write_text(yaml.safe_dump_all(documents, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        answer: RuleSet | RuleError
        try:
            answer = compile_rules([Path(folder)])
        except RuleError as error:
            answer = error
        if isinstance(answer, RuleError):
            assert str(answer).startswith(str(file))
            assert "\n" not in str(answer)
        else:
            found(answer, run("/usr/bin/uname"))
            assert msgspec.json.decode(msgspec.json.encode(answer), type=RuleSet) == answer


@given(st.binary(max_size=80))
def test_any_bytes_are_one_line_or_a_rule(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "any.yml").write_bytes(RULE.encode()[: len(content)] + content)
        with contextlib.suppress(RuleError):
            compile_rules([Path(folder)])


# --- SigmaHQ's, which are no part of the project ----------------------------------------------------------------------

PRESENT = pytest.mark.skipif(not SIGMA.is_dir(), reason=f"SigmaHQ's rules are not at {SIGMA}")


@PRESENT
@pytest.mark.parametrize(
    ("folder", "evaluated", "left"),
    [("process_creation", 120, 2), ("file_event", 8, 0), ("network_connection", 5, 0), ("auditd", 48, 5)],
)
def test_sigmahq_s_rules_are_evaluated_or_listed(folder: str, evaluated: int, left: int) -> None:
    rules = compile_rules([SIGMA / folder])
    assert (len(rules.rules), len(rules.unevaluable)) == (evaluated, left)
    assert all(one.reason for one in rules.unevaluable)
    assert {rule.category.partition(".")[0] for rule in rules.rules} == {"outside"}


@PRESENT
def test_no_two_of_sigmahq_s_linux_rules_collide() -> None:
    rules = compile_rules([SIGMA])
    assert len(rules.rules) + len(rules.unevaluable) == len(list(SIGMA.rglob("*.yml")))
