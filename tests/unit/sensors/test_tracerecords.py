from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proctor.errors import RecordError
from proctor.sandbox import calls
from proctor.sensors import tracepoints
from proctor.sensors.tracerecords import CALL, EXIT, FORK, HEAD, MOVE, TICK_NS, decode, path_of, shapes

U64, U32, U16 = (st.integers(0, 2**bits - 1) for bits in (64, 32, 16))
BPF = Path(tracepoints.OBJECT).parent
PIECES = st.lists(st.binary(max_size=300), min_size=5, max_size=5)


@given(
    head=st.tuples(U64, U64, U64, st.integers(-(2**63), 2**63 - 1)),
    args=st.lists(U64, min_size=6, max_size=6),
    ids=st.tuples(U32, U32, U32, U32, st.integers(-(2**31), 2**31 - 1)),
    kind=st.integers(FORK, MOVE),
    flags=U16,
    pieces=PIECES,
    padding=st.binary(max_size=8),
)
def test_a_record_is_read_as_it_was_written(
    head: tuple[int, ...],
    args: list[int],
    ids: tuple[int, ...],
    kind: int,
    flags: int,
    pieces: list[bytes],
    padding: bytes,
) -> None:
    sizes = [len(piece) for piece in pieces]
    raw = HEAD.pack(*head, *args, *ids, kind, flags, *sizes, 0, 0, 0) + b"".join(pieces) + padding
    record = decode(raw)
    assert (record.time, record.start, record.cgroup, record.ret) == (head[0], head[1] // TICK_NS, head[2], head[3])
    assert (record.pid, record.tid, record.ppid, record.uid, record.nr) == ids
    assert (record.type, record.flags) == (kind, flags)
    assert record.args == ((args[0], args[1] // TICK_NS) if kind == FORK else tuple(args))
    assert record.pieces == (tuple(pieces) if len(raw) > HEAD.size else ())
    assert decode(memoryview(raw)) == record


@given(st.binary(max_size=400))
@example(b"")
@example(b"\0" * HEAD.size)
def test_anything_else_is_said_to_be_none(raw: bytes) -> None:
    try:
        record = decode(raw)
    except RecordError:
        return
    assert len(raw) >= HEAD.size
    assert FORK <= record.type <= MOVE
    assert sum(map(len, record.pieces)) <= len(raw) - HEAD.size


def test_pieces_longer_than_the_record_are_an_error() -> None:
    raw = HEAD.pack(*[0] * 15, CALL, 0, 9, *[0] * 7) + b"12345678"
    with pytest.raises(RecordError, match=r"of type 4 and 128 bytes"):
        decode(raw)
    assert decode(HEAD.pack(*[0] * 15, EXIT, 0, *[0] * 8)).pieces == ()


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda name: not {0, 0x2F} & set(name)), max_size=10))
def test_a_path_is_put_together_from_its_names(names: list[bytes]) -> None:
    piece = b"".join(name + b"\0" for name in reversed(names))
    assert path_of(piece) == (b"/" + b"/".join(names) if names else b"")


def test_the_calls_told_are_recorded_or_refused_ones() -> None:
    told = shapes(watch=False)
    named = {calls.NAMES[number] for number in told}
    assert set(calls.REFUSED) <= named
    assert named <= set(calls.RECORDED) | set(calls.CONDITIONAL) | set(calls.REFUSED)
    assert all(len(shape.encoded()) == 12 for shape in shapes(watch=True).values())
    assert told.keys() < shapes(watch=True).keys()


def test_the_object_is_of_this_source() -> None:
    """`make bpf-check` builds it anew, which needs a compiler; that it was built from another source shows here."""
    lines = (line.split() for line in (BPF / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    assert {path.name for path in BPF.iterdir() if path.suffix in {".c", ".h", ".o"}} == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((BPF / name).read_bytes()).hexdigest() == digest, f"{name}: run `make bpf`"
