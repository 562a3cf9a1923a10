from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.errors import RecordError
from proctor.journal.addenda import (
    FILE,
    MAX_ADDENDA,
    Addendum,
    Operation,
    Subject,
    append,
    dismissed,
    read_addenda,
)
from proctor.journal.keys import SigningKey, fingerprint, signature_is_good
from proctor.journal.verification import verify
from tests.unit.journal.samples import EPISODE, TEST_KEY, make_record

HEAD = "a" * 64
OTHER_KEY = SigningKey.from_seed(bytes(range(1, 33)))


def subject(folder: Path) -> Subject:
    return Subject(folder, EPISODE, HEAD)


def added(folder: Path, op: Operation = "dismiss", finding: str = "a:1", **changed: Any) -> Addendum:
    given: dict[str, Any] = {"reason": "r", "by": "b", "t_wall_ns": 5, "of": subject(folder), "key": TEST_KEY}
    given |= changed
    return append(given.pop("of"), given.pop("key"), op=op, finding=finding, **given)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    made = [added(tmp_path), added(tmp_path, "restore"), added(tmp_path, finding="b:2", key=OTHER_KEY)]
    found = read_addenda(subject(tmp_path))
    assert (list(found.items), found.damage) == (made, None)
    assert [one.seq for one in made] == [1, 2, 3]
    assert set(dismissed(found.items)) == {"b:2"}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_the_last_word_on_a_finding_counts(tmp_path: Path) -> None:
    added(tmp_path)
    added(tmp_path, "restore")
    last = added(tmp_path)
    assert dismissed(read_addenda(subject(tmp_path)).items) == {"a:1": last}


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert read_addenda(subject(tmp_path)) == ((), HEAD, None)


@settings(max_examples=60)
@given(data=st.data())
def test_no_byte_can_be_changed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("addenda")
    added(folder, reason="não \u2028")
    added(folder, "restore")
    path = folder / FILE
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    found = read_addenda(subject(folder))
    assert found.damage is not None
    assert len(found.items) < 2


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_a_fault(raw: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / FILE).write_bytes(raw)
        found = read_addenda(subject(Path(name)))
        assert (found.damage is None) == (not raw)


def test_removed_moved_repeated_and_cut_lines_are_noticed(tmp_path: Path) -> None:
    for number in range(3):
        added(tmp_path, finding=f"a:{number}")
    path = tmp_path / FILE
    one, two, three = path.read_bytes().splitlines(keepends=True)
    for lines in ((two, three), (one, three), (one, three, two), (one, one), (one, two, three[:-1]), (b"\n", one)):
        path.write_bytes(b"".join(lines))
        assert read_addenda(subject(tmp_path)).damage is not None


def test_another_record_s_addenda_are_not_taken(tmp_path: Path) -> None:
    added(tmp_path)
    assert read_addenda(Subject(tmp_path, EPISODE, "b" * 64)).damage is not None
    assert read_addenda(Subject(tmp_path, "other", HEAD)).damage is not None


def test_a_signature_by_another_key_than_is_named_is_no_signature(tmp_path: Path) -> None:
    added(tmp_path, key=SigningKey(TEST_KEY.public, OTHER_KEY.sign))
    damage = read_addenda(subject(tmp_path)).damage
    assert damage is not None
    assert damage.reason == "addenda.jsonl line 1: its signature is not by the key that it names"


def test_nothing_is_added_to_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"x\n")
    with pytest.raises(RecordError, match=r"nothing is added: addenda.jsonl line 1"):
        added(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b"x\n"


def test_neither_a_link_nor_a_fifo_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    assert read_addenda(subject(tmp_path)).damage is not None
    with pytest.raises(RecordError, match="cannot be written"):
        added(tmp_path)
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)
    assert read_addenda(subject(tmp_path)).damage is not None
    with pytest.raises(RecordError):
        added(tmp_path)


def test_two_at_a_time_are_put_one_after_the_other(tmp_path: Path) -> None:
    def several(name: str) -> None:
        for number in range(10):
            added(tmp_path, finding=f"{name}:{number}")

    threads = [threading.Thread(target=several, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_addenda(subject(tmp_path))
    assert (len(found.items), found.damage) == (30, None)


def test_what_a_reader_holds_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ADDENDA == 10_000
    monkeypatch.setattr("proctor.journal.addenda.MAX_ADDENDA", 2)
    for _ in range(2):
        added(tmp_path)
    added(tmp_path)
    assert len(read_addenda(subject(tmp_path)).items) == 2
    with pytest.raises(RecordError, match="at most"):
        added(tmp_path.joinpath("."), of=Subject(_made(tmp_path / "new"), EPISODE, HEAD), reason="x" * 70_000)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# --- proctor verify ---------------------------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path: Path) -> Path:
    make_record(tmp_path / "record")
    return tmp_path / "record"


def dismiss(record: Path, key: SigningKey = TEST_KEY) -> None:
    added(record, of=Subject(record, EPISODE, verify(record).head), key=key)


def test_verify_checks_the_addenda(record: Path) -> None:
    before = {path: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    dismiss(record)
    dismiss(record, OTHER_KEY)
    found = verify(record)
    assert (found.status, found.exit_status, found.addenda) == ("intact", 0, 2)
    assert set(found.addenda_by) == {fingerprint(TEST_KEY.public), fingerprint(OTHER_KEY.public)}
    assert {path: path.read_bytes() for path in before} == before
    path = record / FILE
    path.write_bytes(path.read_bytes().replace(b'"reason":"r"', b'"reason":"s"', 1))
    found = verify(record)
    assert (found.status, found.fault, found.exit_status) == ("tampered", "addendum", 1)
    assert "addenda.jsonl line 1" in found.summary


def test_addenda_by_a_key_that_is_not_trusted_prove_nothing(record: Path) -> None:
    dismiss(record)
    assert verify(record, TEST_KEY.public).exit_status == 0
    dismiss(record, OTHER_KEY)
    found = verify(record, TEST_KEY.public)
    assert (found.status, found.trusted, found.addenda_trusted, found.exit_status) == ("intact", True, False, 1)
    assert "NOT all by the key you trust" in found.summary


def test_a_line_is_what_the_page_says(tmp_path: Path) -> None:
    added(tmp_path)
    (line,) = (tmp_path / FILE).read_text().splitlines()
    assert json.loads(line)["hash"] == hashlib.sha256(line[218:].encode()).hexdigest()
    signed = f"proctor-addendum-v1\0{json.loads(line)['hash']}".encode()
    assert signature_is_good(TEST_KEY.public, bytes.fromhex(json.loads(line)["signature"]), signed)
    assert list(json.loads(line)) == [
        "hash", "signature", "prev", "v", "episode", "seq", "t_wall_ns", "op", "finding", "reason", "by", "key",
    ]  # fmt: skip
