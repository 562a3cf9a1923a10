"""Which response a finding calls for. Pure."""

from __future__ import annotations

from proctor.findings import Finding
from proctor.policy.records import Action, Policy

__all__ = ["decide"]

_VIOLATING = ("high", "critical")
_SURE = ("observed", "corroborated", "recorded")


def decide(finding: Finding, policy: Policy) -> Action | None:
    """Return the action for ``finding``; None where it is no violation.

    A finding is one if its level is high or critical, it is not authorised, and it is known by more than someone's
    word. The most specific entry of ``[responses.category]`` decides (``compute.mining`` before ``compute``), then
    ``on_violation``.
    """
    if finding.level not in _VIOLATING or finding.authorisation == "authorised" or finding.grade not in _SURE:
        return None
    by_category = policy.responses.category
    family = finding.category.partition(".")[0]
    return by_category.get(finding.category) or by_category.get(family) or policy.responses.on_violation
