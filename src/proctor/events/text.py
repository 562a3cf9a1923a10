"""How bytes from the kernel become text in a record, and back.

Paths and arguments are bytes; JSON is Unicode. Valid UTF-8 is kept as it is. A byte that is not part of valid UTF-8
becomes one character of the range U+10FF00 to U+10FFFF (plane 16, private use): U+10FF00 plus the byte. Bytes that
would decode *into* that range are treated as invalid themselves, so the mapping is one to one in both directions.
"""

from __future__ import annotations

import codecs
import json

__all__ = ["from_bytes", "inert_json", "printable", "to_bytes"]

_BASE = 0x10FF00


def _reserved(data: bytes) -> bool:
    return any(bytes((0xF4, 0x8F, third)) in data for third in range(0xBC, 0xC0))


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(_BASE + byte) for byte in bad), error.end


codecs.register_error("proctor.bytes", _escape)


def from_bytes(data: bytes) -> str:
    """Return the text for ``data``; never fails. ``to_bytes`` gives the same bytes back."""
    if b"\xf4\x8f" not in data or not _reserved(data):
        return data.decode("utf-8", "proctor.bytes")
    out: list[str] = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if 0xDC80 <= code <= 0xDCFF:
            out.append(chr(_BASE + code - 0xDC00))
        elif code >= _BASE:
            out.extend(chr(_BASE + byte) for byte in char.encode())
        else:
            out.append(char)
    return "".join(out)


def to_bytes(text: str) -> bytes:
    """Return the bytes that ``from_bytes`` turned into ``text``.

    Raises:
        UnicodeEncodeError: ``text`` holds a lone surrogate, which ``from_bytes`` never produces.
    """
    return b"".join(bytes((ord(c) - _BASE,)) if ord(c) >= _BASE else c.encode() for c in text)


def printable(text: str, limit: int = 200) -> str:
    """Return ``text`` safe for a terminal or a report line: no control characters, at most ``limit`` characters."""
    out = []
    for char in text[: limit + 1]:
        code = ord(char)
        if code >= _BASE:
            out.append(f"\\x{code - _BASE:02x}")
        elif char.isprintable():
            out.append(char)
        else:
            out.append(char.encode("unicode_escape").decode())
    shown = "".join(out)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def inert_json(line: str) -> str:
    """Return one line of JSON safe for a terminal: what is not printable is escaped, and the value stays the same.

    JSON escapes the controls below U+0020 itself; a terminal also obeys those from U+0080 to U+009F.
    """
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
