"""Lists and tables of a page, bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proctor.reports.asked import ENTRIES
from proctor.reports.elements import Markup, tag

__all__ = ["items", "table"]


def items(entries: Sequence[str], none: str = "None.") -> Markup:
    """A list of at most :data:`ENTRIES` entries, the others counted; ``none`` where it is empty."""
    if not entries:
        return tag("p", none)
    more = len(entries) - ENTRIES
    last = [tag("li", f"and {more} more")] if more > 0 else []
    return tag("ul", *(tag("li", entry) for entry in entries[:ENTRIES]), *last)


def table(head: Sequence[str], body: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> Markup:
    """A table; ``classes`` are those of the columns."""
    kinds = [*classes, *[""] * len(head)]

    def row(name: str, cells: Sequence[str]) -> Markup:
        return tag("tr", *(tag(name, cell, class_=kind or None) for cell, kind in zip(cells, kinds, strict=False)))

    return tag("table", tag("thead", row("th", head)), tag("tbody", *(row("td", cells) for cells in body)))
