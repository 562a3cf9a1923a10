from __future__ import annotations

import os
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proctor.events import Event
from proctor.events.data import Data
from proctor.sandbox import calls
from proctor.sensors.observed import Observed
from proctor.sensors.tracerecords import (
    CALL,
    ENTERED,
    EXEC,
    EXIT,
    FOREIGN,
    FORK,
    IDENTITY,
    MOVE,
    OUT_OF,
    Record,
    shapes,
)

WHO = (os.getpid() + 4_000_000, 7)  # above pid_max: nobody's
NUMBERS = calls.NUMBERS | IDENTITY


class Sink:
    decision = "go_on"

    def __init__(self) -> None:
        self.events: list[tuple[type[Event], Any, Any]] = []
        self.gaps: list[str] = []

    def emit(self, cls: type[Event], data: Any, *, proc: Any = None, tid: Any = None, truth: str = "resolved") -> int:
        self.events.append((cls, data, proc))
        return len(self.events)


def record(kind: int, *, call: str = "", ret: int = 0, flags: int = ENTERED, args: tuple[int, ...] = (0,) * 6, pieces: tuple[bytes, ...] = (b"",) * 5) -> Record:  # fmt: skip
    return Record(0, WHO[1], 1, ret, args, WHO[0], WHO[0], 1, 0, NUMBERS[call] if call else 0, kind, flags, pieces)


def observed(*records: Record) -> Sink:
    sink = Sink()
    watch = Observed(sink, lambda path: "workspace" if path.startswith(b"/w") else "system", sink.gaps.append)  # type: ignore[arg-type]
    for one in records:
        watch.take(one)
    return sink


def data_of(*records: Record) -> Any:
    ((_, data, _),) = observed(*records).events
    return data


def test_a_path_is_the_kernels_where_it_opened_something_and_joined_with_its_folder_else() -> None:
    flags = (0, 0, 0o1, 0, 0, 0)
    opened = data_of(record(CALL, call="openat", ret=3, args=flags, pieces=(b"f\0w\0", b"link\0", b"", b"", b"")))
    assert (opened.op, opened.path, opened.object, opened.role, opened.outcome, opened.existed) == (
        "open_write",
        "link",
        "/w/f",
        "workspace",
        "succeeded",
        True,
    )
    missed = data_of(record(CALL, call="openat", ret=-2, args=flags, pieces=(b"", b"../w/./f\0", b"", b"x\0", b"")))
    assert (missed.object, missed.outcome, missed.existed) == ("/w/f", "failed", None)
    new = data_of(
        record(CALL, call="open", ret=3, args=(0, 0o301, 0o644, 0, 0, 0), pieces=(b"n\0w\0", b"n\0", b"", b"", b""))
    )
    assert (new.op, new.existed) == ("create", False)
    moved = data_of(record(CALL, call="renameat", pieces=(b"", b"a\0", b"b\0", b"w\0", b"c\0w\0")))
    assert (moved.object, moved.target_object, moved.target_role) == ("/w/a", "/w/c/b", "workspace")
    assert (
        data_of(record(CALL, call="unlinkat", args=(0, 0, 0x200, 0, 0, 0), pieces=(b"", b"/d\0", b"", b"w\0", b""))).op
        == "rmdir"
    )
    truncated = data_of(record(CALL, call="ftruncate", pieces=(b"f\0w\0", b"", b"", b"", b"")))
    assert (truncated.op, truncated.path, truncated.object) == ("truncate", "/w/f", "/w/f")


def test_outcomes_are_those_of_the_kernel() -> None:
    address = struct.pack("=H", 2) + struct.pack(">H", 443) + bytes((93, 184, 216, 34)) + bytes(8)
    pieces = (b"", address, b"", b"", b"")
    told = [data_of(record(CALL, call="connect", ret=ret, flags=flags, pieces=pieces)) for ret, flags in
            ((0, ENTERED), (-115, ENTERED), (-111, ENTERED), (-1, 0))]  # fmt: skip
    assert [one.outcome for one in told] == ["succeeded", "attempted", "failed", "blocked"]
    assert {(one.address, one.port) for one in told} == {("93.184.216.34", 443)}
    refused = data_of(record(CALL, call="ptrace", ret=-1, flags=0))
    assert (refused.outcome, refused.errno) == ("blocked", 1)
    assert data_of(record(CALL, call="setuid")).outcome == "succeeded"


def test_what_is_made_again_or_told_elsewhere_is_no_event() -> None:
    assert observed(
        record(CALL, call="connect", ret=-512), record(CALL, call="clone", ret=9), record(CALL, call="execve", pieces=()),
        record(CALL, call="kill"),
    ).events == []  # fmt: skip


def test_an_exec_has_its_arguments_and_what_called_it() -> None:
    pieces = (b"./x\0", b"x\0-a\0\0b c\0", b"x\0w\0", b"w\0", b"")
    sink = observed(
        record(EXEC, args=(4, 0, 0, 0, 0, 0), pieces=pieces), record(EXEC, args=(4, 0, 0, 0, 0, 0), pieces=pieces)
    )
    first, result, second, _ = [data for _, data, _ in sink.events]
    assert (first.path, first.image, first.argv, first.argc, first.cwd) == (
        "./x",
        "/w/x",
        ("x", "-a", "", "b c"),
        4,
        "/w",
    )
    assert (result.ref, result.outcome) == (1, "succeeded")
    assert second.parent_argv == first.argv
    failed, outcome = [
        data
        for _, data, _ in observed(record(CALL, call="execve", ret=-2, pieces=(b"", b"y\0", b"", b"w\0", b""))).events
    ]
    assert (failed.path, failed.cwd, failed.image, outcome.outcome) == ("y", "/w", None, "failed")


def test_ends_are_told_as_wait_has_them() -> None:
    assert (data_of(record(EXIT, ret=3 << 8)).code, data_of(record(EXIT, ret=9)).signal) == (3, 9)


def test_what_cannot_be_seen_is_a_gap_once() -> None:
    ring = record(CALL, call="io_uring_setup", ret=3)
    foreign = record(CALL, flags=ENTERED | FOREIGN)
    out, child = record(MOVE, flags=OUT_OF), record(FORK, flags=OUT_OF, args=(5, 5))
    sink = observed(ring, ring, foreign, foreign, out, child)
    assert len(sink.gaps) == 4
    assert "io_uring" in sink.gaps[0] and "another architecture" in sink.gaps[1]
    assert observed(record(CALL, call="io_uring_setup", ret=-1)).gaps == []


@given(
    nr=st.sampled_from(sorted(shapes(watch=True))),
    ret=st.integers(-600, 600),
    flags=st.sampled_from((0, ENTERED, ENTERED | 4)),
    args=st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
    pieces=st.one_of(st.just([]), st.lists(st.binary(max_size=60), min_size=5, max_size=5)),
)
def test_whatever_is_told_is_taken(nr: int, ret: int, flags: int, args: list[int], pieces: list[bytes]) -> None:
    sink = observed(Record(0, 7, 1, ret, tuple(args), WHO[0], WHO[0], 1, 0, nr, CALL, flags, tuple(pieces)))
    assert all(isinstance(data, Data) for _, data, _ in sink.events)
