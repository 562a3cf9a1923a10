"""DNS messages: what is asked is read strictly, and every answer is one that the asker can read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.gateway.names import answer, question

NAMES = {"service.example": "127.64.0.1", "app.localhost": "127.64.0.2"}


def query(
    name: str, kind: int = 1, *, cls: int = 1, flags: int = 0x0100, counts: tuple[int, ...] = (1, 0, 0, 0)
) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return struct.pack(">HHHHHH", 0x1234, flags, *counts) + labels + b"\0" + struct.pack(">HH", kind, cls)


def code(message: bytes) -> int:
    return message[3] & 15


@pytest.mark.parametrize(
    ("name", "kind", "outcome", "addresses", "rcode"),
    [
        ("service.example", 1, "answered", ("127.64.0.1",), 0),
        ("SERVICE.Example", 1, "answered", ("127.64.0.1",), 0),
        ("service.example", 28, "empty", (), 0),
        ("service.example", 16, "empty", (), 0),
        ("localhost", 28, "answered", ("::1",), 0),
        ("any.localhost", 1, "answered", ("127.0.0.1",), 0),
        ("app.localhost", 1, "answered", ("127.64.0.2",), 0),
        ("other.example", 1, "no_such_name", (), 3),
        ("service.example.evil.test", 1, "no_such_name", (), 3),
        ("", 2, "no_such_name", (), 3),
    ],
)
def test_names_of_the_policy_exist_and_no_others(
    name: str, kind: int, outcome: str, addresses: tuple[str, ...], rcode: int
) -> None:
    asked = query(name, kind)
    found = answer(asked, NAMES)
    assert found is not None
    assert (found.outcome, found.addresses, code(found.message)) == (outcome, addresses, rcode)
    assert found.message[:2] == asked[:2]
    assert struct.unpack_from(">HHHH", found.message, 4) == (1, len(addresses), 0, 0)
    assert found.message[12:].startswith(asked[12:])  # the question as it was asked: resolvers compare it
    assert found.message[2] & 0x81 == 0x81  # a response; recursion was asked for


def test_the_answer_holds_the_address() -> None:
    found = answer(query("service.example"), NAMES)
    assert found is not None
    assert found.message[-16:] == bytes.fromhex("c00c 0001 0001 00000001 0004 7f400001")


def test_what_follows_the_question_changes_nothing() -> None:
    plain = answer(query("service.example"), NAMES)
    with_options = query("service.example", counts=(1, 0, 0, 1)) + b"\0\0\x29\x10\0\0\0\0\0\0\0"  # EDNS, RFC 6891
    assert answer(with_options, NAMES) == plain


@pytest.mark.parametrize(
    ("message", "outcome", "rcode"),
    [
        (query("a.b", counts=(0, 0, 0, 0)), "malformed", 1),
        (query("a.b", counts=(2, 0, 0, 0)), "malformed", 1),
        (query("a.b", counts=(1, 1, 0, 0)), "malformed", 1),
        (query("a.b")[:-1], "malformed", 1),
        (query("a.b")[:12], "malformed", 1),
        (query("")[:12] + b"\xc0\x0c\0\1\0\1", "malformed", 1),
        (query("")[:12] + b"\x01a" * 127 + b"\0\0\1\0\1", "no_such_name", 3),
        (query("")[:12] + b"\x01a" * 128 + b"\0\0\1\0\1", "malformed", 1),
        (query("a.b", flags=0x2800), "refused", 4),
        (query("version.bind", 16, cls=3), "refused", 5),
    ],
)
def test_other_messages_are_answered_as_what_they_are(message: bytes, outcome: str, rcode: int) -> None:
    found = answer(message, NAMES)
    assert found is not None
    assert (found.outcome, code(found.message), found.addresses) == (outcome, rcode, ())


@pytest.mark.parametrize("message", [b"", b"x" * 11, query("a.b", flags=0x8180)])
def test_what_cannot_be_answered_is_not(message: bytes) -> None:
    assert answer(message, NAMES) is None


def test_bytes_that_no_name_has_are_shown_as_numbers() -> None:
    message = query("")[:12] + b"\x05a.\0\xff\n\x03com\0\0\x10\0\1"
    found = question(message)
    assert found is not None
    assert (found.name, found.type_name) == ("a\\046\\000\\255\\010.com", "TXT")


labels = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(
    lambda found: sum(map(len, found)) + len(found) < 255
)


@given(labels, st.integers(0, 65535), st.binary(max_size=40))
def test_every_question_is_read_whole(found: list[bytes], kind: int, rest: bytes) -> None:
    raw = b"".join(bytes([len(label)]) + label for label in found) + b"\0" + struct.pack(">HH", kind, 1)
    asked = question(struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 1) + raw + rest)
    assert asked is not None
    assert (asked.raw, asked.type) == (raw, kind)
    assert asked.name.isascii()
    assert asked.name.isprintable()
    assert asked.name == "." or asked.name.count(".") == len(found) - 1


@given(st.binary(max_size=600))
def test_no_message_is_too_strange(message: bytes) -> None:
    found = answer(message, NAMES)
    assert found is None or (found.message[:2] == message[:2] and len(found.message) <= 12 + 255 + 4 + 2 * 28)


@given(st.binary(max_size=300))
def test_nor_one_that_begins_well(rest: bytes) -> None:
    found = answer(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + rest, NAMES)
    assert found is not None
    assert (found.question is None) == (found.outcome == "malformed")
