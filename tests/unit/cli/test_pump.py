from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from proctor.cli.pump import Flow, Pump


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """Three pipes as read and write ends by turns; those still open are closed."""
    fds = [fd for _ in range(3) for fd in os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)]
    yield fds
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            continue


def test_bytes_pass_while_news_is_waited_for_and_news_ends_it(pipes: list[int]) -> None:
    source, give, take, sink, news, tell = pipes
    seen: list[bytes] = []
    pump = Pump([Flow(source, sink, seen=seen.append)])
    os.write(give, b"typed")
    timer = threading.Timer(0.05, os.write, (tell, b"n"))
    timer.start()
    pump.until(news)
    timer.join()
    assert os.read(take, 99) == b"typed"
    assert seen == [b"typed"]


def test_a_sink_that_takes_nothing_holds_up_its_source_alone(pipes: list[int]) -> None:
    source, give, take, sink, news, tell = pipes
    flow = Flow(source, sink)
    while True:
        try:
            os.write(sink, b"x" * 4096)
        except BlockingIOError:
            break
    os.write(give, b"waits")
    os.write(tell, b"n")
    pump = Pump([flow])
    pump.until(news)
    while not flow.left:
        pump.until(news)
    os.write(give, b"behind")
    for _ in range(3):
        pump.until(news)
    assert flow.left == b"waits"
    assert set(os.read(take, 1 << 20)) == {ord("x")}
    for _ in range(4):
        pump.until(news)
    assert os.read(take, 99) == b"waitsbehind"


def test_a_flow_that_may_not_read_reads_nothing(pipes: list[int]) -> None:
    source, give, _, sink, news, tell = pipes
    pump = Pump([Flow(source, sink, may_read=lambda: False)])
    os.write(give, b"the shell's")
    os.write(tell, b"n")
    pump.until(news)
    assert os.read(source, 99) == b"the shell's"


def test_the_end_is_told_once_and_the_rest_is_shown_first(pipes: list[int]) -> None:
    source, give, take, sink, _, _ = pipes
    ended: list[bool] = []
    flow = Flow(source, sink, ended=lambda: ended.append(True))
    os.write(give, b"last words")
    os.close(give)
    Pump().finish(flow, 5.0, lambda: False)
    assert os.read(take, 99) == b"last words"
    assert ended == [True]
    assert flow.ended


def test_a_sink_that_takes_nothing_is_waited_for_until_it_is_given_up(pipes: list[int]) -> None:
    source, give, _, sink, _, _ = pipes
    flow = Flow(source, sink)
    while True:
        try:
            os.write(sink, b"x" * 4096)
        except BlockingIOError:
            break
    os.write(give, b"never taken")
    asked: list[bool] = []

    def given_up() -> bool:
        asked.append(True)
        return len(asked) > 1

    Pump().finish(flow, 0.0001, given_up)
    assert flow.left == b"never taken"
    assert len(asked) == 2


def test_a_source_that_stays_open_and_silent_is_not_waited_for_without_end(pipes: list[int]) -> None:
    source, _, _, sink, _, _ = pipes
    flow = Flow(source, sink)
    Pump().finish(flow, 0.05, lambda: False)
    assert not flow.ended


def test_a_terminal_that_nobody_has_open_may_be_opened_again() -> None:
    master, slave = os.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    read, write = os.pipe()
    news, tell = os.pipe()
    try:
        flow = Flow(master, write, reopens=True)
        pump = Pump([flow])
        timer = threading.Timer(0.1, os.write, (tell, b"n"))
        timer.start()
        pump.until(news)
        timer.join()
        while_open = flow.ended
        again = os.open(name, os.O_RDWR | os.O_NOCTTY)
        os.write(again, b"back")
        os.close(again)
        pump.finish(flow, 5.0, lambda: False)
        assert (while_open, flow.ended) == (False, True)
        assert os.read(read, 99) == b"back"
    finally:
        for fd in (master, read, write, news, tell):
            os.close(fd)


def test_a_reader_that_left_ends_the_flow(pipes: list[int]) -> None:
    source, give, take, sink, news, tell = pipes
    os.close(take)
    os.write(give, b"to nobody")
    flow = Flow(source, sink)
    os.write(tell, b"n")
    pump = Pump([flow])
    for _ in range(3):
        pump.until(news)
    assert (flow.ended, flow.left) == (True, b"")
