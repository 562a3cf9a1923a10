from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proctor.events.text import from_bytes, inert_json, printable, to_bytes

# Bytes that meet the mapping's corners more often than chance does: what U+10F000 to U+10FFFF encode to, and halves.
_CORNERS = st.lists(
    st.sampled_from(
        [b"a", b"/", b"\x00", b"\xff", b"\x80", b"\xc3", "é".encode(), b"\xf4\x8f", b"\xf4", b"\xed\xa0\x80"]
    )
    | st.binary(max_size=3)
    | st.integers(0x10EFF0, 0x10FFFF).map(lambda code: chr(code).encode())
).map(b"".join)


@given(st.binary() | _CORNERS)
@example(b"\xf4\x8f\xbc\x80")
@example(b"\xf4\x8f\xbf\xbf\xff")
def test_bytes_come_back_as_they_were(data: bytes) -> None:
    text = from_bytes(data)
    assert to_bytes(text) == data
    assert text.encode("utf-8").decode("utf-8") == text, "the text is itself valid Unicode"


@given(st.text(alphabet=st.characters(max_codepoint=0x10FEFF, exclude_categories=["Cs"])))
def test_valid_utf8_is_kept(text: str) -> None:
    assert from_bytes(text.encode()) == text


@given(_CORNERS, _CORNERS)
def test_different_bytes_give_different_text(one: bytes, other: bytes) -> None:
    assert (from_bytes(one) == from_bytes(other)) == (one == other)


def test_a_byte_that_is_no_utf8_has_its_documented_character() -> None:
    assert from_bytes(b"caf\xe9") == "caf\U0010ffe9"
    assert from_bytes(b"\x80") == "\U0010ff80"


def test_bytes_that_would_decode_into_the_reserved_range_are_escaped() -> None:
    # The encoding of U+10FF41, which otherwise would come back as the one byte 0x41.
    assert from_bytes(b"\xf4\x8f\xbd\x81") == "\U0010fff4\U0010ff8f\U0010ffbd\U0010ff81"


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        to_bytes("\ud800")


@given(st.text(), st.integers(min_value=1, max_value=300))
def test_printable_is_safe_and_bounded(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain path/name.py", "plain path/name.py"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        (from_bytes(b"caf\xe9"), "caf\\xe9"),
    ],
)
def test_printable_shows_what_would_act(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_printable_says_that_it_cut() -> None:
    assert printable("x" * 11, 10) == "x" * 9 + "…"
    assert printable("x" * 10, 10) == "x" * 10


@given(st.text())
def test_inert_json_is_the_same_value_and_printable(text: str) -> None:
    line = inert_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(line) == {"text": text}
    assert line.isprintable()
