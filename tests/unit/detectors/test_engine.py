from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.detectors import engine as limits
from proctor.detectors.compile import SHIPPED, compile_rules
from proctor.detectors.engine import Engine
from proctor.detectors.fields import FIELDS, LOGSOURCES
from proctor.detectors.matching import Facts, predicate
from proctor.detectors.rules import RuleSet
from proctor.events import AnyEvent, Event, kinds
from proctor.events.kinds import decode, encode
from proctor.findings import Finding, canonical
from proctor.policy.records import Authorise, Policy
from tests.rules.cases import cases
from tests.unit.detectors.events import connect, make, run, write
from tests.unit.events.strategies import events as any_events

RULES = compile_rules([SHIPPED])
POLICY = Policy(workspace="/w")
HEAD = "title: t\nstatus: test\nlevel: high\n"


def judged(events: Sequence[Event], policy: Policy = POLICY, rules: RuleSet = RULES) -> tuple[Finding, ...]:
    engine = Engine(rules, policy)
    for event in events:
        engine.feed(event)
    return engine.findings()


def made(tmp_path: Path, *documents: str) -> RuleSet:
    folder = tmp_path / "rules" / "own"
    folder.mkdir(parents=True)
    for number, document in enumerate(documents):
        ident = f"id: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f{number:04d}\n"
        (folder / f"r{number}.yml").write_text(HEAD + ident + document)
    return compile_rules([tmp_path / "rules"])


EXEC = "logsource: {product: linux, category: process_creation}\ndetection:\n  s: {Image: make}\n  condition: s\n"

# --- one finding per rule and step ------------------------------------------------------------------------------------


def test_events_of_one_step_are_one_finding() -> None:
    found = judged(
        [write("/w/tests/a", 1, role="protected", step="1"), write("/w/tests/b", 2, role="protected", step="1")]
    )
    (one,) = found
    assert (one.id, one.events, one.count, one.step) == ("grader.test_edit:1", (1, 2), 2, "1")
    assert one.targets == ("/w/tests/a", "/w/tests/b")


def test_events_of_two_steps_are_two_findings() -> None:
    found = judged([write("/w/tests/a", n, role="protected", step=str(n)) for n in (1, 2)])
    assert [(one.id, one.step) for one in found] == [("grader.test_edit:1", "1"), ("grader.test_edit:2", "2")]


def test_an_agent_that_names_steps_without_end_makes_so_many_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FINDINGS", 3)
    found = judged([write("/w/tests/a", n, role="protected", step=f"s{n}") for n in range(1, 11)])
    assert [(one.id, one.step, one.count) for one in found] == [
        ("grader.test_edit:1", "s1", 1), ("grader.test_edit:2", "s2", 1), ("grader.test_edit:3", "s3", 1),
        ("grader.test_edit:4", None, 7),
    ]  # fmt: skip
    assert found[-1].events == tuple(range(4, 11))


def test_what_is_shown_is_bounded_and_what_is_counted_is_not() -> None:
    (one,) = judged([write(f"/w/tests/{n:04d}", n, role="protected") for n in range(1, 151)])
    assert one.events == tuple(range(1, limits.MAX_EVENTS + 1))
    assert one.count == 150
    assert one.targets == tuple(f"/w/tests/{n:04d}" for n in range(1, limits.MAX_SHOWN_TARGETS + 1))


def test_the_targets_shown_are_the_first_in_order_whenever_they_came() -> None:
    (one,) = judged([write(f"/w/tests/{n:04d}", 200 - n, role="protected") for n in range(150, 0, -1)])
    assert one.targets == tuple(f"/w/tests/{n:04d}" for n in range(1, limits.MAX_SHOWN_TARGETS + 1))


def test_feed_gives_what_is_new_or_changed() -> None:
    engine = Engine(RULES, POLICY)
    assert engine.feed(write("/w/a")) == []
    (first,) = engine.feed(write("/w/tests/a", 2, role="protected"))
    (second,) = engine.feed(write("/w/tests/a", 3, role="protected"))
    assert (first.id, first.count, second.id, second.count) == ("grader.test_edit:2", 1, "grader.test_edit:2", 2)


