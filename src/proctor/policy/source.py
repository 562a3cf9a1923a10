"""A TOML text and its tables, read so that every complaint names the line it is about."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from proctor.errors import PolicyError
from proctor.events.text import printable
from proctor.policy.lines import KeyPath, Lines

__all__ = ["MAX_BYTES", "At", "Source", "Table"]

MAX_BYTES = 1 << 20
"""A policy is written by hand; more is a mistake."""

_Value = TypeVar("_Value", str, list[Any], dict[str, Any])
_Choice = TypeVar("_Choice", bound=str)

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")
_TUPLE = re.compile(r"\('[^']*'(?:, '[^']*')*,?\)")
_KINDS = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a date or time")


def _shown(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 256:  # str() refuses a number of thousands of digits
        return "a very large number"
    if isinstance(value, bool):
        return str(value).lower()  # as TOML writes it
    return f"'{printable(value, 80)}'" if isinstance(value, str) else printable(str(value), 80)


def _in_toml(message: str) -> str:
    """A message of tomllib's without Python's notation: a table's name is a tuple there."""
    return _TUPLE.sub(lambda found: ".".join(re.findall(r"'([^']*)'", found[0])), message)


class Source:
    """One policy file's text and data. ``name`` is the file as the user named it."""

    def __init__(self, name: str, text: str) -> None:
        """Parse ``text``.

        Raises:
            PolicyError: it is not TOML.
        """
        self.name = printable(name, 500)
        self._text = text
        self._lines: Lines | None = None
        # 5 ms that `proctor run` without a policy does not spend
        import tomllib

        try:
            self._data: dict[str, Any] = tomllib.loads(text)
        except RecursionError:
            raise self.error((), "nested too deeply; allowed is TOML of the form in docs/policy.md") from None
        except ValueError as error:  # TOMLDecodeError is one; so is Python's own for a number of too many digits
            message = str(error)
            place = _PLACE.search(message)
            problem = f"not TOML: {printable(_in_toml(message[: place.start()] if place else message))}"
            if place is None:
                raise PolicyError(problem, file=self.name) from None
            line = int(place[1]) if place[1] else text.rstrip("\n").count("\n") + 1
            raise PolicyError(problem, file=self.name, line=line) from None

    @classmethod
    def read(cls, path: str) -> Source:
        """Return the source of the file ``path``.

        Raises:
            PolicyError: it cannot be read, is longer than :data:`MAX_BYTES`, is not UTF-8 or not TOML.
        """
        name = printable(path, 500)
        try:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL"
            raise PolicyError(f"cannot be read: {reason}", file=name) from None
        if len(data) > MAX_BYTES:
            raise PolicyError(f"larger than {MAX_BYTES} bytes, which is the most allowed", file=name)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise PolicyError("not UTF-8, the only encoding allowed", file=name, line=line) from None
        if text.startswith("\ufeff"):
            raise PolicyError("begins with a byte order mark; allowed is UTF-8 without one", file=name, line=1)
        return cls(path, text)

    def table(self, allowed: Collection[str]) -> Table:
        """Return the root, which may hold the tables ``allowed``."""
        return Table(self, (), self._data, allowed)

    def line(self, path: KeyPath) -> int:
        """Return the line of ``path``, or of what would hold it."""
        if self._lines is None:
            self._lines = Lines(self._text)
        return self._lines.of(path)

    def error(self, path: KeyPath, problem: str) -> PolicyError:
        """Return the error that ``problem`` at ``path`` is."""
        return PolicyError(printable(problem, 1000), file=self.name, line=self.line(path))


