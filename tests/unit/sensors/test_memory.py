"""Reading one's own memory through the same call that reads a stopped process's."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.sensors.memory import (
    Address,
    Gone,
    Unreadable,
    parse_address,
    read_address,
    read_arguments,
    read_string,
)

ME = os.getpid()


def at_page_end(data: bytes) -> tuple[mmap.mmap, int]:
    """Place ``data`` so that the byte behind it is not mapped."""
    libc = ctypes.CDLL(None, use_errno=True)
    area = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert libc.mprotect(ctypes.c_void_p(base + 2 * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    ctypes.memmove(base + 2 * mmap.PAGESIZE - len(data), data, len(data))
    return area, base + 2 * mmap.PAGESIZE - len(data)


@given(st.binary(max_size=4095).filter(lambda data: b"\0" not in data))
def test_a_string_is_read_whole_up_to_the_last_mapped_byte(data: bytes) -> None:
    area, address = at_page_end(data + b"\0")
    assert read_string(ME, address) == data
    assert area is not None


def test_a_string_without_end_is_refused_not_cut() -> None:
    area, address = at_page_end(b"x" * 20)
    with pytest.raises(Unreadable) as caught:
        read_string(ME, address)
    assert caught.value.errno == errno.EFAULT
    assert area is not None


def test_a_path_longer_than_the_kernel_takes_gets_the_kernels_answer() -> None:
    buffer = ctypes.create_string_buffer(b"a" * 5000)
    with pytest.raises(Unreadable) as caught:
        read_string(ME, ctypes.addressof(buffer))
    assert caught.value.errno == errno.ENAMETOOLONG


def test_nothing_mapped_is_efault_and_no_process_is_gone() -> None:
    with pytest.raises(Unreadable) as caught:
        read_string(ME, 8)
    assert caught.value.errno == errno.EFAULT
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(Gone):
        read_string(pid, 8)


@given(st.lists(st.binary(max_size=300).filter(lambda word: b"\0" not in word), max_size=100))
def test_arguments_are_digested_whole_and_shown_up_to_64(words: list[bytes]) -> None:
    strings = [ctypes.create_string_buffer(word) for word in words]
    vector = struct.pack(f"={len(words) + 1}Q", *(ctypes.addressof(one) for one in strings), 0)
    area, address = at_page_end(vector)
    found = read_arguments(ME, address)
    assert found.count == len(words)
    assert found.digest == hashlib.sha256(b"\0".join(words)).hexdigest()
    assert len(found.shown) == min(64, len(words))
    assert found.truncated == (len(words) > 64)
    assert area is not None


def test_a_very_long_argument_is_cut_in_what_is_shown_only() -> None:
    word = ctypes.create_string_buffer(b"y" * 100_000)
    vector = ctypes.create_string_buffer(struct.pack("=2Q", ctypes.addressof(word), 0))
    found = read_arguments(ME, ctypes.addressof(vector))
    assert found.shown == ("y" * 4096,)
    assert found.truncated
    assert found.digest == hashlib.sha256(b"y" * 100_000).hexdigest()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (struct.pack("=H", 0) + b"\0" * 14, None),
        (
            struct.pack("=H", 2) + struct.pack(">H", 80) + socket.inet_aton("10.0.0.7") + b"\0" * 8,
            Address("inet", "10.0.0.7", 80),
        ),
        (
            struct.pack("=H", 10) + struct.pack(">HI", 443, 0) + socket.inet_pton(10, "fd00::1") + b"\0" * 4,
            Address("inet6", "fd00::1", 443),
        ),
        (
            struct.pack("=H", 10) + struct.pack(">HI", 1, 0) + socket.inet_pton(10, "::ffff:10.0.0.7") + b"\0" * 4,
            Address("inet", "10.0.0.7", 1),
        ),
        (struct.pack("=H", 1) + b"/tmp/s\0junk", Address("unix", path=b"/tmp/s")),
        (struct.pack("=H", 1) + b"\0name", Address("unix", path=b"\0name")),
        (struct.pack("=H", 1), Address("unix", path=b"")),
        (struct.pack("=H", 40) + b"\0" * 14, Address("af40")),
        (struct.pack("=H", 2) + b"\0", Address("af2")),
    ],
)
def test_addresses(raw: bytes, expected: Address | None) -> None:
    assert parse_address(raw) == expected


@given(st.binary(min_size=2, max_size=128))
def test_any_bytes_parse_or_are_a_family_of_their_own(raw: bytes) -> None:
    found = parse_address(raw)
    assert found is None or found.family


@pytest.mark.parametrize("length", [0, 1, 129, 0xFFFFFFFF])
def test_lengths_that_the_kernel_refuses(length: int) -> None:
    buffer = ctypes.create_string_buffer(200)
    with pytest.raises(Unreadable) as caught:
        read_address(ME, ctypes.addressof(buffer), length)
    assert caught.value.errno == errno.EINVAL
