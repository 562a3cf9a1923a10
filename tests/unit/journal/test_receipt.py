from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.journal import receipt, verify
from proctor.journal.keys import SigningKey
from proctor.journal.receipt import Peer, Receipt
from tests.unit.journal.samples import EPISODE, GOLDEN, TEST_KEY, journal_of

KEY = SigningKey.from_seed(b"c" * 32)
WHOLE = verify(GOLDEN)


def made(**changes: object) -> Receipt:
    fields: dict[str, object] = {
        "v": 1, "episode": EPISODE, "state": "complete", "why": "", "events": WHOLE.events, "bytes": 9, "head": WHOLE.head,
        "last_checkpoint": WHOLE.events, "journal_key": TEST_KEY.public.hex(), "began_wall_ns": 1, "first_wall_ns": 2,
        "last_wall_ns": 3, "ended_wall_ns": 4, "peer": Peer(1, 2, 3), "proctor": "0.1.0", "key": KEY.public.hex(),
    }  # fmt: skip
    return Receipt(**(fields | changes))  # type: ignore[arg-type]


LINE = receipt.encode(made(), KEY)


def test_what_is_signed_is_read_again() -> None:
    assert receipt.decode(LINE) == made()


@given(st.integers(0, len(LINE) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_every_change_of_a_byte_is_noticed(at: int, by: int) -> None:
    changed = bytearray(LINE)
    changed[at] ^= by
    found = receipt.decode(bytes(changed))
    assert isinstance(found, str) or (at == len(LINE) - 1 and found == made())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_nothing_makes_it_raise(data: bytes) -> None:
    assert isinstance(receipt.decode(data), str)
    assert isinstance(receipt.decode(b'{"signature":"' + b"0" * 128 + b'","v":' + data + b"}"), str)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "record")
    return tmp_path / "record"


def test_a_record_with_its_receipt_is_intact_and_says_by_whom(record: Path) -> None:
    (record / receipt.FILE).write_bytes(LINE)
    found = verify(record, collector_key=KEY.public)
    assert (found.status, found.exit_status, found.receipt, found.collector_trusted) == ("intact", 0, made(), True)
    assert "the one you trust" in found.summary
    other = verify(record, collector_key=TEST_KEY.public)
    assert (other.status, other.exit_status) == ("intact", 1)
    assert "NOT the one you trust" in other.summary


def test_a_receipt_that_is_asked_for_has_to_be_there(record: Path) -> None:
    found = verify(record, collector_key=KEY.public)
    assert (found.status, found.exit_status) == ("intact", 1)
    assert "NO receipt" in found.summary
    assert verify(record).exit_status == 0


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", LINE[:-20], LINE.replace(b'"events":', b'"events":1'), receipt.encode(made(head="0" * 64), KEY),
     receipt.encode(made(events=3), KEY), receipt.encode(made(episode="another"), KEY), receipt.encode(made(v=2), KEY),
     receipt.encode(made(why="x" * receipt.LIMIT), KEY)],
)  # fmt: skip
def test_one_that_is_not_of_this_record_is_tampering(record: Path, line: bytes) -> None:
    (record / receipt.FILE).write_bytes(line)
    found = verify(record)
    assert (found.status, found.fault, found.exit_status) == ("tampered", "receipt", 1)


def test_a_link_or_a_fifo_is_not_followed(record: Path) -> None:
    (record / receipt.FILE).symlink_to("/dev/zero")
    assert verify(record).fault == "receipt"


def test_lines_lost_after_a_cut_stream_are_noticed(record: Path) -> None:
    (record / "verdict.json").unlink()
    lines = journal_of(record).read_bytes().splitlines(keepends=True)
    journal_of(record).write_bytes(b"".join(lines[:5]))
    cut = verify(record)
    assert cut.status == "truncated"
    (record / receipt.FILE).write_bytes(
        receipt.encode(
            made(state="cut", why="the other end closed it", events=5, head=cut.head, last_checkpoint=None), KEY
        )
    )
    found = verify(record, collector_key=KEY.public)
    assert (found.status, found.exit_status) == ("truncated", 3)
    assert "cut: the other end closed it" in found.summary
    journal_of(record).write_bytes(b"".join(lines[:4]))
    assert (verify(record).status, verify(record).fault) == ("tampered", "receipt")


def test_times_that_no_clock_gives_are_told_as_they_are(record: Path) -> None:
    (record / receipt.FILE).write_bytes(receipt.encode(made(first_wall_ns=10**40, last_wall_ns=-(10**40)), KEY))
    assert verify(record).summary