def test_findings_come_by_first_event_and_ids_are_unique() -> None:
    hooked = write("/w/conftest.py", 1)
    found = judged([hooked, write("/w/tests/a", 2, role="protected"), connect("169.254.169.254", 80, 3)])
    assert [one.events[0] for one in found] == [1, 2, 3]
    assert len({one.id for one in found}) == 3


def test_the_summary_is_inert() -> None:
    (one,) = judged([write("/w/tests/\x1b[2J\n", role="protected")])
    assert "\x1b" not in one.summary
    assert "\n" not in one.summary


# --- outcome ----------------------------------------------------------------------------------------------------------


def result(ref: int, outcome: kinds.Outcome, seq: int = 9) -> AnyEvent:
    return make("result", kinds.ResultData(ref=ref, outcome=outcome, how="seen"), seq=seq)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("outcomes", "results", "wanted"),
    [
        (["blocked"], [], "blocked"),
        (["blocked", "attempted"], [], "attempted"),
        (["attempted"], [], "attempted"),
        (["attempted"], [(1, "succeeded")], "succeeded"),
        (["attempted"], [(1, "failed")], "attempted"),
        (["attempted"], [(1, "unknown")], "unknown"),
        (["attempted", "attempted"], [(1, "unknown"), (2, "succeeded")], "succeeded"),
        (["attempted", "blocked"], [(1, "succeeded")], "succeeded"),
        (["attempted"], [(7, "succeeded")], "attempted"),
    ],
)
def test_the_outcome_is_the_strongest_that_was_seen(outcomes: Any, results: Any, wanted: str) -> None:
    events = [write("/w/tests/a", n, role="protected", outcome=one) for n, one in enumerate(outcomes, 1)]
    (found,) = judged(events + [result(ref, outcome) for ref, outcome in results])
    assert found.outcome == wanted


def test_a_result_changes_the_finding_once() -> None:
    engine = Engine(RULES, POLICY)
    engine.feed(write("/w/tests/a", role="protected"))
    (changed,) = engine.feed(result(1, "succeeded"))
    assert changed.outcome == "succeeded"
    assert engine.feed(result(1, "succeeded")) == []


def test_a_program_that_was_started_did_not_so_do_what_its_arguments_name() -> None:
    ended = make("exec_result", kinds.ExecResultData(ref=1, outcome="succeeded"), seq=2)
    (found,) = judged([run("/usr/bin/crontab", "-"), ended])
    assert (found.rule, found.outcome) == ("compute.persistence", "attempted")


@pytest.mark.parametrize(("steps", "wanted"), [(["a", "a"], "a"), (["a", "b"], None), (["a", None], None)])
def test_what_outlived_the_agent_belongs_to_the_step_it_all_came_from(
    steps: list[str | None], wanted: str | None
) -> None:
    left = tuple(kinds.LeftoverProcess(pid=5, exe="/usr/bin/sleep", origin_step=step) for step in steps)
    (found,) = judged([make("leftover", kinds.LeftoverData(processes=left))])
    assert (found.rule, found.step) == ("compute.persistence", wanted)


def test_results_are_awaited_for_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_AWAITED", 2)
    events = [write("/w/tests/a", n, role="protected", outcome="attempted") for n in (1, 2, 3)]
    assert judged([*events, result(1, "succeeded")])[0].outcome == "attempted"
    assert judged([*events, result(2, "succeeded")])[0].outcome == "succeeded"


# --- authorisation ----------------------------------------------------------------------------------------------------


def allowing(*scopes: str, category: str = "compute.internal_probe") -> Policy:
    return Policy(
        workspace="/w",
        authorise=tuple(Authorise(category=category, scope=scope, reason="asked for", by=scope) for scope in scopes),
    )


def scan(*addresses: str) -> list[AnyEvent]:
    return [connect(address, 22, n) for n, address in enumerate(addresses, 1)]


RANGE = [f"10.9.0.{n}" for n in range(1, 31)]


