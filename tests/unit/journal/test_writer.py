from __future__ import annotations

import os
import re
import resource
import signal
import stat
import warnings
from pathlib import Path

import pytest

from proctor.errors import RecordError
from proctor.events import Checkpoint, Event
from proctor.events.kinds import CheckpointData
from proctor.journal import Writer, read, verify
from proctor.journal.lines import LINE_LIMIT, ZERO, frame
from tests.unit.journal.samples import TEST_KEY, body, checkpoint, envelope, journal_of, make_record, mark, opening


def test_an_event_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    prev = ZERO
    for number, event in enumerate([opening(), *body()], 1):
        writer.append(event)
        line, prev = frame(event, prev)
        assert journal_of(tmp_path).read_bytes().endswith(line)
        assert (writer.count, writer.head) == (number, prev)


def test_only_the_owner_can_reach_the_journal(tmp_path: Path) -> None:
    Writer(tmp_path, TEST_KEY)
    assert stat.S_IMODE(journal_of(tmp_path).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(journal_of(tmp_path).stat().st_mode) == 0o600


def test_a_second_journal_in_one_folder_is_refused(tmp_path: Path) -> None:
    Writer(tmp_path, TEST_KEY)
    with pytest.raises(RecordError, match="there is a journal already"):
        Writer(tmp_path, TEST_KEY)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"absent.*: cannot create the journal: No such file"):
        Writer(tmp_path / "absent", TEST_KEY)


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_a_hole_in_the_numbers_is_loud_and_writes_nothing(tmp_path: Path, seq: int) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    before = journal_of(tmp_path).read_bytes()
    with pytest.raises(ValueError, match=f"event number {seq} where the journal expects number 2"):
        writer.append(mark(seq))
    assert journal_of(tmp_path).read_bytes() == before
    writer.append(mark(2))


def test_an_event_of_another_episode_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    other = type(mark(2))(**envelope(2) | {"episode": "other"}, data=mark(2).data)
    with pytest.raises(ValueError, match="episode 'other'"):
        writer.append(other)


def test_a_line_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    with pytest.raises(ValueError, match="at most 16777215"):
        writer.append(mark(2, "x" * LINE_LIMIT))
    assert writer.count == 1


def test_an_event_that_cannot_be_encoded_leaves_the_writer_whole(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    with pytest.raises(UnicodeEncodeError):
        writer.append(mark(2, "\ud800"))
    writer.append(mark(2))
    assert [event.seq for event in read(tmp_path)] == [1, 2]


def test_a_short_write_breaks_the_writer_and_leaves_a_truncated_record(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    room = journal_of(tmp_path).stat().st_size + 50
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(RecordError, match="only 50 of"):
            writer.append(mark(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    for _ in range(2):
        with pytest.raises(RecordError, match="ends at event 1"):
            writer.append(mark(2))
    with pytest.raises(RecordError, match="ends at event 1"):
        checkpoint(writer)
    assert verify(tmp_path).status == "truncated"


def test_a_full_disk_breaks_the_writer(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._fd)
    os.close(full)
    with pytest.raises(RecordError, match="No space left on device"):
        writer.append(mark(2))
    with pytest.raises(RecordError, match="No space left on device"):
        writer.append(mark(2))
    assert writer.count == 1


def test_a_checkpoint_notices_a_second_writer(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    with journal_of(tmp_path).open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(RecordError, match="another process wrote or cut it"):
        checkpoint(writer)


def test_a_checkpoint_needs_something_to_sign(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="before the first event"):
        checkpoint(Writer(tmp_path, TEST_KEY))


def test_a_checkpoint_gives_its_event_back(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    head = writer.head
    event = checkpoint(writer)
    assert (event.seq, event.data.head, event.data.key) == (2, head, TEST_KEY.public.hex())
    assert list(read(tmp_path))[-1] == event


def test_the_writer_refuses_a_checkpoint_with_a_wrong_number(tmp_path: Path) -> None:
    def make(data: CheckpointData) -> Checkpoint:
        return Checkpoint(**envelope(7, sensor="session"), data=data)

    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    with pytest.raises(ValueError, match="expects number 2"):
        writer.checkpoint(make)


def test_a_forked_process_can_go_on_with_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    with warnings.catch_warnings():
        # Python 3.12 and later warn of threads; the test runner may have some, and the child uses none.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            writer.append(mark(2))
            checkpoint(writer)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert verify(tmp_path).last_checkpoint == 3


def test_the_descriptor_is_not_inherited_through_exec(tmp_path: Path) -> None:
    assert not os.get_inheritable(Writer(tmp_path, TEST_KEY)._fd)


def test_closed_is_closed(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    writer.append(opening())
    writer.close()
    writer.close()
    with pytest.raises(RecordError, match="is closed"):
        writer.append(mark(2))


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path, TEST_KEY)
    events: list[Event] = [opening(), *body()]
    for event in events:
        writer.append(event)
    assert list(read(tmp_path)) == events


def test_reading_stops_at_damage_loudly_or_leniently(tmp_path: Path) -> None:
    make_record(tmp_path / "r")
    path = journal_of(tmp_path / "r")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4].replace(b"answers", b"another"), *lines[5:]]))
    seen: list[int] = []
    with pytest.raises(RecordError, match=re.escape(f"{path}:5: its bytes do not give its hash")):
        seen.extend(event.seq for event in read(tmp_path / "r"))
    assert [event.seq for event in read(tmp_path / "r", lenient=True)] == [1, 2, 3, 4]


def test_reading_what_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"not a record: .*: no journal is there"):
        next(read(tmp_path))
