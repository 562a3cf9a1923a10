"""Findings: what a rule or detector concluded, the evidence by event number, and how surely it may be put."""

from __future__ import annotations

from proctor.findings.records import (
    Authorisation,
    Authority,
    Finding,
    Grade,
    Level,
    Outcome,
    canonical,
    digest,
)

__all__ = ["Authorisation", "Authority", "Finding", "Grade", "Level", "Outcome", "canonical", "digest"]