class At:
    """One value, to complain about."""

    def __init__(self, source: Source, path: KeyPath, value: object) -> None:
        self._source = source
        self._path = path
        self._value = value

    def error(self, problem: str) -> PolicyError:
        """Return the error that names the key, its value and ``problem``."""
        name = ".".join(printable(part, 80) for part in self._path if isinstance(part, str))
        value = "" if self._value is None else f" = {_shown(self._value)}"
        return self._source.error(self._path, f"{name}{value}: {problem}")

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn a ValueError inside into a PolicyError about this value."""
        try:
            yield
        except ValueError as error:
            raise self.error(str(error)) from None


class Table:
    """One table of the file. Construction refuses keys that are not ``allowed`` (None: any)."""

    def __init__(self, source: Source, path: KeyPath, data: dict[str, Any], allowed: Collection[str] | None) -> None:
        self._source = source
        self._path = path
        self._data = data
        for key in data:
            if allowed is not None and key not in allowed:
                raise self.unknown(key, "key" if path else "table", sorted(allowed), ", ".join(sorted(allowed)))

    def _at(self, key: str, *, plain: bool = False) -> At:
        value = self._data.get(key)
        return At(self._source, (*self._path, key), None if plain or isinstance(value, (dict, list)) else value)

    def line(self) -> int:
        """Return the line the table begins on."""
        return self._source.line(self._path)

    def has(self, key: str) -> bool:
        """Return whether ``key`` is set."""
        return key in self._data

    def names(self) -> list[str]:
        """Return the keys in the file's order."""
        return list(self._data)

    def is_table(self, key: str) -> bool:
        """Return whether ``key`` holds a table."""
        return isinstance(self._data.get(key), dict)

    def faults(self, key: str) -> AbstractContextManager[None]:
        """Return a context that turns a ValueError into a PolicyError about ``key``."""
        return self._at(key).faults()

    def wrong(self, key: str, problem: str) -> PolicyError:
        """Return the error that ``problem`` with ``key`` is."""
        return self._at(key).error(problem)

    def unknown(
        self, key: str, what: str, known: Collection[str], allowed: str, value: str | None = None
    ) -> PolicyError:
        """Return the error for an unknown ``key``, or for the unknown ``value`` of a known one."""
        # 6 ms, needed only on the way out
        from difflib import get_close_matches

        name = key if value is None else value
        near = get_close_matches(name[:200], known, n=1)
        hint = f"; nearest is '{near[0]}'" if near else ""
        return self._at(key, plain=True).error(f"unknown {what} {_shown(name)}{hint}; allowed is {allowed}")

    def _value(self, key: str, wanted: type[_Value], article: str) -> _Value | None:
        value = self._data.get(key)
        if value is None or isinstance(value, wanted):
            return value
        raise self.wrong(key, f"is {_kind(value)}; allowed is {article}")

    def table(self, key: str, allowed: Collection[str] | None) -> Table:
        """Return the table ``key``, empty where it is not set."""
        return Table(self._source, (*self._path, key), self._value(key, dict, "a table") or {}, allowed)

    def tables(self, key: str, allowed: Collection[str]) -> list[Table]:
        """Return the tables of the array ``[[key]]``."""
        found = self._value(key, list, f"[[{key}]], a table each") or []
        for index, data in enumerate(found):
            if not isinstance(data, dict):
                raise At(self._source, (*self._path, key, index), data).error(f"is {_kind(data)}; allowed is a table")
        return [Table(self._source, (*self._path, key, index), data, allowed) for index, data in enumerate(found)]

    def text(self, key: str, limit: int, *, empty: bool = False) -> str | None:
        """Return the string ``key``, of at most ``limit`` characters, or None where it is not set."""
        value = self._value(key, str, "a string")
        if value is not None and ((not value.strip() and not empty) or len(value) > limit):
            raise self.wrong(key, f"has {len(value)} characters; allowed is a text of at most {limit}, not blank")
        return value

    def required(self, key: str, limit: int) -> str:
        """Return the string ``key``, which must be set."""
        value = self.text(key, limit)
        if value is None:
            raise self.wrong(key, "is missing; every entry needs category, scope, reason and by")
        return value

    def texts(self, key: str) -> list[tuple[At, str]]:
        """Return the strings of the array ``key``, each with its place."""
        found: list[tuple[At, str]] = []
        for index, item in enumerate(self._value(key, list, "an array of strings") or []):
            at = At(self._source, (*self._path, key, index), item)
            if not isinstance(item, str):
                raise at.error(f"is {_kind(item)}; allowed is a string")
            found.append((at, item))
        return found

    def number(self, key: str, least: float, most: float, *, whole: bool = False) -> float | None:
        """Return the number ``key``, from ``least`` to ``most``; ``whole``: no fraction. None where it is not set."""
        value = self._data.get(key)
        if value is None:
            return None
        what = "a whole number" if whole else "a number"
        if type(value) is not int and (whole or type(value) is not float):
            raise self.wrong(key, f"is {_kind(value)}; allowed is {what} from {least} to {most}")
        if not least <= value <= most:  # holds of nan too
            raise self.wrong(key, f"out of range; allowed is {what} from {least} to {most}")
        return value if whole else float(value)

    def choice(self, key: str, allowed: tuple[_Choice, ...]) -> _Choice:
        """Return the value of ``key``, which must be one of ``allowed``."""
        value = self._value(key, str, "a string")
        for choice in allowed:
            if value == choice:
                return choice
        raise self.unknown(key, "value", allowed, ", ".join(allowed), str(value))
