"""Whether verdict.json says what the journal says.

The journal is the record; verdict.json is derived from it and carries no signature of its own. ``close`` ties the two:
it holds the verdict and a digest of the findings, and is itself signed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from proctor.events import Close, Open
from proctor.journal.lines import Damage
from proctor.journal.reader import open_regular

__all__ = ["FILE", "Known", "check"]

FILE = "verdict.json"

_LIMIT = 64 * 1024 * 1024
"""Longest verdict.json that is read, bytes; it bounds a verifier's memory."""


class Known(Struct, frozen=True, kw_only=True):
    """What the journal itself says. ``responses`` counts those that did more than log."""

    opened: Open
    closed: Close
    tier: str | None
    gaps: int
    responses: int
    events: int
    head: str


def check(directory: Path, known: Known) -> Damage | None:
    """Return the first thing in which verdict.json differs from the journal; a missing file is ``cut``."""
    path = directory / FILE
    try:
        with open_regular(path) as file:
            data = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return Damage(None, "cut", f"{FILE} is missing")
    except OSError as error:
        return Damage(None, "verdict", f"{FILE} cannot be read: {error.strerror}")
    if len(data) > _LIMIT:
        return Damage(None, "verdict", f"{FILE} is longer than {_LIMIT} bytes")
    try:
        said = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        return Damage(None, "verdict", f"{FILE} is not JSON: {error}")
    if not isinstance(said, dict):
        return Damage(None, "verdict", f"{FILE} is not a JSON object")
    for name, stated, true in _pairs(said, known):
        # 1 == True and 1 == 1.0 in Python, but not in JSON.
        if stated != true or type(stated) is not type(true):
            reason = f"{FILE} differs from the journal in {name}: {_show(stated)}, not {_show(true)}"
            return Damage(None, "verdict", reason)
    return _hidden(said, known)


def _pairs(said: dict[str, Any], known: Known) -> list[tuple[str, Any, Any]]:
    """Return name, what verdict.json states, and what the journal says, of every field both have."""
    opened, closed = known.opened.data, known.closed.data
    journal, proctor = _member(said, "journal"), _member(said, "proctor")
    pairs: list[tuple[str, Any, Any]] = [
        ("episode", said.get("episode"), known.closed.episode),
        ("verdict", said.get("verdict"), closed.verdict),
        ("score_effect", said.get("score_effect"), closed.score_effect),
        ("findings", _digest(said.get("findings")), closed.findings_digest),
        ("journal.events", journal.get("events"), known.events),
        ("journal.head", journal.get("head"), known.head),
        ("proctor.version", proctor.get("version"), opened.proctor),
        ("proctor.policy_digest", proctor.get("policy_digest"), opened.policy_digest),
        ("proctor.rules_digest", proctor.get("rules_digest"), opened.rules_digest),
    ]
    if known.tier is not None:
        pairs.append(("tier", said.get("tier"), known.tier))
    if closed.agent_exit is not None:
        pairs.append(("agent_exit", said.get("agent_exit"), closed.agent_exit))
    return pairs


def _hidden(said: dict[str, Any], known: Known) -> Damage | None:
    """Return damage where verdict.json keeps silent about gaps or responses that the journal has."""
    for name, count in (("gaps", known.gaps), ("responses", known.responses)):
        if count and not said.get(name):
            return Damage(None, "verdict", f"{FILE} lists no {name}; the journal has {count}")
    return None


def _show(value: object) -> str:
    return repr(value)[:80] if isinstance(value, str | int | None) else f"a {type(value).__name__}"


def _member(said: dict[str, Any], name: str) -> dict[str, Any]:
    value = said.get(name)
    return value if isinstance(value, dict) else {}


def _digest(findings: object) -> str | None:
    """Return the digest of the findings as they stand in the file, as :func:`proctor.findings.digest` forms it.

    The decoded JSON is encoded again, not read into records first: an added member would be lost that way.
    """
    if not isinstance(findings, list):
        return None
    try:
        canonical = msgspec.json.encode(findings, order="sorted")
    except (ValueError, RecursionError):
        return None
    return hashlib.sha256(canonical).hexdigest()
