from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proctor.detectors.compile import SHIPPED, compile_rules, load
from proctor.detectors.rules import And, Match, Node, Not, Or, RuleSet
from proctor.errors import RuleError

HEAD = "title: t\nid: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b77\nstatus: test\nlevel: high\n"
EXEC = "logsource: {product: linux, category: process_creation}\n"


def folder(tmp_path: Path, text: str, name: str = "family/slug.yml") -> Path:
    file = tmp_path / "rules" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return tmp_path / "rules"


def compiled(tmp_path: Path, search: str, condition: str = "s", source: str = EXEC) -> RuleSet:
    return compile_rules(
        [folder(tmp_path, f"{HEAD}{source}detection:\n  s:\n    {search}\n  condition: {condition}\n")]
    )


def match(op: str, value: object, field: str = "CommandLine", *, cased: bool = False) -> Match:
    return Match(field, op, value, cased)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        ("CommandLine: A b", match("equals", "a b")),
        ("CommandLine: 443", match("equals", 443)),
        ("CommandLine: ''", match("equals", "")),
        ("CommandLine: null", match("null", None)),
        ("CommandLine|exists: true", match("exists", value=True)),
        ("CommandLine: A*b", match("wildcard", "a*b")),
        ("CommandLine: 'a?'", match("wildcard", "a?")),
        (r"CommandLine: 'a\*b'", match("equals", "a*b")),
        (r"CommandLine: 'a\*b*c'", match("wildcard", r"a\*b*c")),
        ("CommandLine: 'a*'", match("startswith", "a")),
        ("CommandLine: '*a'", match("endswith", "a")),
        ("CommandLine: '*a*'", match("contains", "a")),
        ("CommandLine: '*'", match("contains", "")),
        ("CommandLine|contains: A", match("contains", "a")),
        ("CommandLine|startswith: A", match("startswith", "a")),
        ("CommandLine|endswith: A", match("endswith", "a")),
        ("CommandLine|cased: Ab", match("equals", "Ab", cased=True)),
        ("CommandLine|contains|cased: Ab", match("contains", "Ab", cased=True)),
        ("CommandLine|re: 'a+$'", match("re", "a+$", cased=True)),
        ("CommandLine|re|i: a", match("re", "(?i)a", cased=True)),
        ("CommandLine|re|s|m: a", match("re", "(?ms)a", cased=True)),
        ("CommandLine|contains|all: [a, b]", And((match("contains", "a"), match("contains", "b")))),
        ("CommandLine|contains: [a, b]", Or((match("contains", "a"), match("contains", "b")))),
        ("CommandLine|neq: a", Not(match("equals", "a"))),
        ("CommandLine|base64offset|contains: http", Or(tuple(match("contains", t) for t in ("ahr0c", "h0dh", "odhrw")))),
        ("ProcessId|lt: 5", match("lt", 5, "ProcessId")),
        ("ProcessId|lte: 5", match("lte", 5, "ProcessId")),
        ("ProcessId|gt: 5", match("gt", 5, "ProcessId")),
        ("ProcessId|gte: 5", match("gte", 5, "ProcessId")),
        ("CommandLine|cidr: 10.0.0.0/8", match("cidr", "10.0.0.0/8")),
    ],
)  # fmt: skip
def test_what_is_written_becomes_this_test(tmp_path: Path, search: str, wanted: Node) -> None:
    assert [rule.condition for rule in compiled(tmp_path, search).rules] == [wanted]


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        ("CommandLine|fieldref: Image", "CommandLine: a value of type SigmaFieldReference"),
        ("CommandLine|expand: '%users%'", "CommandLine: a placeholder (|expand)"),
        ("CommandLine|hour: 3", "CommandLine: a value of type SigmaTimestampPart"),
        ("CommandLine|re: '\\p{L}'", "CommandLine: a regular expression that Python does not take"),
        ("- a keyword", "ConditionValueExpression: a search in no field"),
        ("User: root", "linux/process_creation has no field User"),
    ],
)
def test_what_is_not_evaluated_is_listed_with_its_reason(tmp_path: Path, search: str, reason: str) -> None:
    rules = compiled(tmp_path, search)
    assert rules.rules == ()
    assert [one.slug for one in rules.unevaluable] == ["family.slug"]
    assert rules.unevaluable[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{product: windows, category: process_creation}", "log source windows/process_creation is not recorded"),
        ("{product: linux, service: sshd}", "log source linux/sshd is not recorded"),
        (
            "{product: linux, category: process_creation, service: sshd}",
            "log source linux/process_creation/sshd is not recorded",
        ),
    ],
)
def test_a_log_source_that_is_not_recorded_is_listed(tmp_path: Path, source: str, reason: str) -> None:
    rules = compiled(tmp_path, "Image: a", source=f"logsource: {source}\n")
    assert [one.reason for one in rules.unevaluable] == [reason]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "slug.yml:2: no rule: did not find expected node content"),
        ("\xff\xfe: [", "no rule"),
        (HEAD + EXEC + "detection:\n  s: {Image: a}\n", "condition"),
        (HEAD + EXEC + "detection:\n  s: {Image: a}\n  condition: other\n", "'other' not defined"),
        (HEAD + EXEC + "detection:\n  s: {Image: a}\n  condition: s | count() > 5\n", "pipe syntax"),
        (HEAD + EXEC + "detection:\n  s: {Image: a}\n  condition: [s, s]\n", "2 conditions; one is allowed"),
        (HEAD + EXEC + "detection:\n  s: {Image|nosuch: a}\n  condition: s\n", "Unknown modifier 'nosuch'"),
        (HEAD + EXEC + "detection:\n  s: {Image|cidr: 10.0.0.0/99}\n  condition: s\n", "Invalid CIDR"),
        (HEAD.replace("high", "huge") + EXEC + "detection:\n  s: {Image: a}\n  condition: s\n", "huge"),
    ],
)
def test_a_file_that_is_no_rule_gets_one_line_that_names_it(tmp_path: Path, text: str, problem: str) -> None:
    path = folder(tmp_path, text)
    with pytest.raises(RuleError) as caught:
        compile_rules([path])
    assert str(path / "family/slug.yml") in str(caught.value)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def correlation(kind: str = "event_count", condition: str = "{gte: 3}", more: str = "") -> str:
    base = HEAD + "name: base\n" + EXEC + "detection:\n  s: {Image: a}\n  condition: s\n"
    return (
        f"{base}---\ntitle: c\nid: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b78\nstatus: test\nlevel: medium\n"
        f"correlation:\n  type: {kind}\n  rules: [base]\n  timespan: 2m\n  condition: {condition}\n{more}"
    )


