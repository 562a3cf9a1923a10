from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.events import Event, encode
from proctor.events.kinds import CheckpointData
from proctor.findings import digest
from proctor.journal import Verification, Writer, read, verify
from proctor.journal.keys import SigningKey
from proctor.journal.lines import ZERO, frame, signed_bytes
from tests.unit.journal.samples import (
    FINDING,
    GOLDEN,
    TEST_KEY,
    body,
    checkpoint,
    closing,
    envelope,
    journal_of,
    make_record,
    mark,
    opening,
)

OTHER_KEY = SigningKey.from_seed(bytes(32))
LINES = journal_of(GOLDEN).read_bytes().splitlines(keepends=True)
JOURNAL = b"".join(LINES)


@contextmanager
def record(journal: bytes, *, verdict: bool = True) -> Iterator[Path]:
    """A record with this journal and the golden verdict.json."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        journal_of(directory).parent.mkdir()
        journal_of(directory).write_bytes(journal)
        if verdict:
            shutil.copy(GOLDEN / "verdict.json", directory)
        yield directory


def judge(journal: bytes) -> Verification:
    with record(journal) as directory:
        return verify(directory)


def chain(events: list[Event]) -> bytes:
    """A journal whose hashes are right, whatever its events are."""
    lines, prev = [], ZERO
    for event in events:
        line, prev = frame(event, prev)
        lines.append(line)
    return b"".join(lines)


def rechained(encodings: list[bytes]) -> bytes:
    """The same from encoded events: what anyone can write who has no key."""
    lines, prev = [], ZERO
    for encoding in encodings:
        rest = b'"prev":"' + prev.encode() + b'",' + encoding[1:]
        prev = sha256(rest).hexdigest()
        lines.append(b'{"hash":"' + prev.encode() + b'",' + rest + b"\n")
    return b"".join(lines)


def test_a_complete_record_is_intact() -> None:
    found = verify(GOLDEN)
    assert (found.status, found.fault, found.line, found.reason) == ("intact", None, None, "")
    assert (found.events, found.last_checkpoint, found.exit_status) == (10, 10, 0)
    assert found.head.encode() == LINES[-1][9:73]
    assert found.trusted is None
    assert "which travels with the record; compare it with one you trust" in found.summary


def test_the_key_is_held_against_a_trusted_one() -> None:
    right, wrong = verify(GOLDEN, TEST_KEY.public), verify(GOLDEN, OTHER_KEY.public)
    assert (right.status, right.trusted, right.exit_status) == ("intact", True, 0)
    assert "the key you trust" in right.summary
    assert (wrong.status, wrong.trusted, wrong.exit_status) == ("intact", False, 1)
    assert "NOT by the key you trust" in wrong.summary


def test_a_record_signed_anew_by_another_key_is_not_by_the_trusted_one(tmp_path: Path) -> None:
    make_record(tmp_path / "forged", OTHER_KEY)
    assert verify(tmp_path / "forged").status == "intact"
    assert verify(tmp_path / "forged", TEST_KEY.public).exit_status == 1


def test_what_is_no_record(tmp_path: Path) -> None:
    assert verify(tmp_path).status == "not_a_record"
    assert verify(tmp_path / "absent").exit_status == 2
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "000000.jsonl").symlink_to(journal_of(GOLDEN))
    assert verify(tmp_path).status == "not_a_record"


def test_a_fifo_for_a_journal_does_not_block(tmp_path: Path) -> None:
    journal_of(tmp_path).parent.mkdir()
    os.mkfifo(journal_of(tmp_path))
    assert "not a regular file" in verify(tmp_path).reason


@pytest.mark.parametrize("kept", range(10))
def test_a_journal_cut_between_lines_is_truncated(kept: int) -> None:
    found = judge(b"".join(LINES[:kept]))
    assert (found.status, found.exit_status, found.events) == ("truncated", 3, kept)
    assert found.last_checkpoint == (8 if kept >= 8 else None)


@settings(max_examples=300)
@given(st.integers(0, len(JOURNAL) - 1))
def test_a_journal_cut_anywhere_is_truncated(size: int) -> None:
    found = judge(JOURNAL[:size])
    assert found.status == "truncated"
    assert found.last_checkpoint == (8 if found.events >= 8 else None)


def test_zero_bytes_after_a_power_loss_are_a_cut() -> None:
    found = judge(b"".join(LINES[:8]) + LINES[8][:30] + bytes(100))
    assert (found.status, found.last_checkpoint) == ("truncated", 8)
    assert judge(b"".join(LINES[:8]) + bytes(100)).status == "truncated"
    assert judge(JOURNAL + bytes(100)).fault == "after_end"


def test_the_summary_of_a_truncated_record_names_its_last_checkpoint() -> None:
    assert "signed up to checkpoint 8; 1 good lines after it are not signed" in judge(b"".join(LINES[:9])).summary
    assert "nothing is signed" in judge(b"".join(LINES[:5])).summary


def test_nothing_signed_is_nothing_trusted() -> None:
    with record(b"".join(LINES[:5])) as directory:
        assert verify(directory, TEST_KEY.public).trusted is None
        assert verify(directory, OTHER_KEY.public).trusted is False


def test_without_verdict_json_a_complete_journal_is_truncated() -> None:
    with record(JOURNAL, verdict=False) as directory:
        found = verify(directory)
    assert (found.status, found.reason, found.line) == ("truncated", "verdict.json is missing", None)


@settings(max_examples=500)
@given(st.integers(0, len(JOURNAL) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(position: int, flip: int) -> None:
    changed = bytearray(JOURNAL)
    changed[position] ^= flip
    assert judge(bytes(changed)).status in ("tampered", "truncated")
    if position < len(JOURNAL) - 1:
        line = JOURNAL.count(b"\n", 0, position) + 1
        assert judge(bytes(changed)).line in (line, line + 1)


@given(st.integers(0, 8))
def test_no_line_can_be_removed(index: int) -> None:
    found = judge(b"".join(LINES[:index] + LINES[index + 1 :]))
    assert (found.status, found.fault, found.line) == ("tampered", "prev", index + 1)


@given(st.integers(0, 9))
def test_no_line_can_be_repeated(index: int) -> None:
    found = judge(b"".join(LINES[: index + 1] + LINES[index:]))
    assert (found.status, found.line) == ("tampered", index + 2)
    assert found.fault == ("after_end" if index == 9 else "prev")


@given(st.permutations(range(10)))
def test_lines_cannot_be_reordered(order: list[int]) -> None:
    if order != list(range(10)):
        assert judge(b"".join(LINES[index] for index in order)).status == "tampered"


@given(st.binary(min_size=1, max_size=200))
def test_nothing_can_follow_the_end(extra: bytes) -> None:
    found = judge(JOURNAL + extra)
    assert (found.status, found.fault, found.line) == ("tampered", "after_end", 11)


@settings(max_examples=200)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(LINES) | st.binary(max_size=40)).map(b"".join))
def test_no_bytes_make_it_raise_or_pass(journal: bytes) -> None:
    if journal != JOURNAL:
        assert judge(journal).status != "intact"


@settings(max_examples=200)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists))
def test_no_verdict_json_makes_it_raise_or_pass(said: object) -> None:
    with record(JOURNAL) as directory:
        (directory / "verdict.json").write_text(json.dumps(said))
        assert verify(directory).fault == "verdict"


@pytest.mark.parametrize("said", [b"", b"\xff", b"[" * 200_000, b'{"findings":' + b"[" * 900 + b"]" * 900 + b"}"])
def test_a_hostile_verdict_json_is_tampered(said: bytes) -> None:
    with record(JOURNAL) as directory:
        (directory / "verdict.json").write_bytes(said)
        assert (verify(directory).status, verify(directory).fault) == ("tampered", "verdict")


def test_json_nested_too_deep_is_no_event() -> None:
    deep = encode(opening()).replace(b'"policy":{', b'"policy":{"a":' + b"[" * 5000 + b"]" * 5000 + b",")
    assert judge(rechained([deep])).fault == "json"


def test_with_the_chain_made_good_again_the_next_signature_fails() -> None:
    encodings = [encode(event) for event in read(GOLDEN)]
    encodings[4] = encodings[4].replace(b"answers.json", b"another.json")
    found = judge(rechained(encodings))
    assert (found.status, found.fault, found.line) == ("tampered", "signature", 8)


def forged(seq: int, head: str, *, key: SigningKey = TEST_KEY, sign_as: int | None = None) -> CheckpointData:
    signature = key.sign(signed_bytes("golden-1", seq if sign_as is None else sign_as, head))
    return CheckpointData(head=head, signature=signature.hex(), key=key.public.hex())


def test_a_checkpoint_by_another_key_or_for_another_place_is_no_checkpoint() -> None:
    first = chain([opening()])
    head = first[9:73].decode()
    make = type(list(read(GOLDEN))[-1])
    for data, fault in (
        (forged(2, head, key=OTHER_KEY), "key"),
        (forged(2, head, sign_as=3), "signature"),
        (forged(2, ZERO), "signature"),
        (CheckpointData(head=head, signature="", key=TEST_KEY.public.hex()), "signature"),
        (CheckpointData(head=head, signature="é" * 128, key=TEST_KEY.public.hex()), "signature"),
    ):
        found = judge(chain([opening(), make(**envelope(2, sensor="session"), data=data)]))  # type: ignore[arg-type]
        assert (found.status, found.fault, found.line) == ("tampered", fault, 2)


def test_what_must_hold_between_lines() -> None:
    other = type(mark(2))(**envelope(2) | {"episode": "other"}, data=mark(2).data)
    for events, fault, line in (
        ([mark(1)], "open", 1),
        ([opening(), opening(2)], "open", 2),
        ([opening(), mark(3)], "seq", 2),
        ([opening(), mark(1)], "seq", 2),
        ([opening(), other], "episode", 2),
        ([opening(), closing(2), mark(3)], "after_end", 3),
        ([opening(key=TEST_KEY._replace(public=b"short"))], "key", 1),
    ):
        found = judge(chain(list(events)))
        assert (found.status, found.fault, found.line) == ("tampered", fault, line)


def test_a_good_checkpoint_after_the_end_is_one_too_many(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    writer.append(closing(2))
    checkpoint(writer)
    checkpoint(writer)
    found = verify(tmp_path)
    assert (found.status, found.fault, found.line) == ("tampered", "after_end", 4)


def test_another_stored_form_is_named() -> None:
    later = encode(opening()).replace(b'"v":1', b'"v":2')
    found = judge(rechained([later]))
    assert (found.status, found.exit_status) == ("not_a_record", 2)
    assert "stored form 2" in found.reason
    strange = later.replace(b'"kind":"open"', b'"kind":"opening"')
    assert judge(rechained([strange])).fault == "version"
    assert judge(rechained([encode(opening()), encode(mark(2)).replace(b'"v":1', b'"v":2')])).status == "tampered"


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@settings(max_examples=50)
@given(st.lists(names, max_size=8), st.lists(st.booleans(), max_size=8))
def test_what_is_written_verifies_and_reads_back(marks: list[str], signs: list[bool]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        writer = Writer(directory, TEST_KEY)
        events: list[Event] = [opening()]
        writer.append(events[0])
        last = None
        for number, text in enumerate(marks):
            event = mark(writer.count + 1, text)
            writer.append(event)
            events.append(event)
            if number < len(signs) and signs[number]:
                events.append(checkpoint(writer))
                last = writer.count
        writer.close()
        found = verify(directory)
        assert (found.status, found.line, found.last_checkpoint) == ("truncated", None, last)
        assert list(read(directory)) == events


def test_the_golden_record_is_what_this_version_writes(tmp_path: Path) -> None:
    make_record(tmp_path / "r")
    assert journal_of(tmp_path / "r").read_bytes() == JOURNAL
    assert (tmp_path / "r" / "verdict.json").read_bytes() == (GOLDEN / "verdict.json").read_bytes()


def test_the_golden_record_reads_as_it_was_written() -> None:
    events = list(read(GOLDEN))
    assert events[0] == opening()
    assert events[1:7] == body()
    assert events[8] == closing(9)
    assert digest([FINDING]) == closing(9).data.findings_digest