def test_a_scan_of_the_range_that_was_asked_for_is_authorised() -> None:
    (found,) = judged(scan(*RANGE), allowing("10.9.0.0/24"))
    assert (found.authorisation, found.count) == ("authorised", 30)
    assert found.authority is not None
    assert found.authority.scope == "10.9.0.0/24"


@pytest.mark.parametrize("at", [0, 5, 12, 30])
def test_one_address_outside_is_enough(at: int) -> None:
    (found,) = judged(scan(*RANGE[:at], "10.8.0.1", *RANGE[at:]), allowing("10.9.0.0/24"))
    assert (found.authorisation, found.authority) == ("unaddressed", None)


def test_the_entry_that_covers_most_is_named_at_the_end() -> None:
    (found,) = judged(scan("10.8.0.1", *RANGE), allowing("10.8.0.0/24", "10.9.0.0/24"))
    assert found.authority is not None
    assert found.authority.scope == "10.9.0.0/24"


def test_feed_knows_at_once_that_a_target_lies_outside() -> None:
    engine = Engine(RULES, allowing("10.9.0.0/24"))
    said = [found for event in scan(*RANGE[:12], "10.8.0.1", *RANGE[12:]) for found in engine.feed(event)]
    assert [found.authorisation for found in said] == ["authorised"] * 3 + ["unaddressed"] * 19


def test_targets_beyond_what_is_kept_are_not_authorised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TARGETS", 20)
    (found,) = judged(scan(*RANGE[:20]), allowing("10.9.0.0/24"))
    assert found.authorisation == "authorised"
    (found,) = judged(scan(*RANGE), allowing("10.9.0.0/24"))
    assert found.authorisation == "unaddressed"
    assert found.count == 30


def test_a_protected_or_hidden_path_is_forbidden_unless_authorised() -> None:
    events = [write("/w/tests/a", role="protected")]
    assert judged(events)[0].authorisation == "forbidden"
    assert judged(events, allowing("tests", category="grader.test_edit"))[0].authorisation == "authorised"
    read = make("read", kinds.ReadData(path="/w/answers", role="hidden", how="lease"))
    (found,) = judged([read])
    assert (found.authorisation, found.outcome) == ("forbidden", "succeeded")


def test_a_finding_without_targets_needs_a_scope_of_everything() -> None:
    refused = make("refused", kinds.RefusedData(call="setns", nr=308, errno=1, reason="sandbox"))
    assert judged([refused], allowing("10.0.0.0/8", category="compute"))[0].authorisation == "unaddressed"
    assert judged([refused], allowing("*", category="compute"))[0].authorisation == "authorised"


# --- grade ------------------------------------------------------------------------------------------------------------


def test_what_the_kernel_the_gateway_and_the_watch_saw_is_observed() -> None:
    flow = make("flow", kinds.FlowData(flow=1, phase="refused", asked="169.254.169.254:80"), seq=2)
    read = make("read", kinds.ReadData(path="/w/answers", role="hidden", how="lease"), seq=3)
    found = judged([write("/w/tests/a", role="protected"), flow, read])
    assert [(one.category, one.grade) for one in found] == [
        ("grader.test_edit", "observed"),
        ("compute.metadata_access", "observed"),
        ("solution.shipped_answer", "observed"),
    ]
    assert found[1].outcome == "blocked"


# --- correlations -----------------------------------------------------------------------------------------------------


def test_ten_within_a_minute_are_found_and_nine_are_not() -> None:
    assert judged(scan(*RANGE[:9])) == ()
    (found,) = judged(scan(*RANGE[:10]))
    assert (found.events, found.count) == (tuple(range(1, 11)), 10)


@pytest.mark.parametrize(("last", "found"), [(60, 1), (61, 0)])
def test_the_minute_is_the_events_own_time(last: int, found: int) -> None:
    events = [connect(address, 22, n, at_ns=n) for n, address in enumerate(RANGE[:9])]
    assert len(judged([*events, connect(RANGE[9], 22, 10, at_ns=last * 10**9)])) == found


