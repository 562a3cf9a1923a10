from __future__ import annotations

from typing import Any

import pytest

from proctor.findings import Finding
from proctor.policy.records import Policy, Responses
from proctor.responses.decide import decide


def finding(**changed: Any) -> Finding:
    values: dict[str, Any] = {
        "id": "r:1", "rule": "compute.mining", "category": "compute.mining", "level": "high", "grade": "observed",
        "outcome": "attempted", "authorisation": "unaddressed", "summary": "s", "events": (1,),
    }  # fmt: skip
    return Finding(**(values | changed))


POLICY = Policy(
    workspace="/w", responses=Responses(on_violation="kill", category={"compute.mining": "freeze", "grader": "log"})
)


@pytest.mark.parametrize(
    ("changed", "action"),
    [
        ({}, "freeze"),
        ({"category": "compute.internal_probe"}, "kill"),
        ({"category": "grader.test_edit"}, "log"),
        ({"level": "medium"}, None),
        ({"level": "informational"}, None),
        ({"authorisation": "authorised"}, None),
        ({"grade": "stated"}, None),
        ({"grade": "inferred"}, None),
        ({"category": "outside.execution", "level": "critical"}, None),
        ({"level": "critical", "outcome": "blocked", "category": "solution.shipped_answer"}, "kill"),
    ],
)  # fmt: skip
def test_the_most_specific_entry_decides_and_only_violations_are_answered(
    changed: dict[str, Any], action: str | None
) -> None:
    assert decide(finding(**changed), POLICY) == action
