from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from proctor.journal.stream import Stream, is_stream


def pair() -> tuple[Stream, socket.socket]:
    ours, theirs = socket.socketpair()
    return Stream(ours.detach(), stall_seconds=0.2), theirs


def read_all(source: socket.socket) -> bytes:
    found = b""
    while chunk := source.recv(1 << 20):
        found += chunk
    return found


def test_what_is_sent_arrives_and_the_answer_comes_back() -> None:
    stream, theirs = pair()
    with theirs:
        stream.send(b"one\n")
        stream.send(b"two\n")

        def collector() -> None:
            assert read_all(theirs) == b"one\ntwo\n"
            theirs.sendall(b"a receipt\n")

        thread = threading.Thread(target=collector)
        thread.start()
        assert stream.finish(20) == b"a receipt\n"
        thread.join()
    assert stream.broken is None


def test_a_line_longer_than_every_buffer_arrives_whole() -> None:
    line = bytes(range(256)) * 40_000 + b"\n"
    for stream, source in (pair(), pipe()):
        found: list[bytes] = []

        def read(
            source: int = source if isinstance(source, int) else source.fileno(), into: list[bytes] = found
        ) -> None:
            while chunk := os.read(source, 1 << 20):
                into.append(chunk)

        thread = threading.Thread(target=read)
        thread.start()
        stream._stall = 20
        stream.send(line)
        assert stream.broken is None
        stream.finish(0.01)
        thread.join()
        assert b"".join(found) == line
        if isinstance(source, int):
            os.close(source)
        else:
            source.close()


def pipe() -> tuple[Stream, int]:
    read, write = os.pipe()
    return Stream(write, stall_seconds=0.2), read


def test_a_collector_that_takes_nothing_is_waited_for_a_bounded_time() -> None:
    for stream, source in (pair(), pipe()):
        began = time.monotonic()
        for _ in range(1000):
            stream.send(bytes(100_000) + b"\n")
        assert stream.broken == "the collector did not take a line within 0.2 s"
        assert time.monotonic() - began < 15, "each further line waited again"
        assert stream.finish() is None
        if isinstance(source, int):
            os.close(source)
        else:
            source.close()


def test_a_trickle_does_not_hold_the_agent_for_ever() -> None:
    stream, theirs = pair()
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.02):
            theirs.recv(100)

    thread = threading.Thread(target=trickle)
    thread.start()
    stream.send(bytes(1 << 26))
    ended.set()
    thread.join()
    theirs.close()
    assert stream.broken == "the collector did not take a line within 0.2 s"
    stream.close()


def test_a_collector_that_is_gone_is_noticed_and_what_it_said_is_told() -> None:
    stream, theirs = pair()
    stream.send(b"a line that is never read\n")
    theirs.sendall(b"line 2: \x1b[31mnot a line\n")
    theirs.close()
    stream.woke()
    assert stream.broken == "the collector refused: 'line 2: \\x1b[31mnot a line'"
    stream.close()
    stream, theirs = pair()
    theirs.close()
    stream.send(b"x\n")
    assert stream.broken is not None and stream.broken.startswith("the collector is gone")
    stream.close()
    after, read = pipe()
    os.close(read)
    after.send(b"x\n")
    assert after.broken is not None
    after.close()


def test_an_answer_that_does_not_come_is_none() -> None:
    stream, theirs = pair()
    with theirs:
        assert stream.finish(0.05) is None


@pytest.mark.parametrize("kind", ["file", "datagrams", "packets", "pipe", "socket"])
def test_what_a_journal_can_be_sent_over(kind: str) -> None:
    read, write = os.pipe()
    kinds = {"datagrams": socket.SOCK_DGRAM, "packets": socket.SOCK_SEQPACKET, "socket": socket.SOCK_STREAM}
    one, other = socket.socketpair(type=kinds.get(kind, socket.SOCK_STREAM))
    null = os.open(os.devnull, os.O_WRONLY)
    fd = {"file": null, "pipe": write}.get(kind, one.fileno())
    assert is_stream(fd) is (kind in {"pipe", "socket"})
    for left in (read, write, null):
        os.close(left)
    one.close()
    other.close()
