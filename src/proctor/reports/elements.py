"""HTML by one small builder in which text is inert unless it was built here.

The standard library's ``html.escape`` and this are enough for one page; a template engine would cost 70 ms to import
and adds a language in which escaping can be forgotten.
"""

from __future__ import annotations

from html import escape

from proctor.events.text import printable

__all__ = ["Markup", "code", "join", "tag", "text"]

_VOID = frozenset({"br", "meta", "link", "hr"})


class Markup(str):
    """HTML made by this module. Any other string is foreign text."""

    __slots__ = ()


def text(value: str, limit: int = 1000) -> Markup:
    """Return foreign text printable, at most ``limit`` characters, and escaped for elements and quoted attributes."""
    return value if isinstance(value, Markup) else Markup(escape(printable(value, limit)))


def code(value: str, limit: int = 300) -> Markup:
    """Return foreign text marked as such; ``bdi`` keeps letters of another direction from moving what stands beside."""
    return Markup(f'<code><bdi dir="ltr">{text(value, limit) or "&#39;&#39;"}</bdi></code>')


def tag(name: str, /, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element. ``class_`` gives ``class``, ``stroke_width`` gives ``stroke-width``; None leaves one out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{''.join(map(text, content))}</{name}>")


def join(*parts: str, by: str = "") -> Markup:
    """Return the parts as one, each made inert."""
    return Markup(text(by).join(map(text, parts)))
