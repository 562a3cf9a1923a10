from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.cli.modes import Modes

PLAIN = b"\x1b[0m"


def after(*pieces: bytes) -> Modes:
    modes = Modes()
    for piece in pieces:
        modes.see(piece)
    return modes


@pytest.mark.parametrize(
    ("written", "undone"),
    [
        (b"text", b""),
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?1049hdrawn\x1b[?1049l", b""),
        (b"\x1b[?25l", b"\x1b[?25h"),
        (b"\x1b[?1000;1006h", b"\x1b[?1006l\x1b[?1000l"),
        (b"\x1b[?1049h\x1b[?25l\x1b=", b"\x1b>\x1b[?25h\x1b[?1049l"),
        (b"\x1b[?7l", b"\x1b[?7h"),
        (b"\x1b[?1049h\x1bc", b""),
        (b"\x1b[?9999h\x1b[?h\x1b[?;h\x1b[31m", b""),
        (b"\x1b[?2004h\x1b[?2004h", b"\x1b[?2004l"),
    ],
)
def test_what_was_switched_on_is_switched_off_and_nothing_else(written: bytes, undone: bytes) -> None:
    assert after(written).undo() == undone + PLAIN


def test_what_was_undone_can_be_done_again() -> None:
    modes = after(b"\x1b[?1049h\x1b[?25l\x1b=")
    assert modes.again() == b"\x1b[?1049h\x1b[?25l\x1b="
    assert after(modes.again(), modes.undo()).undo() == PLAIN


OUTPUT = st.lists(
    st.sampled_from(
        [b"\x1b", b"[", b"?", b"1049", b"25", b";", b"h", b"l", b"=", b">", b"c", b"x", b"\x1b[?2004h", b"\x1b[?1l"]
    )
    | st.binary(max_size=4)
).map(b"".join)


@given(OUTPUT, st.lists(st.integers(min_value=0, max_value=200)))
def test_it_does_not_matter_where_the_output_is_cut(output: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
    pieces = [output[start:end] for start, end in itertools.pairwise(edges)]
    assert after(*pieces).undo() == after(output).undo()


@given(st.binary())
def test_whatever_is_written_what_undoes_it_leaves_nothing_to_undo(output: bytes) -> None:
    modes = after(output)
    assert after(modes.again(), modes.undo()).undo() == PLAIN
