"""The terminal that a person sits at while the agent has one of its own: raw meanwhile, and given back as it was."""

from __future__ import annotations

import errno
import os
import termios
from collections.abc import Callable
from typing import Any

from proctor.cli.modes import Modes
from proctor.cli.pump import Flow
from proctor.errors import UsageError
from proctor.sandbox import terminal

__all__ = ["WAY_OUT", "Keyboard", "UserTerminal", "in_foreground"]

_ESCAPE = b"\x1d"
_ESCAPES, _ESCAPE_SECONDS = 3, 1.0
WAY_OUT = "Ctrl-] three times within a second"


def in_foreground(fd: int) -> bool:
    """Whether this job may read its terminal; also where the terminal is not its session's, and no job control is."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


class Keyboard:
    """Notices the way out among what is typed: the one key that a full-screen agent cannot take for itself.

    Nothing is held back: the agent gets these keys as any other.
    """

    def __init__(self, now: Callable[[], float], way_out: Callable[[], None]) -> None:
        self._now = now
        self._way_out = way_out
        self._pressed: list[float] = []

    def see(self, typed: bytes) -> None:
        """Take in what was typed."""
        for index in range(len(typed)):
            if typed[index : index + 1] != _ESCAPE:
                self._pressed.clear()
                continue
            now = self._now()
            self._pressed = [when for when in self._pressed if now - when < _ESCAPE_SECONDS] + [now]
            if len(self._pressed) >= _ESCAPES:
                self._pressed.clear()
                self._way_out()


def _raw(saved: list[Any]) -> list[Any]:
    """Modes in which every key is a byte and every byte is shown as it is: cfmakeraw of termios(3)."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = saved
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]


class UserTerminal:
    """The person's terminal. ``enter`` and ``leave`` may be called in any order and any number of times.

    Args:
        keyboard, screen: descriptors of it.

    Attributes:
        wanted: what the agent's terminal is to be like.
        inside: it is the agent's now. While it is not, nothing passes between the two.

    Raises:
        UsageError: they are no terminals.
    """

    def __init__(self, keyboard: int, screen: int) -> None:
        for fd, name in ((keyboard, "input"), (screen, "error" if screen == 2 else "output")):
            if not os.isatty(fd):
                raise UsageError(
                    f"run: --tty needs a terminal, and standard {name} is none; leave --tty out where a program reads "
                    "or writes"
                )
        self._keyboard = keyboard
        self._saved = termios.tcgetattr(keyboard)
        self._screen = _own(screen)
        self._modes = Modes()
        self._master = -1
        self.inside = False
        self.wanted = terminal.of(keyboard, screen)

    def enter(self) -> None:
        """Make it raw, for the agent. In the background this waits to be in the foreground, as a job does."""
        self._set(termios.TCSANOW, _raw(self._saved))
        if not self.inside:
            self._show(self._modes.again())
        self.inside = True
        self.resized()

    def come_back(self) -> None:
        """Enter again after :meth:`leave`, and have a full-screen agent draw again."""
        self.enter()
        self._redraw()

    def for_the_rest(self) -> None:
        """What is left to be shown is shown, also where this was left: frozen, and then ended."""
        if not self.inside and in_foreground(self._keyboard):
            self.enter()

    def leave(self, *, discard: bool = False) -> None:
        """Make it what it was. ``discard``: what was typed, or answered by the terminal, and not taken goes nowhere."""
        if not self.inside:
            return
        self.inside = False
        self._show(self._modes.undo())
        if in_foreground(self._keyboard):  # else it is somebody else's now
            self._set(termios.TCSAFLUSH if discard else termios.TCSANOW, self._saved)

    def _set(self, when: int, modes: list[Any]) -> None:
        while True:
            try:
                termios.tcsetattr(self._keyboard, when, modes)
            except termios.error as error:
                if error.args[0] == errno.EINTR:  # stopped for being in the background, and continued
                    continue
                # Else the terminal is gone: there is nothing to set.
            return

    def _show(self, data: bytes) -> None:
        if data:
            try:
                os.write(self._screen, data)
            except OSError:
                return

    def connect(self, master: int, keyboard: Keyboard) -> list[Flow]:
        """The flows between this terminal and the agent's, whose master is given: keys in, output out."""
        os.set_blocking(master, False)
        self._master = master
        self.resized()
        keys = Flow(
            self._keyboard, master, may_read=lambda: self.inside and in_foreground(self._keyboard), seen=keyboard.see
        )
        return [keys, Flow(master, self._screen, may_read=lambda: self.inside, seen=self._modes.see, reopens=True)]

    def resized(self) -> None:
        """Give the agent's terminal the size of this one; it hears of it where that is new."""
        if self._master < 0:
            return
        try:
            terminal.resize(self._master, *terminal.size(self._screen))
        except OSError:
            return

    def _redraw(self) -> None:
        """A full-screen program draws again when told of a new size, so it is told of two."""
        if self._master < 0:
            return
        try:
            rows, columns = terminal.size(self._screen)
            terminal.resize(self._master, rows, max(1, columns - 1))
            terminal.resize(self._master, rows, columns)
        except OSError:
            return


def _own(screen: int) -> int:
    """A description of our own of the same terminal, that a write does not wait on.

    Not set on the one that is shared with the shell. Where it cannot be opened again (another user's terminal, after
    su) writes wait for it.
    """
    try:
        return os.open(f"/proc/self/fd/{screen}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return os.dup(screen)