def test_a_correlation_keeps_what_it_counts(tmp_path: Path) -> None:
    text = correlation("value_count", "{gt: 3, field: CommandLine}", "  group-by: [Image]\n")
    base, counted = compile_rules([folder(tmp_path, text)]).rules
    assert base.silent
    assert not counted.silent
    one = counted.correlation
    assert one is not None
    assert (one.type, one.bases, one.group_by, one.timespan_ns, one.op, one.count, one.field) == (
        "value_count", ("base",), ("Image",), 120 * 10**9, "gt", 3, "CommandLine",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (correlation("value_sum", "{gte: 1, field: ProcessId}"), "correlation value_sum; evaluated are event_count, "),
        (correlation(condition="{lt: 3}"), "a correlation on lt; evaluated are gte and gt"),
        (correlation("temporal", "base and not base"), "correlation temporal with a condition in words"),
        (correlation("temporal", "{gte: 2}"), "correlation temporal of more rules than it names"),
        (correlation("temporal_ordered", "{gte: 2}"), "correlation temporal_ordered of fewer than all of its rules"),
        (correlation(more="  group-by: [User]\n"), "groups or counts by User, which events of base do not have"),
    ],
)
def test_a_correlation_that_is_not_evaluated_is_listed_and_what_only_serves_it(
    tmp_path: Path, text: str, problem: str
) -> None:
    rules = compile_rules([folder(tmp_path, text)])
    assert rules.rules == ()
    base, correlated = rules.unevaluable
    assert base.reason == "it only serves family.slug#1, not evaluated"
    assert correlated.reason.startswith(problem)


def test_a_correlation_of_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"slug\.yml:15: correlates 'absent'; no rule here has this name or id"):
        compile_rules([folder(tmp_path, correlation().replace("rules: [base]", "rules: [absent]"))])


def test_a_correlation_of_what_is_not_evaluated_is_listed_too(tmp_path: Path) -> None:
    rules = compile_rules([folder(tmp_path, correlation().replace("{Image: a}", "{User: root}"))])
    assert rules.rules == ()
    assert [one.reason for one in rules.unevaluable] == [
        "linux/process_creation has no field User",
        "correlates base, not evaluated",
    ]


def test_two_folders_may_not_name_one_rule_twice(tmp_path: Path) -> None:
    text = HEAD + EXEC + "detection:\n  s: {Image: a}\n  condition: s\n"
    one, other = folder(tmp_path / "a", text), folder(tmp_path / "b", text)
    with pytest.raises(RuleError, match=r"family\.slug: two rules have this name"):
        compile_rules([one, other])


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="no such folder of rules"):
        compile_rules([tmp_path / "absent"])


# --- the cache --------------------------------------------------------------------------------------------------------


def cached(cache: Path) -> Path:
    (file,) = cache.iterdir()
    return file


def test_the_cache_gives_the_same_rules(tmp_path: Path) -> None:
    first = load([], tmp_path / "cache")
    assert first == compile_rules([SHIPPED])
    second = load([], tmp_path / "cache")
    assert second == first
    assert repr(second) == repr(first)  # 1 equals 1.0, and matches another text
    assert cached(tmp_path / "cache").stat().st_mode & 0o777 == 0o600


def test_a_warm_start_needs_neither_the_rule_language_nor_yaml(tmp_path: Path) -> None:
    load([], tmp_path / "cache")
    code = (
        "import sys; from pathlib import Path; from proctor.detectors.compile import load; from proctor.detectors.engine "
        "import Engine; rules = load([], Path(sys.argv[1])); assert rules.rules; "
        "print([name for name in ('sigma', 'yaml') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache")], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff", b'{"digest": "0", "rules": []}'])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    first = load([], tmp_path)
    file = cached(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(damage)
    assert load([], tmp_path) == first
    assert file.read_bytes() == whole


def test_a_cache_of_other_rules_is_not_taken(tmp_path: Path) -> None:
    text = HEAD + EXEC + "detection:\n  s: {Image: a}\n  condition: s\n"
    rules = folder(tmp_path, text)
    first = load([rules], tmp_path / "cache")
    folder(tmp_path, text.replace("Image: a", "Image: b"))
    second = load([rules], tmp_path / "cache")
    assert first.digest != second.digest
    assert second.rules[-1].condition == Match("Image", "equals", "b")


def test_a_file_s_name_is_part_of_the_digest(tmp_path: Path) -> None:
    text = HEAD + EXEC + "detection:\n  s: {Image: a}\n  condition: s\n"
    one, other = folder(tmp_path / "a", text), folder(tmp_path / "b", text, "family/other.yml")
    assert compile_rules([one]).digest != compile_rules([other]).digest


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert load([], tmp_path / "file" / "cache") == compile_rules([SHIPPED])
