"""What the task and its policy said, as a report tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from proctor.reports.story import Story
from proctor.verdicts import Verdict

__all__ = ["ENTRIES", "policy_entries", "task"]

ENTRIES = 50
"""Members told of one policy key; the others are counted."""

_KEYS = (
    ("files", "write"), ("files", "read"), ("files", "protect"), ("files", "hide"), ("files", "home"),
    ("network", "allow"), ("env", "pass"), ("resources", "wall_seconds"), ("resources", "cpu_seconds"),
    ("resources", "memory_mb"), ("resources", "processes"), ("responses", "on_violation"), ("responses", "category"),
)  # fmt: skip


def task(story: Story) -> str | None:
    """Return what the agent was asked to do, in the policy's words; None where it states nothing."""
    said = _member(_policy(story), "episode").get("task")
    return said if isinstance(said, str) else None


def policy_entries(verdict: Verdict, story: Story, quote: Callable[[str, int], str]) -> Iterator[str]:
    """Yield the workspace, each policy key that is set, and what is authorised; ``quote`` makes foreign text inert."""
    policy = _policy(story)
    if story.opened is not None:
        yield f"workspace: {quote(story.opened.data.workspace, 300)}"
    for table, key in _KEYS:
        value = _member(policy, table).get(key)
        if value not in (None, [], (), {}, ""):
            yield f"{table}.{key}: {_value(value, quote)}"
    for entry in policy.get("authorise") or ():
        if isinstance(entry, dict):
            said = {key: quote(str(entry.get(key, "")), 200) for key in ("category", "scope", "reason", "by")}
            yield "authorised: {category} in {scope}, because {reason}, by {by}".format(**said)
    yield f"policy digest: {quote(verdict.proctor.policy_digest, 300)}"


def _policy(story: Story) -> dict[str, Any]:
    return story.opened.data.policy if story.opened is not None else {}


def _member(policy: dict[str, Any], key: str) -> dict[str, Any]:
    value = policy.get(key)
    return value if isinstance(value, dict) else {}


def _value(value: object, quote: Callable[[str, int], str]) -> str:
    if isinstance(value, (list, tuple)):
        shown = [_value(each, quote) for each in value[:ENTRIES]]
        return ", ".join(shown) + (f" and {len(value) - ENTRIES} more" if len(value) > ENTRIES else "")
    if isinstance(value, dict):
        if set(value) == {"host", "port"}:
            return quote(f"{value['host']}:{value['port']}", 300)
        shown = [f"{quote(str(key), 80)} {_value(each, quote)}" for key, each in list(value.items())[:ENTRIES]]
        return ", ".join(shown)
    return quote(str(value), 300)
