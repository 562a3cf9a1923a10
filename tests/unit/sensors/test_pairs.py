from __future__ import annotations

import os

import pytest

from proctor.sensors.pairs import holds, number


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/dev/pts/0", 0),
        ("/dev/pts/123", 123),
        ("/dev/pts/ptmx", None),
        ("/dev/pts/", None),
        ("/dev/pts/1/2", None),
        ("/dev/pts/\u0661", None),
        ("/x/dev/pts/1", None),
        (None, None),
    ],
)
def test_only_a_slaves_path_has_a_number(path: str | None, found: int | None) -> None:
    assert number(path) == found


def test_a_pair_is_its_who_holds_the_master() -> None:
    master, slave = os.openpty()
    pair = number(os.ttyname(slave))
    assert pair is not None
    assert holds([os.getpid()], pair)
    assert not holds([os.getpid()], pair + 100_000)
    assert not holds([1 << 30], pair)
    os.close(master)
    assert not holds([os.getpid()], pair)  # the slave alone is not enough
    os.close(slave)
