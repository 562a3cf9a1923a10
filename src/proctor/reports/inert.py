"""Foreign text in Markdown: shown, never obeyed."""

from __future__ import annotations

import re

from proctor.events.text import printable

__all__ = ["block", "code", "prose"]

_TICKS = re.compile(r"`+")
# A colon makes a link of what follows (http://…) or begins an emoji's name; before a space or the end it does neither.
_MEANING = re.compile(r"([\\`*_\[\]<>&#!|~$@]|:(?![ \n]|$))")


def _fence(text: str, least: int) -> str:
    return "`" * max(least, 1 + max((len(run) for run in _TICKS.findall(text)), default=0))


def code(text: str, limit: int = 300) -> str:
    """Return ``text`` as a code span: its fence is longer than any run of backticks inside (CommonMark 0.31, 6.1)."""
    shown = printable(text, limit)
    if not shown.strip():
        shown = f"'{shown}'"
    fence = _fence(shown, 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def prose(text: str, limit: int = 500) -> str:
    """Return ``text`` as running text: every character that could mean something is escaped (CommonMark 0.31, 2.4)."""
    return _MEANING.sub(r"\\\1", printable(text, limit))


def block(text: str, limit: int = 4000) -> str:
    """Return ``text`` as a fenced block with its own lines, cut at ``limit`` characters."""
    lines = [printable(each, limit) for each in text[:limit].splitlines()]
    if len(text) > limit:
        lines.append(f"… ({len(text)} characters in all)")
    shown = "\n".join(lines)
    fence = _fence(shown, 3)
    return f"{fence}text\n{shown}\n{fence}"
