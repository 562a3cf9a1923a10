"""The middle of a list of numbers."""

from __future__ import annotations


def median(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
