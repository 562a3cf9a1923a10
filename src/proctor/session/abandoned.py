"""Copies of workspaces that nobody brought back: their supervisor was killed (tier C)."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from proctor.events.text import printable
from proctor.sandbox import domain
from proctor.sandbox.layout import PREFIX

__all__ = ["Abandoned", "abandoned"]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """``copy`` of ``root``, made for the episode whose record is in ``out``."""

    root: str
    copy: str
    out: str

    def __str__(self) -> str:
        where, root = printable(self.copy, 300), printable(self.root, 300)
        return f"an agent's work was not brought back, its supervisor was killed: {where}, the copy of {root}"


def abandoned() -> Iterator[Abandoned]:
    """Those of this user, in the folders where copies are made."""
    for place in domain.places():
        try:
            names = sorted(name for name in os.listdir(place) if name.startswith(PREFIX))
        except OSError:
            continue
        for name in names:
            base = f"{place}/{name}"
            try:
                if os.lstat(base).st_uid != os.getuid():
                    continue
                with open(f"{base}/{domain.COPIES}", "r+", encoding="utf-8") as file:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or its supervisor lives
                    said = json.load(file)
                found = [Abandoned(str(root), str(copy), str(said["out"])) for root, copy in said["copies"]]
            except (OSError, ValueError, KeyError, TypeError):  # not ours after all, or cut off
                continue
            yield from (one for one in found if os.path.isdir(one.copy))
