"""Which modes of a terminal a program has switched on, read from what it writes there.

A full-screen program that is stopped or ended before it tidies up leaves the terminal on its second screen, with a
hidden cursor, with mouse reports. What is said here names exactly what has to be undone, and nothing that was not done:
leaving the second screen moves the cursor where there was none.
"""

from __future__ import annotations

import re

__all__ = ["Modes"]

_PREFIX = b"\x1b[?"
_CHANGE = re.compile(rb"\x1b\[\?([0-9;]{1,64})([hl])|\x1b([=>c])")
_UNFINISHED = re.compile(rb"\x1b(?:\[(?:\?[0-9;]{0,64})?)?\Z")
_USUAL = {
    1: False, 7: True, 9: False, 25: True, 47: False, 1000: False, 1001: False, 1002: False, 1003: False, 1004: False,
    1005: False, 1006: False, 1015: False, 1016: False, 1047: False, 1049: False, 2004: False, 2026: False,
}  # fmt: skip
"""DEC private modes (ctlseqs of xterm; 2026 is synchronized output) and how a shell expects each."""
_KEYPAD = -1


class Modes:
    """Follows a program's output. Sequences may be cut anywhere between two pieces."""

    def __init__(self) -> None:
        self._unusual: list[int] = []
        self._rest = b""

    def see(self, piece: bytes) -> None:
        """Take in the next piece of the output."""
        data = self._rest + piece
        self._rest = b""
        if b"\x1b" not in data:
            return
        for match in _CHANGE.finditer(data):
            numbers, final, single = match.groups()
            if single == b"c":  # RIS: everything as it was at the start
                self._unusual.clear()
            elif single is not None:
                self._set(_KEYPAD, usual=single == b">")
            else:
                for number in numbers.split(b";"):
                    known = int(number) if number else 0
                    if known in _USUAL:
                        self._set(known, usual=_USUAL[known] == (final == b"h"))
        cut = _UNFINISHED.search(data)
        if cut is not None:
            self._rest = cut.group()

    def _set(self, mode: int, *, usual: bool) -> None:
        if mode in self._unusual:
            self._unusual.remove(mode)
        if not usual:
            self._unusual.append(mode)

    def undo(self) -> bytes:
        """What makes the terminal usual again, the last change first; colours and margins with it. Empty: nothing."""
        return b"".join(_sequence(mode, usual=True) for mode in reversed(self._unusual)) + b"\x1b[0m"

    def again(self) -> bytes:
        """What switches the same modes on again."""
        return b"".join(_sequence(mode, usual=False) for mode in self._unusual)


def _sequence(mode: int, *, usual: bool) -> bytes:
    if mode == _KEYPAD:
        return b"\x1b>" if usual else b"\x1b="
    return _PREFIX + b"%d" % mode + (b"h" if _USUAL[mode] == usual else b"l")
