"""Which response a finding calls for. Pure."""

from __future__ import annotations

from proctor.findings import Finding
from proctor.policy.records import Action, Policy
from proctor.verdicts import weight

__all__ = ["decide"]


def decide(finding: Finding, policy: Policy) -> Action | None:
    """Return the action for ``finding``; None where it is no violation.

    What a finding counts as is decided by the written tables, as it is for the verdict. The most specific entry of
    ``[responses.category]`` decides (``compute.mining`` before ``compute``), then ``on_violation``.
    """
    if weight(finding) != "violation":
        return None
    by_category = policy.responses.category
    family = finding.category.partition(".")[0]
    return by_category.get(finding.category) or by_category.get(family) or policy.responses.on_violation
