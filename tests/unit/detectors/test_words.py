"""What a finding names, and how, for each operation on a file."""

from __future__ import annotations

import pytest

from proctor.detectors.compile import SHIPPED, compile_rules
from proctor.detectors.engine import Engine
from proctor.detectors.words import OPERATIONS
from proctor.events import AnyEvent, kinds
from proctor.findings import Finding
from proctor.policy.records import Authorise, Policy

RULES = compile_rules([SHIPPED])


def moved(source: str, target: str, role: kinds.PathRole, target_role: kinds.PathRole) -> AnyEvent:
    data = kinds.FileData(
        op="rename", call="rename", path=source, object=source, role=role, target=target, target_object=target,
        target_role=target_role, existed=True, outcome="blocked",
    )  # fmt: skip
    return kinds.File(
        v=1, episode="e", seq=2, t_mono_ns=0, t_wall_ns=0, sensor="kernel", pid=9, exe="/usr/bin/mv", data=data
    )


def judged(event: AnyEvent, *scopes: str) -> dict[str, Finding]:
    entries = tuple(Authorise(category="grader", scope=scope, reason="r", by="b") for scope in scopes)
    engine = Engine(RULES, Policy(workspace="/w", authorise=entries))
    engine.feed(event)
    return {finding.rule: finding for finding in engine.findings()}


def test_a_protected_file_that_is_moved_is_named_and_not_where_it_was_to_go() -> None:
    found = judged(moved("/w/tests/a", "/w/off", "protected", "workspace"))
    assert found["grader.test_delete"].targets == ("/w/tests/a",)
    told = "/usr/bin/mv asked to rename /w/tests/a, which the policy protects, to /w/off"
    assert found["grader.test_delete"].summary == told


@pytest.mark.parametrize(("scope", "said"), [("/w/tests", "authorised"), ("/w/off", "forbidden")])
def test_an_authorisation_covers_what_is_moved(scope: str, said: str) -> None:
    event = moved("/w/tests/a", "/w/off", "protected", "workspace")
    assert judged(event, scope)["grader.test_delete"].authorisation == said


def test_a_hidden_file_that_is_moved_is_named_too() -> None:
    found = judged(moved("/w/key", "/w/a", "hidden", "workspace"))["solution.shipped_answer"]
    assert found.targets == ("/w/a", "/w/key")


def test_an_opener_that_nobody_knows_is_said_in_words() -> None:
    data = kinds.ReadData(path="/w/key", role="hidden", how="inotify", opener_unknown=True)
    event = kinds.Read(v=1, episode="e", seq=1, t_mono_ns=0, t_wall_ns=0, sensor="watch", data=data)
    (found,) = judged(event).values()
    assert found.summary == "a program not known opened /w/key, which the policy hides; it got a decoy"


@pytest.mark.parametrize("op", ["create", "link", "open_write", "rename", "symlink", "truncate"])
def test_operations_are_in_words(op: str) -> None:
    name = "/w/conftest.py"
    path = "/w/draft" if op in {"link", "rename"} else name
    data = kinds.FileData(
        op=op, call="c", path=path, object=path, role="workspace", target=name, target_object=name,
        target_role="workspace",
    )  # fmt: skip
    event = kinds.File(v=1, episode="e", seq=1, t_mono_ns=0, t_wall_ns=0, sensor="kernel", exe="/bin/x", data=data)
    found = judged(event)
    assert found
    for finding in found.values():
        assert "_" not in finding.summary
        assert finding.summary.startswith(f"/bin/x asked to {OPERATIONS[op]} /w/conftest.py")
