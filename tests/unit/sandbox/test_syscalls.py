"""The filter is run here instruction by instruction, as the kernel does, over every kind of call."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.sandbox import calls, syscalls

NOTIFY, ALLOW = 0x7FC00000, 0x7FFF0000
Program = list[tuple[int, ...]]


def parsed(program: bytes) -> Program:
    return [struct.unpack_from("HBBI", program, at) for at in range(0, len(program), 8)]


PROGRAM = parsed(syscalls.program())
TIER_C = parsed(syscalls.program(namespaces=False))


def decide(nr: int, *args: int, arch: int = calls.AUDIT_ARCH, program: Program = PROGRAM) -> int:
    """Interpret the program over a struct seccomp_data; return its action."""
    data = struct.pack("=IIQ6Q", nr, arch, 0, *(args + (0,) * 6)[:6])
    at, accumulator = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            at += value
        elif code == 0x06:
            return int(value)
        else:
            hit = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += yes if hit else no


def test_every_recorded_and_refused_call_stops() -> None:
    for name, nr in calls.RECORDED.items():
        assert decide(nr) == NOTIFY, name
    for name, (nr, _) in calls.REFUSED.items():
        assert decide(nr) == NOTIFY, name


def test_without_namespaces_more_stops_and_nothing_less() -> None:
    further = {*calls.CONFINED.values(), *(number for number, _ in calls.UNSHARED.values())}
    for nr in range(calls.LAST_KNOWN + 1):
        here, there = decide(nr, program=PROGRAM), decide(nr, program=TIER_C)
        assert (here, there) == (ALLOW, NOTIFY) if nr in further else here == there or nr == calls.SOCKETPAIR, nr
    assert further & {number for number, _ in calls.REFUSED.values()} == set()


@pytest.mark.parametrize(
    ("family", "kind", "action"),
    [
        (1, 1, ALLOW), (1, 5, ALLOW), (1, 2, NOTIFY), (2, 1, ALLOW), (2, 0o2000001, ALLOW), (2, 2, NOTIFY), (2, 3, NOTIFY),
        (10, 1, ALLOW), (10, 2, NOTIFY), (16, 3, ALLOW), (17, 3, NOTIFY), (40, 1, NOTIFY),
    ],
)  # fmt: skip
def test_without_namespaces_there_are_no_datagrams(family: int, kind: int, action: int) -> None:
    assert decide(calls.NUMBERS["socket"], family, kind, program=TIER_C) == action
    assert decide(calls.SOCKETPAIR, family, kind, program=TIER_C) == action


@pytest.mark.parametrize("request_", [0x8901, 0x8902])  # FIOSETOWN, SIOCSPGRP
def test_without_namespaces_no_ioctl_names_an_owner(request_: int) -> None:
    assert decide(calls.NUMBERS["ioctl"], 0, request_, program=TIER_C) == NOTIFY
    assert decide(calls.NUMBERS["ioctl"], 0, request_) == ALLOW


def test_numbers_are_distinct() -> None:
    assert len(set(calls.NUMBERS.values())) == len(calls.NUMBERS)


@pytest.mark.parametrize(
    ("nr", "args", "action"),
    [
        (257, (0, 0, 0), ALLOW),
        (257, (0, 0, 0o2000000), ALLOW),
        (257, (0, 0, 1), NOTIFY),
        (257, (0, 0, 2), NOTIFY),
        (257, (0, 0, 0o100), NOTIFY),
        (257, (0, 0, 0o1000), NOTIFY),
        (257, (0, 0, 0o20200000), NOTIFY),
        (2, (0, 0), ALLOW),
        (2, (0, 0o101), NOTIFY),
        (56, (17,), NOTIFY),
        (56, (0x3D0F00,), ALLOW),
        (56, (0x10000000 | 17,), NOTIFY),
        (56, (0x10010000,), NOTIFY),
        (41, (2, 1), ALLOW),
        (41, (2, 0o2000001), ALLOW),
        (41, (10, 2), ALLOW),
        (41, (1, 5), ALLOW),
        (41, (16, 3), ALLOW),
        (41, (2, 3), NOTIFY),
        (41, (17, 3), NOTIFY),
        (41, (40, 1), NOTIFY),
        (41, (38, 5), NOTIFY),
        (41, (2, 10), NOTIFY),
        (16, (0, 0x5401), ALLOW),
        (16, (0, 0x5412), NOTIFY),
        (16, (0, 0x541C), NOTIFY),
        (72, (1, 1), ALLOW),
        (72, (1, 8), NOTIFY),
        (72, (1, 10), NOTIFY),
        (72, (1, 15), NOTIFY),
        (302, (0, 7, 1), ALLOW),
        (302, (5, 7, 1), NOTIFY),
        (302, (5, 7, 0), ALLOW),
        (302, (5, 7, 1 << 40), NOTIFY),
        (203, (0,), ALLOW),
        (203, (9,), NOTIFY),
        (141, (0, 0), ALLOW),
        (141, (0, 9), NOTIFY),
        (141, (1, 0), NOTIFY),
        (251, (1, 0), ALLOW),
        (251, (1, 4), NOTIFY),
        (251, (2, 0), NOTIFY),
        (44, (3, 0, 0, 0, 0), ALLOW),
        (44, (3, 0, 0, 0, 1), NOTIFY),
        (44, (3, 0, 0, 0, 1 << 40), NOTIFY),
        (44, (3, 0, 0, 0x20000000, 0), NOTIFY),
        (234, (1, 1, 23), ALLOW),
        (234, (1, 1, 9), NOTIFY),
    ],
)
def test_calls_that_depend_on_their_arguments(nr: int, args: tuple[int, ...], action: int) -> None:
    assert decide(nr, *args) == action


def test_clone3_gets_enosys_so_that_libc_falls_back_to_clone() -> None:
    assert decide(calls.CLONE3) == 0x00050000 | errno.ENOSYS


@given(st.integers(calls.LAST_KNOWN + 1, 0xFFFFFFFF))
def test_calls_later_than_the_table_stop(nr: int) -> None:
    assert decide(nr) == NOTIFY


@given(st.integers(0, 0xFFFFFFFF).filter(lambda arch: arch != calls.AUDIT_ARCH), st.integers(0, 500))
def test_other_architectures_stop(arch: int, nr: int) -> None:
    assert decide(nr, arch=arch) == NOTIFY


@given(
    st.integers(0, calls.LAST_KNOWN).filter(lambda nr: nr not in calls.NAMES),
    st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
)
def test_calls_of_no_interest_go_through_whatever_their_arguments(nr: int, args: list[int]) -> None:
    assert decide(nr, *args) == ALLOW
