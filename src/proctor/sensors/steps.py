"""Which step an event belongs to: lineage first, then markers, then time; and never a guess.

A step's processes are those that descend from it. Lineage is sticky: a process keeps the step that its tree started
in, however long it lives. Only the children of a registered persistent shell, and of processes that belong to no
step, take the step that was open when they were forked. Where several were open, they are candidates and none is named.
"""

from __future__ import annotations

from dataclasses import dataclass

from proctor.events import Attribution

__all__ = ["ID_ALLOWED", "Origin", "Steps", "is_id"]

_MAX_ID = 200
ID_ALLOWED = f"an id of at most {_MAX_ID} printable characters"


def is_id(text: object) -> bool:
    """Whether ``text`` can be a step's id, wherever it comes from."""
    return isinstance(text, str) and 0 < len(text) <= _MAX_ID and text.isprintable()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a process's tree started: a step, or the steps it may have been, and how that is known."""

    step: str | None = None
    attribution: Attribution | None = None
    candidates: tuple[str, ...] = ()


NONE = Origin()


class Steps:
    """The steps open now, in the order they were opened."""

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    @property
    def open(self) -> tuple[str, ...]:
        """Ids of the open steps."""
        return tuple(self._open)

    @property
    def active(self) -> str | None:
        """The one open step; None where there is none or more than one."""
        return next(iter(self._open)) if len(self._open) == 1 else None

    def begin(self, step: str) -> None:
        """Open a step; opening it again changes nothing."""
        self._open[step] = None

    def end(self, step: str) -> None:
        """Close a step; closing one that is not open changes nothing."""
        self._open.pop(step, None)

    def at_fork(self) -> Origin:
        """The origin of a child forked now by a process of no step or by a persistent shell."""
        return origin_of(self.open)


def origin_of(open_steps: tuple[str, ...]) -> Origin:
    """The origin that a set of open steps gives a child forked among them."""
    if len(open_steps) == 1:
        return Origin(open_steps[0], "marker")
    return Origin(candidates=open_steps) if open_steps else NONE
