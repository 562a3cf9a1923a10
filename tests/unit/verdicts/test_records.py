from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.events.kinds import LeftoverProcess
from proctor.findings import Authorisation, Authority, Finding, Grade, Level, Outcome, canonical, digest
from proctor.verdicts import (
    GapNote,
    JournalNote,
    Maker,
    ResponseNote,
    Verdict,
    VerdictName,
    exit_status,
    judge,
    not_observed,
    verdict_json,
)

TEXT = st.text(max_size=20)
FINDINGS = st.builds(
    Finding,
    id=TEXT, rule=TEXT, category=st.sampled_from(["grader.test_edit", "compute.mining", "x"]),
    level=st.sampled_from(get_args(Level)), grade=st.sampled_from(get_args(Grade)),
    outcome=st.sampled_from(get_args(Outcome)), authorisation=st.sampled_from(get_args(Authorisation)),
    authority=st.none() | st.builds(Authority, scope=TEXT, reason=TEXT, by=TEXT), step=st.none() | TEXT, summary=TEXT,
    events=st.lists(st.integers(1, 2**53), max_size=4).map(tuple), count=st.integers(1, 10**9),
    targets=st.lists(TEXT, max_size=3).map(tuple),
)  # fmt: skip


def verdict(name: VerdictName = "clean", findings: tuple[Finding, ...] = ()) -> Verdict:
    return Verdict(
        episode="e", verdict=name, score_effect="keep", tier="B", agent_exit=0, findings=findings,
        responses=(ResponseNote(action="kill", reason="r", event=3),), gaps=(GapNote(of="kernel", what="w", event=2),),
        degraded={"memory": "no controller"}, leftover=(LeftoverProcess(pid=4, cmdline=("a",)),),
        journal=JournalNote(events=9, head="ab"), proctor=Maker(version="1", policy_digest="p", rules_digest="r"),
    )  # fmt: skip


@given(st.lists(FINDINGS, max_size=3).map(tuple))
def test_the_findings_in_the_file_are_the_bytes_that_the_digest_is_of(findings: tuple[Finding, ...]) -> None:
    line = verdict_json(verdict(findings=findings))
    assert b"\n" not in line
    assert b'"findings":' + canonical(findings) + b"," in line
    read = msgspec.json.decode(line, type=Verdict)
    assert read == verdict(findings=findings)
    assert digest(read.findings) == digest(findings)


def test_the_contract_of_verdict_json() -> None:
    data = json.loads(verdict_json(verdict()))
    assert set(data) == {
        "schema", "episode", "verdict", "score_effect", "reasons", "tier", "agent_exit", "agent_signal", "findings",
        "responses", "gaps", "degraded", "leftover", "not_observed", "journal", "proctor",
    }  # fmt: skip
    assert data["schema"] == 1
    assert data["responses"] == [{"action": "kill", "finding": None, "limit": None, "reason": "r", "event": 3}]
    assert data["gaps"] == [{"of": "kernel", "what": "w", "event": 2}]
    assert data["journal"] == {"events": 9, "head": "ab"}
    assert set(data["proctor"]) == {"version", "policy_digest", "rules_digest"}
    assert list(data) == sorted(data)


@pytest.mark.parametrize(("name", "status"), [("clean", 0), ("violation", 10), ("suspect", 11), ("incomplete", 12)])
def test_exit_status(name: VerdictName, status: int) -> None:
    assert exit_status(verdict(name)) == status


@given(findings=st.lists(FINDINGS, max_size=4), gaps=st.integers(0, 2), empty=st.booleans())
def test_an_incomplete_record_is_never_clean(*, findings: list[Finding], gaps: int, empty: bool) -> None:
    judgement = judge(findings, gaps=gaps, empty=empty, tier="B")
    if judgement.verdict == "clean":
        assert gaps == 0
        assert empty
    assert (judgement.verdict in {"clean", "suspect"}) == (judgement.score_effect == "keep")
    assert judge(findings, gaps=gaps, empty=empty, tier="D").verdict != "clean"
    assert judge(list(reversed(findings)), gaps=gaps, empty=empty, tier="B") == judgement


def test_two_findings_of_one_id_are_both_counted() -> None:
    common = {"id": "r:1", "rule": "r", "category": "compute.mining", "grade": "observed", "outcome": "attempted",
              "authorisation": "unaddressed", "summary": "s", "events": [1]}  # fmt: skip
    findings = [msgspec.convert({**common, "level": level}, Finding) for level in ("high", "informational")]
    assert judge(findings, gaps=0, empty=True, tier="B").verdict == "violation"


def test_not_observed_leaves_out_what_was_found() -> None:
    found = msgspec.convert(
        {"id": "r:1", "rule": "r", "category": "b", "level": "low", "grade": "observed", "outcome": "blocked",
         "authorisation": "authorised", "summary": "s", "events": [1]}, Finding,
    )  # fmt: skip
    assert not_observed(["c", "b", "a", "c"], [found]) == ("a", "c")
