"""Rules on auditd's records: the shapes that such rules have, each with what must stay silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.detectors.auditd import CALLS, RECORDS
from proctor.detectors.compile import compile_rules
from proctor.detectors.engine import Engine
from proctor.detectors.fields import kind_of
from proctor.detectors.matching import Facts, predicate
from proctor.events import Event, kinds
from proctor.findings import Finding
from proctor.policy.records import Policy
from proctor.sandbox import calls
from tests.unit.detectors.events import connect, make, run, write
from tests.unit.events.strategies import events as any_events

HEAD = "title: t\nid: 5d0c3f0e-1b6a-4f0e-9a57-3f1c5a0f7b77\nlevel: low\nlogsource: {product: linux, service: auditd}\n"


def rule(folder: Path, detection: str) -> Any:
    (folder / "r.yml").write_text(f"{HEAD}detection:\n{detection}")
    return compile_rules([folder])


def found(folder: Path, detection: str, *events: Event) -> tuple[Finding, ...]:
    engine = Engine(rule(folder, detection), Policy(workspace="/w"))
    for event in events:
        engine.feed(event)
    return engine.findings()


def executed(*argv: str, path: str | None = None, image: str | None = None) -> Event:
    path = path if path is not None else f"/usr/bin/{argv[0]}"
    data = kinds.ExecData(call="execve", path=path, image=image or path, argv=argv, argc=len(argv))
    return make("exec", data)  # type: ignore[no-any-return]


def file(op: str, path: str, **more: Any) -> Event:
    call = {"create": "openat", "open_write": "openat"}.get(op, op)
    return make("file", kinds.FileData(op=op, call=call, path=path, object=path, **more))  # type: ignore[no-any-return]


def refused(call: str, *args: int) -> Event:
    return make("refused", kinds.RefusedData(call=call, nr=1, errno=1, reason="sandbox", args=args))  # type: ignore[no-any-return]


def selection(**fields: str) -> str:
    lines = "".join(f"    {name.replace('__', '|')}: {value}\n" for name, value in fields.items())
    return f"  s:\n{lines}  condition: s\n"


@pytest.mark.parametrize(
    ("detection", "fires", "silent"),
    [
        (selection(type="EXECVE", a0="shred", a1="-u"), executed("shred", "-u", "x"), executed("shred", "x", "-u")),
        (selection(type="execve", a0="shred"), executed("shred"), executed("cat", "shred")),
        (selection(type="EXECVE", a1="777"), executed("chmod", "777", "x"), executed("chmod", "0777", "x")),
        (selection(type="EXECVE", argc="3"), executed("a", "b", "c"), executed("a", "b")),
        (selection(a7__startswith="--slow"), executed(*"abcdefg", "--slower"), executed(*"abcdef", "--slower")),
        (
            selection(type="SYSCALL", comm="split", exe="/usr/bin/tool"),
            executed("split", image="/usr/bin/tool"),
            executed("tool", image="/usr/bin/tool"),
        ),
        (selection(comm="a-name-of-fifte"), executed("a-name-of-fifteen"), executed("a-name-of-fift")),
        (selection(type="SYSCALL", SYSCALL="mknodat"), file("mknodat", "/w/a"), file("mkdirat", "/w/mknodat")),
        (selection(type="SYSCALL", exe="/usr/bin/sh", SYSCALL="connect"), connect("10.0.0.1"), write("/w/connect")),
        (selection(SYSCALL="syslog", a0="5"), refused("syslog", 5), refused("syslog", 4)),
        (selection(SYSCALL="ptrace", a0="4206"), refused("ptrace", 0x4206), refused("ptrace", 4206)),
        (selection(SYSCALL="mount", success="'no'"), refused("mount"), file("mount", "/w/a")),
        (selection(type="PATH", name="/etc/ld.so.preload"), write("/etc/ld.so.preload"), write("/etc/ld.so.conf")),
        (selection(name="/etc/*release"), write("/etc/os-release"), write("/etc/os-release.d")),
        (selection(type="PATH", name__contains="/."), executed(".x", path="/tmp/.x"), executed("x", path="/tmp/x")),
        (selection(type="PATH", nametype="CREATE"), file("create", "/w/a"), file("create", "/w/a", existed=True)),
        (selection(type="PATH", nametype="DELETE"), file("unlink", "/w/a"), file("chmod", "/w/a")),
        (
            selection(name="/w/old", nametype="DELETE"),
            file("rename", "/w/old", target="/w/new", target_object="/w/new"),
            file("link", "/w/old", target="/w/new", target_object="/w/new"),
        ),
        (
            selection(name="/w/new", nametype="CREATE"),
            file("link", "/w/old", target="/w/new", target_object="/w/new"),
            file("open_write", "/w/new"),
        ),
        (
            selection(type="PATH", name="/etc/issue"),
            make("read", kinds.ReadData(path="/etc/issue", role="hidden", how="lease")),
            make("read", kinds.ReadData(path="/etc/issue.net", role="hidden", how="lease")),
        ),
        (
            "  e: {type: EXECVE}\n  k: {'|all': [truncate, -s]}\n  condition: e and k\n",
            executed("truncate", "-s", "10", "x"),
            executed("truncate", "x"),
        ),
        (
            "  e: {type: EXECVE}\n  k: [halt, 'power*ff']\n  n: [test]\n  condition: e and k and not n\n",
            executed("sh", "-c", "poweroff"),
            executed("halt", "--test"),
        ),
        ("  e: {type: EXECVE}\n  k: [6]\n  condition: e and k\n", executed("telinit", "6"), executed("telinit", "5")),
    ],
)  # fmt: skip
def test_a_rule_meets_its_record(tmp_path: Path, detection: str, fires: Event, silent: Event) -> None:
    assert [one.rule for one in found(tmp_path, detection, fires)] == ["r"]
    assert found(tmp_path, detection, silent) == ()


def test_fields_of_two_records_are_not_met_together(tmp_path: Path) -> None:
    assert found(tmp_path, selection(a0="shred", exe="/usr/bin/shred"), executed("shred")) == ()


def test_two_records_of_one_event_are_one_match(tmp_path: Path) -> None:
    either = "  a: {type: EXECVE}\n  b: {type: PATH}\n  condition: 1 of them\n"
    (one,) = found(tmp_path, either, executed("shred"))
    assert (one.count, one.events) == (1, (1,))


def test_a_call_without_a_second_name_has_one_path_record(tmp_path: Path) -> None:
    assert (
        found(tmp_path, "  s: {type: PATH}\n  f: {name|contains: /w}\n  condition: s and not f\n", write("/w/a")) == ()
    )
    assert found(tmp_path, "  f: {type: PATH}\n  g: {type: SYSCALL}\n  condition: not 1 of them\n", write("/w/a")) == ()


@pytest.mark.parametrize(
    ("detection", "reason"),
    [
        (selection(key="susp"), "linux/auditd has no field key"),
        (selection(type="SYSCALL", euid="33"), "linux/auditd has no field euid"),
        (selection(type="SYSCALL", SYSCALL="sysinfo"), "the call sysinfo is not recorded"),
        (selection(type="ADD_USER"), "records of type ADD_USER are not given"),
        (selection(type="EXECVE", name="/w/a"), "no event of linux/auditd has all that it asks for"),
    ],
)
def test_what_can_never_fire_is_listed(tmp_path: Path, detection: str, reason: str) -> None:
    rules = rule(tmp_path, detection)
    assert rules.rules == ()
    assert [one.reason for one in rules.unevaluable] == [reason]


def test_what_fires_in_part_says_so(tmp_path: Path) -> None:
    detection = "  a: {type: [TTY, USER_TTY]}\n  b: {SYSCALL: personality}\n  c: {name: /w/a}\n  condition: 1 of them\n"
    (one,) = rule(tmp_path, detection).rules
    assert one.note == "records of type TTY, USER_TTY are not given; the call personality is not recorded"
    assert len(found(tmp_path, detection, write("/w/a"))) == 1


def test_the_calls_are_those_that_leave_a_record() -> None:
    lives = {"fork", "vfork", "exit", "exit_group"}  # processes come and go in events of their own
    looks = {
        "recvfrom",
        "recvmsg",
        "recvmmsg",
        "setsockopt",
        "getsockname",
        "getpeername",
    }  # stop in tier C, unrecorded
    assert set(calls.NUMBERS) - lives - looks == CALLS


def test_every_record_has_a_type_and_a_text(tmp_path: Path) -> None:
    assert all({"type", "record"} <= set(fields) for fields in RECORDS.values())
    assert len(found(tmp_path, selection(type="SYSCALL", pid="10", ppid="1"), run("true"))) == 1


FOLDED = """
  a: {type: EXECVE, a0|contains: a}
  b: {type: [PATH, SYSCALL], record|contains: [a, e]}
  c: {nametype: [CREATE, DELETE]}
  d: {a0: null}
  e: {SYSCALL|startswith: c, exe|exists: true}
  condition: CONDITION
"""


@pytest.mark.parametrize("condition", ["1 of them", "b and not c", "not d", "e or (a and not b)", "d and not 1 of a*"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(events=st.lists(any_events(), max_size=20))
def test_a_rule_is_met_exactly_where_a_record_fits(tmp_path: Path, condition: str, events: list[Event]) -> None:
    """The engine leaves out what a record's name decides; written out plainly, the same events meet the rule."""
    rules = rule(tmp_path, FOLDED.lstrip("\n").replace("CONDITION", condition))
    (one,) = rules.rules
    assert one.condition is not None
    test = predicate(one.condition)
    wanted = 0
    engine = Engine(rules, Policy(workspace="/w"))
    for seq, event in enumerate(events, 1):
        numbered = msgspec.structs.replace(event, seq=seq)
        engine.feed(numbered)
        kind = str(type(event).__struct_config__.tag)
        records = [Facts(numbered, fields) for name, fields in RECORDS.items() if kind_of(name) == kind]
        wanted += any(test(facts) for facts in records if facts.value("type") is not None)
    assert sum(finding.count for finding in engine.findings()) == wanted