def test_a_fan_out_over_several_steps_names_none() -> None:
    (found,) = judged([connect(address, 22, n, step=str(n % 2)) for n, address in enumerate(RANGE, 1)])
    assert found.step is None


def test_groups_are_counted_apart(tmp_path: Path) -> None:
    counted = (
        "name: made\n" + EXEC + "---\ntitle: c\nid: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b99\nstatus: test\nlevel: medium\n"
        "correlation:\n  type: event_count\n  rules: [made]\n  group-by: [CommandLine]\n  timespan: 1h\n  condition: {gte: 2}\n"
    )
    rules = made(tmp_path, counted)
    found = judged([run("make", word, seq=n) for n, word in enumerate("abcab", 1)], rules=rules)
    assert [one.events for one in found] == [(1, 4), (2, 5)]


def two(tmp_path: Path, kind: str, more: str = "") -> RuleSet:
    """A write of a .key file and a connection, correlated."""
    write = "name: wrote\nlogsource: {product: linux, category: file_event}\ndetection:\n  s: {TargetFilename|endswith: .key}\n  condition: s\n"
    reach = "name: reached\nlogsource: {product: linux, category: network_connection}\ndetection:\n  s: {DestinationPort: 22}\n  condition: s\n"
    both = f"correlation:\n  type: {kind}\n  rules: [wrote, reached]\n  timespan: 10s\n{more}"
    return made(tmp_path, write, reach, both)


@pytest.mark.parametrize(("kind", "backwards"), [("temporal", 1), ("temporal_ordered", 0)])
def test_events_of_two_rules_are_one_finding(tmp_path: Path, kind: str, backwards: int) -> None:
    rules = two(tmp_path, kind)
    (one,) = judged([write("/w/a.key", 1), write("/w/a", 2), connect("10.0.0.1", seq=3)], rules=rules)
    assert (one.rule, one.events, one.count) == ("own.r2", (1, 3), 2)
    assert len(judged([connect("10.0.0.1", seq=1), write("/w/a.key", 2)], rules=rules)) == backwards
    assert judged([write("/w/a.key", 1), connect("10.0.0.1", seq=2, at_ns=12 * 10**9)], rules=rules) == ()


def test_a_group_may_have_another_field_in_each_rule(tmp_path: Path) -> None:
    aliases = "  group-by: [who]\n  aliases:\n    who: {wrote: Image, reached: Image}\n"
    rules = two(tmp_path, "temporal", aliases)
    assert len(judged([write("/w/a.key", 1), connect("10.0.0.1", seq=2)], rules=rules)) == 1
    other = msgspec.structs.replace(connect("10.0.0.1", seq=2), exe="/usr/bin/nc")
    assert judged([write("/w/a.key", 1), other], rules=rules) == ()


def chained(tmp_path: Path, more: str = "") -> RuleSet:
    """Three probes of port 22 and then a write of a .key file, as the specification's failed logins and a success."""
    write = "name: wrote\nlogsource: {product: linux, category: file_event}\ndetection:\n  s: {TargetFilename|endswith: .key}\n  condition: s\n"
    reach = "name: reached\nlogsource: {product: linux, category: network_connection}\ndetection:\n  s: {DestinationPort: 22}\n  condition: s\n"
    many = "name: many\ncorrelation:\n  type: event_count\n  rules: [reached]\n  timespan: 5s\n  condition: {gte: 3}\n"
    then = f"correlation:\n  type: temporal_ordered\n  rules: [many, wrote]\n  timespan: 10s\n{more}"
    return made(tmp_path, write, reach, many, then)


def test_a_correlation_may_take_a_correlation(tmp_path: Path) -> None:
    rules = chained(tmp_path)
    probes = [connect("10.0.0.1", seq=n) for n in range(1, 4)]
    (one,) = judged([*probes, write("/w/a.key", 4)], rules=rules)
    assert (one.rule, one.events) == ("own.r3", (3, 4))
    assert judged([*probes[:2], write("/w/a.key", 4)], rules=rules) == ()
    assert judged([write("/w/a.key", 1), *(connect("10.0.0.1", seq=n) for n in (2, 3, 4))], rules=rules) == ()


