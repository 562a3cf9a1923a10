from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proctor.detectors.compile import SHIPPED, compile_rules
from proctor.detectors.fields import FIELDS, LOGSOURCES, kind_of
from proctor.detectors.matching import Facts, predicate
from proctor.detectors.narrowing import KEYS, gate, narrow
from proctor.detectors.rules import And, Match, Node, Not, Or
from proctor.events import KINDS
from tests.unit.detectors.test_matching import NODES, meaning
from tests.unit.events.strategies import records

A, B = Match("F", "equals", "a"), Match("G", "equals", "b")


def decided(answer: bool) -> Any:
    return lambda match: answer if match.field == "F" else None


@pytest.mark.parametrize(
    ("node", "yes", "no"),
    [
        (A, True, False),
        (B, B, B),
        (Not(A), False, True),
        (Not(B), Not(B), Not(B)),
        (And((A, B)), B, False),
        (Or((A, B)), True, B),
        (And((A, A)), True, False),
        (Or((A, A)), True, False),
        (And((A, B, B)), And((B, B)), False),
    ],
)
def test_what_is_decided_is_left_out(node: Node, yes: Node | bool, no: Node | bool) -> None:
    assert narrow(node, decided(answer=True)) == yes
    assert narrow(node, decided(answer=False)) == no


@given(NODES, st.none() | st.text("abAB", max_size=3), st.none() | st.text("abAB", max_size=3))
def test_what_is_left_means_the_same(node: Node, f: str | None, g: str | None) -> None:
    fields = {"F": f, "G": g}
    left = narrow(node, lambda match: meaning(match, fields) if match.field == "F" else None)
    assert (left if isinstance(left, bool) else meaning(left, fields)) == meaning(node, fields)


OPERATIONS = {"file": ["open_write", "create", "rename", "link", "symlink", "unlink"]}


def changed(event: Any, **data: Any) -> Any:
    return msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, **data))


@given(NODES, st.none() | st.text("abAB", max_size=3), st.none() | st.text("abAB", max_size=3))
def test_where_a_node_holds_its_gate_is_open(node: Node, f: str | None, g: str | None) -> None:
    fields = {"F": f, "G": g}
    needed = gate(node)
    if needed is not None and meaning(node, fields):
        assert any(meaning(match, fields) for match in needed)


def test_the_cheapest_gate_is_taken() -> None:
    costly = Match("F", "re", "a")
    assert gate(And((costly, A))) == (A,)
    assert gate(And((Not(A), costly))) == (costly,)
    assert gate(Or((A, B))) == (A, B)
    assert gate(Or((A, Not(B)))) is None
    assert gate(Not(A)) is None
    assert gate(Match("F", "exists", value=False)) is None


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_key_decides_the_fields_that_it_says(kind: str, data: st.DataObject) -> None:
    """Two events of one key agree in those fields, and in every log source's own condition."""
    key, fields = KEYS[kind]
    record = KINDS[kind_of(kind)]
    one, other = data.draw(records(record)), data.draw(records(record))
    if kind_of(kind) in OPERATIONS:
        one = changed(one, op=data.draw(st.sampled_from(OPERATIONS[kind_of(kind)])))
    names = {part.removeprefix("data.") for part in repr(key).split("'")[1::2] if part.startswith("data.")}
    other = changed(other, **{name: getattr(one.data, name) for name in names})
    assert key(one) == key(other)
    assert [FIELDS[kind][name](one) for name in fields] == [FIELDS[kind][name](other) for name in fields]
    for source in LOGSOURCES.values():
        if kind in source.kinds:
            assert source.only(one) == source.only(other)


def test_every_file_rule_is_left_out_for_an_open_that_changes_nothing() -> None:
    """What keeps an ordinary event cheap."""
    rules = [rule for rule in compile_rules([SHIPPED]).rules if rule.logsource == "proctor/file" and rule.condition]
    data = {"op": "open", "call": "openat", "path": "a", "role": "workspace", "existed": True}
    event = msgspec.convert(
        {"kind": "file", "v": 1, "episode": "e", "seq": 1, "t_mono_ns": 1, "t_wall_ns": 1, "sensor": "kernel", "data": data},
        KINDS["file"],
    )  # fmt: skip
    facts = Facts(event, FIELDS["file"])
    fields = KEYS["file"][1]
    left = [
        narrow(rule.condition, lambda match: predicate(match)(facts) if match.field in fields else None)
        for rule in rules
        if rule.condition is not None
    ]
    assert len(rules) > 5
    assert all(one is False for one in left)
