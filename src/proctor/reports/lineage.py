"""The process tree as rows, within bounds: those with evidence and their ancestors first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from proctor.reports.tracks import Track

__all__ = ["ROWS", "rows"]

ROWS = 200
"""Processes shown; the others are counted, at their parents and in all."""


def rows(processes: Sequence[Track]) -> tuple[list[tuple[int, Track, int]], int]:
    """Return depth, process and number of its children left out, each parent before its children; and how many in all.

    No recursion: how deep processes nest is the agent's to choose.
    """
    kept: dict[int, Track] = {}
    for track in sorted(processes, key=lambda track: (not track.cited, track.order)):
        line: Track | None = track
        while line is not None and line.order not in kept and len(kept) < ROWS:
            kept[line.order] = line
            line = line.parent
        if len(kept) >= ROWS:
            break
    children: dict[int | None, list[Track]] = {}
    hidden: Counter[int] = Counter()
    for track in processes:
        parent = track.parent.order if track.parent is not None else None
        if track.order in kept:
            children.setdefault(parent if parent in kept else None, []).append(track)
        elif parent is not None:
            hidden[parent] += 1
    out = []
    stack = [(0, track) for track in reversed(children.get(None, []))]
    while stack:
        depth, track = stack.pop()
        out.append((depth, track, hidden[track.order]))
        stack += [(depth + 1, child) for child in reversed(children.get(track.order, []))]
    return out, len(processes) - len(out)
