from __future__ import annotations

import os
import select
import termios
from collections.abc import Iterator

import pytest

from proctor.cli.attending import fresh_line
from proctor.cli.terminal import Keyboard, UserTerminal, in_foreground
from proctor.errors import UsageError
from proctor.sandbox import terminal


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("presses", "outs"),
    [
        ([(0.0, b"\x1d"), (0.1, b"\x1d"), (0.2, b"\x1d")], 1),
        ([(0.0, b"\x1d\x1d\x1d")], 1),
        ([(0.0, b"\x1d\x1d"), (1.1, b"\x1d")], 0),
        ([(0.0, b"\x1d"), (0.6, b"\x1d"), (1.2, b"\x1d"), (1.3, b"\x1d")], 1),
        ([(0.0, b"\x1d\x1dx\x1d")], 0),
        ([(0.0, b"\x03\x03\x03")], 0),
        ([(0.0, b"\x1d" * 6)], 2),
    ],
)
def test_the_way_out_is_three_presses_within_a_second(presses: list[tuple[float, bytes]], outs: int) -> None:
    now, found = [0.0], list[bool]()
    keyboard = Keyboard(lambda: now[0], lambda: found.append(True))
    for when, typed in presses:
        now[0] = when
        keyboard.see(typed)
    assert len(found) == outs


def test_it_is_raw_meanwhile_and_given_back(pair: tuple[int, int]) -> None:
    master, slave = pair
    usual = termios.tcgetattr(slave)
    person = UserTerminal(slave, slave)
    person.leave()
    assert termios.tcgetattr(slave) == usual
    person.enter()
    person.enter()
    _, oflag, _, lflag, *_ = termios.tcgetattr(slave)
    assert not oflag & termios.OPOST
    assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    os.write(master, b"\x03\r")
    assert os.read(slave, 9) == b"\x03\r"
    person.leave()
    person.leave()
    assert termios.tcgetattr(slave) == usual
    assert os.read(master, 99) == b"\x1b[0m"


def test_what_was_typed_and_not_taken_can_be_thrown_away(pair: tuple[int, int]) -> None:
    master, slave = pair
    person = UserTerminal(slave, slave)
    person.enter()
    os.write(master, b"rm -r answers\r")
    assert select.select([slave], [], [], 10)[0]  # it is there: the kernel hands it over in its own time
    person.leave(discard=True)
    os.write(master, b"mine\r")
    assert os.read(slave, 99) == b"mine\n"


@pytest.mark.parametrize(("keyboard", "screen", "named"), [(False, True, "input"), (True, False, "output")])
def test_what_is_no_terminal_is_said(pair: tuple[int, int], keyboard: bool, screen: bool, named: str) -> None:
    _, slave = pair
    read, write = os.pipe()
    try:
        with pytest.raises(UsageError, match=f"standard {named} is none"):
            UserTerminal(slave if keyboard else read, slave if screen else write)
    finally:
        os.close(read)
        os.close(write)


def test_the_agents_is_like_the_persons(pair: tuple[int, int]) -> None:
    _, slave = pair
    terminal.resize(slave, 33, 77)
    modes = termios.tcgetattr(slave)
    modes[3] &= ~termios.ECHO
    modes[6][termios.VERASE] = b"\x08"
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    plain = terminal.Terminal.from_plain(
        {"rows": 33, "columns": 77, "modes": list(modes[:6]), "characters": [one[0] for one in modes[6]]}
    )
    wanted = terminal.of(slave, slave)
    assert wanted == plain
    master, own = terminal.make(wanted)
    try:
        assert termios.tcgetattr(own) == modes
        assert terminal.size(own) == (33, 77)
        assert not os.get_inheritable(master)
    finally:
        os.close(master)
        os.close(own)


def test_a_size_that_is_not_known_is_the_usual_one(pair: tuple[int, int]) -> None:
    assert terminal.size(pair[1]) == (24, 80)


def test_a_terminal_without_job_control_may_be_read(pair: tuple[int, int]) -> None:
    assert in_foreground(pair[1])


def test_a_fresh_line_is_a_width_of_blanks_but_one(pair: tuple[int, int]) -> None:
    terminal.resize(pair[1], 24, 12)
    assert fresh_line(pair[1]) == " " * 11 + "\r"
    read, write = os.pipe()
    assert fresh_line(write) == ""
    os.close(read)
    os.close(write)
