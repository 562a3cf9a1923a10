"""What a file event was done to: the parts of a call's paths that several mappings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proctor.events import kinds

__all__ = ["Extract", "Value", "joined", "renames", "source", "target"]

Value = str | int | bool | None
Extract = Callable[[Any], Value]


def joined(words: tuple[str, ...]) -> str | None:
    """Arguments as one text, joined by spaces; None without any."""
    return " ".join(words) if words else None


def renames(event: kinds.File) -> bool:
    """Whether the call gives a second name."""
    return event.data.op in {"rename", "link"}


def target(event: kinds.File) -> str:
    """What a call leaves behind: for rename and link the new name, else the object; as resolved, else as claimed."""
    data = event.data
    return (data.target_object or data.target or "") if renames(event) else (data.object or data.path)


def source(event: kinds.File) -> str | None:
    """What a name was given to: for rename and link the old name, for symlink what it points to."""
    data = event.data
    return (data.object or data.path) if renames(event) else data.target if data.op == "symlink" else None
