"""On which line of a TOML text a key stands, which ``tomllib`` does not tell.

The text must be TOML that ``tomllib`` accepts, so nothing is checked again here: the scanner only has to know where
strings, arrays and tables begin and end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

__all__ = ["KeyPath", "Lines"]

KeyPath = tuple[str | int, ...]
"""Keys from the root; an int is an index into an array or an array of tables, from 0."""

_Item = Callable[[KeyPath, int], None]

_KEY = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+')
# A multi-line string may end in up to two quotes of its own, before the three that close it.
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")|\'\'\'.*?\'{3,5}(?!\')|"(?:[^"\\]|\\.)*"|\'[^\']*\'', re.DOTALL
)  # fmt: skip
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SCALAR = re.compile(r"[^,\]}#\n]*")


class Lines:
    """The lines of every key, array element and table header in ``text``."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")  # as tomllib does
        self._at = 0
        self._known: dict[KeyPath, int] = {}
        self._counted = (0, 1)
        self._tables: dict[KeyPath, int] = {}  # arrays of tables, with their length so far
        with suppress(ValueError, RecursionError):  # what was found so far is still right
            self._document()

    def of(self, path: KeyPath) -> int:
        """Return the line of ``path``, from 1; of a path that is not there, the line of what would hold it."""
        for length in range(len(path), 0, -1):
            if (line := self._known.get(path[:length])) is not None:
                return line
        return 1

    def paths(self) -> frozenset[KeyPath]:
        """Return every path found."""
        return frozenset(self._known)

    def _line(self) -> int:
        offset, line = self._counted
        line += self._text.count("\n", offset, self._at)
        self._counted = (self._at, line)
        return line

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:  # not reached with a text that tomllib accepts
            raise ValueError(self._at)
        self._at = found.end()
        return found[0]

    def _starts(self, token: str) -> bool:
        return self._text.startswith(token, self._at)

    def _document(self) -> None:
        table: KeyPath = ()
        while True:
            self._take(_BLANK)
            if self._at >= len(self._text):
                return
            if self._starts("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        line = self._line()
        many = self._starts("[[")
        self._at += 2 if many else 1
        path: KeyPath = ()
        keys = self._keys()
        for key in keys[:-1]:
            path = self._newest((*path, key), line)
        path = (*path, keys[-1])
        self._at += 2 if many else 1
        if many:
            index = self._tables.get(path, 0)
            self._tables[path] = index + 1
            self._known.setdefault(path, line)
            path = (*path, index)
            self._known[path] = line
            return path
        # A table may be opened by `[a.b]` before its own header `[a]`: the header is the better place to point at.
        self._known[path] = line
        return path

    def _newest(self, path: KeyPath, line: int) -> KeyPath:
        self._known.setdefault(path, line)
        return (*path, self._tables[path] - 1) if path in self._tables else path

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._take(_BLANK)
            keys.append(_plain(self._take(_KEY)))
            self._take(_BLANK)
            if not self._starts("."):
                return keys
            self._at += 1

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._keys():
            path = (*path, key)
            self._known.setdefault(path, line)
        self._at += 1  # the "="
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._take(_BLANK)
        if self._starts("["):
            self._items(path, "]", self._element)
        elif self._starts("{"):
            self._items(path, "}", lambda holder, _: self._pair(holder))
        elif self._starts('"') or self._starts("'"):
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _element(self, array: KeyPath, index: int) -> None:
        path = (*array, index)
        self._known[path] = self._line()
        self._value(path)

    def _items(self, path: KeyPath, end: str, item: _Item) -> None:
        self._at += 1
        index = 0
        while True:
            self._take(_BLANK)
            if self._starts(end):
                self._at += 1
                return
            if self._starts(","):
                self._at += 1
                continue
            before = self._at
            item(path, index)
            index += 1
            if self._at == before:  # the text ends inside the array
                raise ValueError(self._at)


def _plain(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] != '"' or "\\" not in key:
        return key.strip('"')
    import tomllib  # only on the way to an error message

    return next(iter(tomllib.loads(f"{key} = 0")))
