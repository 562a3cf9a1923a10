"""Secrets are taken out of events before they are stored.

A secret becomes ``[redacted:KIND]``: ``known`` is a value given to the :class:`Redactor`, the others are found by their
shape, see :mod:`proctor.journal.shapes`. Not found are a secret that was encoded or split, and one without a known
shape. Digests (``argv_digest``, an output's ``digest``) are over the unredacted bytes: they do not give a secret away,
but confirm a guess of a weak one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from msgspec import Struct, structs

from proctor.events import (
    AnyEvent,
    Change,
    Event,
    Exec,
    Exit,
    File,
    Flow,
    Gap,
    Leftover,
    Lookup,
    Mark,
    Net,
    Open,
    Output,
    Process,
    Read,
    Refused,
    Response,
    Step,
    Usage,
)
from proctor.events.text import from_bytes, to_bytes
from proctor.journal.shapes import FLAG, GROUPS, NAME, Shape

__all__ = ["EXCERPT", "MARGIN", "Redactor", "secret_values"]

EXCERPT = 4096
"""Longest excerpt in bytes, as :class:`proctor.events.kinds.OutputData` allows."""

MARGIN = 4096
"""How many bytes beyond an excerpt's edge :meth:`Redactor.excerpt` wants to see, so that a secret across the edge is
seen whole. The longest in use, PEM blocks of RSA keys of 4,096 bits, take 3,300 bytes."""

E = TypeVar("E", bound=Event)

_SHORTEST = 6
"""A shorter known value is not looked for: it would be found in ordinary words. Characters."""

_SEEN = 4096
_SEEN_LENGTH = 256


def secret_values(environ: Mapping[str, str]) -> list[str]:
    """Return the values of variables that are named like a secret (``…KEY``, ``…TOKEN``, ``…PASSWORD``, …)."""
    return [value for name, value in environ.items() if _names_secret(name)]


def _names_secret(name: str) -> bool:
    return name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD")) or NAME.fullmatch(name) is not None


class Redactor:
    """Replaces secrets in text and in events.

    Args:
        secrets: values known to be secret; those of fewer than six characters are ignored. They are also found
            percent-encoded (RFC 3986, section 2.1).
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # os.environ carries bytes that are no UTF-8 as surrogates; events carry them as proctor.events.text does.
        known = {from_bytes(s.encode("utf-8", "surrogateescape")) for s in secrets if len(s) >= _SHORTEST}
        known |= {_percent(secret) for secret in known}
        # Longest first: of two secrets of which one begins the other, the longer one is the one to replace.
        self._known = tuple(sorted(known, key=lambda secret: (-len(secret), secret)))
        self._pattern = re.compile("|".join(map(re.escape, self._known)))
        # Paths and names come again and again; those found to be without a secret are not searched twice.
        self._clean: set[str] = set()

    def text(self, text: str) -> str:
        """Return ``text`` with every secret replaced; the same object where there is none."""
        if text in self._clean:
            return text
        out = self._pattern.sub("[redacted:known]", text) if self._holds_known(text) else text
        for shape in _candidates(out.lower()):
            out = _replace(shape, out)
        if out != text:
            return out
        self._keep_in_mind(text)
        return text

    def argv(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Return ``argv`` with every secret replaced, also one that follows its option; the same object if none is."""
        # No known value and no trigger holds a NUL, and neither does an argument: one search covers them all.
        joined = "\0".join(argv)
        if joined in self._clean:
            return argv
        low = joined.lower()
        if not (self._holds_known(joined) or _candidates(low) or "mysql" in low or "mariadb" in low):
            self._keep_in_mind(joined)
            return argv
        out = list(map(self.text, argv))
        for index, place in _after_options(argv):
            out[index] = place
        return argv if tuple(out) == argv else tuple(out)

    def excerpt(self, head: bytes, tail: bytes, total: int) -> tuple[str, str]:
        """Return the first and the last bytes of a stream as text of at most :data:`EXCERPT` bytes each, redacted.

        Args:
            head: the stream's first ``EXCERPT + MARGIN`` bytes, or all of it.
            tail: its last ``EXCERPT + MARGIN`` bytes; ignored where ``head`` is all of it.
            total: the stream's length in bytes.
        """
        first = to_bytes(self.text(from_bytes(head)))
        if total <= len(head):
            return from_bytes(first[:EXCERPT]), from_bytes(first[EXCERPT:][-EXCERPT:])
        # The margin is dropped after redaction: only there can a secret stand that the buffer's edge has cut.
        last = to_bytes(self.text(from_bytes(tail)))[MARGIN:]
        return from_bytes(first[: max(0, len(first) - MARGIN)][:EXCERPT]), from_bytes(last[-EXCERPT:])

    def event(self, event: E) -> E:
        """Return ``event`` with its free text redacted; the same object where there is no secret."""
        known = cast("AnyEvent", event)
        changed: dict[str, Any] = self._changes(event, ("exe", "origin_step", "active_step"), ())
        if event.candidates:
            _put(changed, event, "candidates", tuple(map(self.text, event.candidates)))
        data: Struct = known.data
        fields = _FIELDS.get(type(event))
        inner = self._changes(data, *fields) if fields is not None else self._nested(known)
        if inner:
            changed["data"] = structs.replace(data, **inner)
        return structs.replace(event, **changed) if changed else event

    def _changes(self, record: Struct, texts: tuple[str, ...], argvs: tuple[str, ...]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for name in texts:
            value = getattr(record, name)
            if value is not None and value not in self._clean:
                _put(changes, record, name, self.text(value))
        for name in argvs:
            value = getattr(record, name)
            if value:
                _put(changes, record, name, self.argv(value))
        return changes

    def _nested(self, event: AnyEvent) -> dict[str, Any]:
        """Return the changes of data that has records or objects inside."""
        changes: dict[str, Any] = {}
        if isinstance(event, Leftover):
            processes = event.data.processes
            _put(changes, event.data, "processes", self._each(processes, ("exe", "origin_step"), ("cmdline",)))
        elif isinstance(event, Usage):
            _put(changes, event.data, "steps", self._each(event.data.steps, ("step",), ()))
        elif isinstance(event, Open):
            changes = self._changes(event.data, ("workspace",), ())
            _put(changes, event.data, "policy", self._json(event.data.policy))
        return changes

    def _each(self, records: tuple[Struct, ...], texts: tuple[str, ...], argvs: tuple[str, ...]) -> tuple[Struct, ...]:
        return tuple(
            structs.replace(record, **changes) if (changes := self._changes(record, texts, argvs)) else record
            for record in records
        )

    def _json(self, value: object) -> object:
        """Return plain objects redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {name: self._member(name, inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self._json, value))
        return value

    def _member(self, name: str, value: object) -> object:
        """Return the value of a member; one that is named like a secret (``[env] set``) loses it whole."""
        if value and isinstance(value, str) and _names_secret(name):
            return "[redacted:secret]"
        return self._json(value)

    def _keep_in_mind(self, text: str) -> None:
        if len(text) <= _SEEN_LENGTH:
            if len(self._clean) >= _SEEN:
                self._clean.clear()
            self._clean.add(text)

    def _holds_known(self, text: str) -> bool:
        for secret in self._known:  # noqa: SIM110 - a generator costs more than the search, for every new text
            if secret in text:
                return True
        return False


_FIELDS: dict[type[Event], tuple[tuple[str, ...], tuple[str, ...]]] = {
    Exec: (("path", "image", "cwd"), ("argv", "parent_argv")),
    Process: ((), ("cmdline",)),
    Exit: ((), ("cmdline",)),
    File: (("path", "object", "target", "target_object"), ()),
    Net: (("address",), ()),
    Refused: (("path",), ()),
    Read: (("path",), ()),
    Flow: (("asked", "address", "reason"), ()),
    Lookup: (("name",), ()),
    Mark: (("id",), ()),
    Step: (("id",), ("argv",)),
    Output: (("head", "tail"), ()),
    Change: (("path", "text"), ()),
    Gap: (("what",), ()),
    Response: (("reason",), ()),
}
"""Which members of a kind's data are free text, and which are arguments."""

_MYSQL = frozenset({"mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin"})


_OPENSSL = ("-pass", "-passin", "-passout")
"""openssl-passphrase-options(1): ``pass:password``."""


def _put(changes: dict[str, Any], record: Struct, name: str, value: object) -> None:
    if value != getattr(record, name):
        changes[name] = value


def _candidates(low: str) -> list[Shape]:
    """Return the shapes that may occur in the lower-cased text."""
    found: list[Shape] = []
    for one, other, shapes in GROUPS:
        if one in low or other in low:
            for shape in shapes:
                for trigger in shape.triggers:
                    if trigger in low:
                        found.append(shape)
                        break
    return found


def _replace(shape: Shape, text: str) -> str:
    place = f"[redacted:{shape.kind}]"

    def put(match: re.Match[str]) -> str:
        start, end = match.span("s")
        return text[match.start() : start] + place + text[end : match.end()]

    return shape.pattern.sub(put, text)


def _after_options(argv: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield index and replacement of the arguments that are secret by the option before them, or by their program."""
    program = ""
    for index, argument in enumerate(argv):
        before = argv[index - 1] if index else ""
        if not argument.startswith("-"):
            if argument and not argument.startswith("$") and FLAG.fullmatch(before):
                yield index, "[redacted:secret]"
            elif argument.startswith("pass:") and before in _OPENSSL:
                yield index, "pass:[redacted:secret]"
            elif program == "sshpass" and before == "-p":
                yield index, "[redacted:secret]"
            elif program == "curl" and before in ("-u", "-U", "--user", "--proxy-user") and ":" in argument:
                yield index, _without_password(argument)
            elif (name := argument.rpartition("/")[2]) in _MYSQL or name in ("curl", "sshpass"):
                program = name
        elif program == "curl" and argument[:2] in ("-u", "-U") and ":" in argument:
            yield index, _without_password(argument)
        elif (program in _MYSQL or program == "sshpass") and argument.startswith("-p") and len(argument) > 2:
            yield index, "-p[redacted:secret]"


def _without_password(user: str) -> str:
    return user.partition(":")[0] + ":[redacted:url-password]"


def _percent(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
    # Imported late: 4 ms, and only secrets with punctuation need it.
    from urllib.parse import quote

    return quote(to_bytes(text), safe="")
