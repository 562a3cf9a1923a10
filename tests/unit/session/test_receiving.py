"""A collector holds what comes to a journal's form and to its bounds, whoever sends it."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from proctor.clock import SystemClock
from proctor.events import encode
from proctor.journal import receipt, verify
from proctor.journal.keys import SigningKey
from proctor.journal.lines import LINE_LIMIT, ZERO, frame
from proctor.session.receiving import Bounds, Received, peer_of, receive
from tests.unit.journal.samples import EPISODE, GOLDEN, journal_of, mark, opening

KEY = SigningKey.from_seed(b"c" * 32)
JOURNAL = journal_of(GOLDEN).read_bytes()
LINES = JOURNAL.splitlines(keepends=True)
BOUNDS = Bounds(journal_bytes=1 << 30, free_bytes=0, silent_seconds=20)


def received(data: bytes, directory: Path, bounds: Bounds = BOUNDS, *, leave: bool = True) -> tuple[Received, bytes]:
    """Send ``data`` and hang up (or ``leave`` the line open); return what was made of it and the answer."""
    ours, theirs = socket.socketpair()
    answer = b""

    def send() -> None:
        nonlocal answer
        try:
            ours.sendall(data)
            if leave:
                ours.shutdown(socket.SHUT_WR)
            answer = ours.recv(1 << 20)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    stop, stop_write = os.pipe()
    try:
        peer = peer_of(theirs)
        found = receive(theirs.detach(), directory, bounds, KEY, SystemClock(), peer=peer, stop=stop)
        thread.join()
        return found, answer
    finally:
        thread.join()
        ours.close()
        os.close(stop)
        os.close(stop_write)


def test_a_whole_journal_is_kept_byte_for_byte_and_confirmed(tmp_path: Path) -> None:
    found, answer = received(JOURNAL, tmp_path)
    assert found.receipt is not None and found.out == tmp_path / EPISODE
    assert answer == (found.out / "receipt.json").read_bytes()
    assert journal_of(found.out).read_bytes() == JOURNAL
    one = found.receipt
    whole = verify(GOLDEN)
    assert (one.state, one.events, one.head, one.bytes) == ("complete", len(LINES), whole.head, len(JOURNAL))
    assert one.began_wall_ns <= one.first_wall_ns <= one.last_wall_ns <= one.ended_wall_ns
    assert one.peer == receipt.Peer(os.getpid(), os.getuid(), os.getgid())
    assert (found.out / "receipt.json").read_bytes() == receipt.encode(one, KEY)
    checked = verify(found.out, collector_key=KEY.public)
    assert (checked.status, checked.reason, checked.closed) == ("truncated", "verdict.json is missing", True)
    assert (found.out.stat().st_mode & 0o777, journal_of(found.out).stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("kept", range(1, len(LINES)))
@pytest.mark.parametrize("rest", [0, 1, 100])
def test_a_cut_stream_keeps_its_whole_lines(tmp_path: Path, kept: int, rest: int) -> None:
    found, _ = received(b"".join(LINES[:kept]) + LINES[kept][:rest], tmp_path)
    assert found.receipt is not None and found.out is not None
    assert (found.receipt.state, found.receipt.events) == ("cut", kept)
    assert journal_of(found.out).read_bytes() == b"".join(LINES[:kept])
    checked = verify(found.out, collector_key=KEY.public)
    assert (checked.status, checked.collector_trusted, checked.closed) == ("truncated", True, False)


def test_nothing_at_all_leaves_nothing(tmp_path: Path) -> None:
    found, _ = received(b"", tmp_path)
    assert (found.out, found.began) == (None, False)
    assert list(tmp_path.iterdir()) == []


@given(at=st.integers(0, len(JOURNAL) - 1), by=st.integers(1, 255))
@settings(max_examples=60)
def test_a_changed_byte_ends_the_stream_before_its_line(at: int, by: int) -> None:
    changed = bytearray(JOURNAL)
    changed[at] ^= by
    line = JOURNAL.count(b"\n", 0, at)
    with tempfile.TemporaryDirectory() as name:
        found, _ = received(bytes(changed), Path(name))
        if found.receipt is None:
            assert line == 0
            return
        assert found.receipt.state in {"refused", "cut"} and found.receipt.events <= line
        assert found.out is not None and journal_of(found.out).read_bytes() == b"".join(LINES[: found.receipt.events])


@given(
    st.lists(st.sampled_from([*LINES, b"\n", b"{}\n", b"\0", b'{"hash":"']), max_size=12).map(b"".join) | st.binary()
)
@settings(max_examples=100)
def test_nothing_that_comes_makes_it_fail_or_write_elsewhere(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        received(data, folder)
        assert [path.name for path in Path(name).iterdir()] == ["in"]
        assert {path.name for path in folder.iterdir()} <= {EPISODE}
        if (folder / EPISODE).exists():
            good = journal_of(folder / EPISODE).read_bytes().splitlines(keepends=True)
            assert good == LINES[: len(good)]


def named(episode: str) -> bytes:
    return frame(structs.replace(opening(), episode=episode), ZERO)[0]


@pytest.mark.parametrize(
    "episode", ["", ".", "..", "../out", "/etc", "a/b", "a\0b", ".hidden", "-x", "a\n", "x" * 101, "ä", "con trol"]
)
def test_an_id_that_is_no_name_of_a_folder(tmp_path: Path, episode: str) -> None:
    (tmp_path / "in").mkdir()
    found, answer = received(named(episode), tmp_path / "in")
    assert (found.out, found.began) == (None, True)
    assert b"cannot be a folder's name" in answer
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_an_id_comes_once(tmp_path: Path) -> None:
    received(JOURNAL, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found, answer = received(LINES[0], tmp_path)
    assert (found.out, found.why) == (None, f"there is a record of episode {EPISODE} already")
    assert b"already" in answer
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert received(named("linked"), tmp_path)[0].out is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_that_never_ends_takes_bounded_memory(tmp_path: Path) -> None:
    found, _ = received(LINES[0] + b"x" * (LINE_LIMIT + (1 << 20)), tmp_path)
    assert found.receipt is not None
    assert (found.receipt.state, found.receipt.events) == ("refused", 1)
    assert f"longer than {LINE_LIMIT}" in found.why


def test_a_journal_longer_than_is_allowed(tmp_path: Path) -> None:
    bounds = BOUNDS._replace(journal_bytes=len(LINES[0]) + len(LINES[1]))
    found, answer = received(JOURNAL, tmp_path, bounds)
    assert found.receipt is not None and found.out is not None
    assert (found.receipt.state, found.receipt.events) == ("refused", 2)
    assert b"would be longer than" in answer
    assert journal_of(found.out).read_bytes() == b"".join(LINES[:2])


def test_a_disk_without_room(tmp_path: Path) -> None:
    found, _ = received(JOURNAL, tmp_path, BOUNDS._replace(free_bytes=1 << 60))
    assert found.receipt is not None
    assert (found.receipt.state, found.receipt.events) == ("refused", 0)
    assert "would stay free" in found.why


def test_a_peer_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    began = time.monotonic()
    found, _ = received(b"".join(LINES[:2]) + b"{", tmp_path, BOUNDS._replace(silent_seconds=1), leave=False)
    assert found.receipt is not None
    assert (found.receipt.state, found.receipt.events, found.why) == ("cut", 2, "no whole line came for 1 s")
    assert time.monotonic() - began < 15


def test_a_second_episode_in_one_stream_and_lines_after_the_end(tmp_path: Path) -> None:
    prev = sha256(LINES[0][75:-1]).hexdigest()
    other, _ = frame(structs.replace(mark(2), episode="other"), prev)
    found, _ = received(LINES[0] + other, tmp_path)
    assert found.receipt is not None and found.receipt.state == "refused" and "belongs to episode" in found.why
    assert not (tmp_path / "other").exists()
    late, _ = received(JOURNAL + LINES[0], Path(tempfile.mkdtemp(dir=tmp_path)))
    assert late.receipt is not None and (late.receipt.state, late.receipt.events) == ("refused", len(LINES))


def test_an_event_nested_deep_is_refused(tmp_path: Path) -> None:
    inner = encode(opening())[1:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    rest = b'"prev":"%b",%b' % (ZERO.encode(), inner)
    found, _ = received(b'{"hash":"%b",%b\n' % (sha256(rest).hexdigest().encode(), rest), tmp_path)
    assert found.out is None
    assert msgspec.json.encode(found.why)