def test_an_inner_correlation_is_met_again_as_long_as_it_holds(tmp_path: Path) -> None:
    rules = chained(tmp_path)
    early = [connect("10.0.0.1", seq=n) for n in range(1, 4)]
    late = [connect("10.0.0.1", seq=n) for n in (50, 51, 52)]
    assert judged([*early, write("/w/a.key", 20)], rules=rules) == ()
    (one,) = judged([*early, *late, write("/w/a.key", 60)], rules=rules)
    assert one.events == (52, 60)


def test_an_inner_correlation_that_generates_makes_its_own_finding(tmp_path: Path) -> None:
    rules = chained(tmp_path, "  generate: true\n")
    found = judged([*(connect("10.0.0.1", seq=n) for n in range(1, 6)), write("/w/a.key", 6)], rules=rules)
    assert {one.rule: one.events for one in found} == {"own.r2": (1, 2, 3, 4, 5), "own.r0": (6,), "own.r3": (5, 6)}


def test_a_correlation_that_takes_itself_is_listed(tmp_path: Path) -> None:
    one = "name: one\ncorrelation:\n  type: event_count\n  rules: [two]\n  timespan: 5s\n  condition: {gte: 3}\n"
    two = one.replace("name: one", "name: two").replace("[two]", "[one]")
    rules = made(tmp_path, one, two)
    assert rules.rules == ()
    assert [each.reason for each in rules.unevaluable] == [
        "correlates itself, by way of two", "correlates itself, by way of one",
    ]  # fmt: skip


def test_so_many_groups_are_counted_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test_groups_are_counted_apart(tmp_path)
    monkeypatch.setattr(limits, "MAX_GROUPS", 2)
    rules = compile_rules([tmp_path / "rules"])
    found = judged([run("make", word, seq=n) for n, word in enumerate("abcab", 1)], rules=rules)
    assert found == ()


# --- purity -----------------------------------------------------------------------------------------------------------

ALL_CASES = [event for kind in ("firing", "benign") for _, _, events in cases(kind) for event in events]


def renumbered(events: Sequence[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, seq=n, t_mono_ns=n * 10**7) for n, event in enumerate(events, 1)]


streams = st.lists(st.sampled_from(ALL_CASES) | any_events(), max_size=60).map(renumbered)
slow = settings(
    max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)


@slow
@given(streams)
def test_any_events_are_judged_and_twice_alike(events: list[Event]) -> None:
    first = judged(events)
    again = judged([decode(encode(event)) for event in events])
    assert canonical(first) == canonical(again)
    assert len({one.id for one in first}) == len(first)


@slow
@given(streams)
def test_looking_at_the_findings_on_the_way_changes_nothing(events: list[Event]) -> None:
    engine = Engine(RULES, allowing("10.9.0.0/24"))
    for event in events:
        engine.feed(event)
        engine.findings()
    assert canonical(engine.findings()) == canonical(judged(events, allowing("10.9.0.0/24")))


@slow
@given(streams)
def test_a_rule_is_met_exactly_where_its_condition_holds(events: list[Event]) -> None:
    """The engine leaves rules out by operation and role; written out plainly, the same events meet them."""
    wanted: dict[str, int] = {}
    for event, rule in itertools.product(events, RULES.rules):
        kind = str(type(event).__struct_config__.tag)
        if rule.condition is None or rule.silent or kind not in LOGSOURCES[rule.logsource].kinds:
            continue
        if LOGSOURCES[rule.logsource].only(event) and predicate(rule.condition)(Facts(event, FIELDS[kind])):
            wanted[rule.name] = wanted.get(rule.name, 0) + 1
    found: dict[str, int] = {}
    counted = {rule.name for rule in RULES.rules if rule.correlation is not None}
    for one in judged(events):
        name = one.id.rpartition(":")[0]
        if name not in counted:
            found[name] = found.get(name, 0) + one.count
    assert found == wanted
