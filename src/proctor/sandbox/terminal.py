"""The agent's own terminal: a pseudo-terminal pair, made where the agent's paths are, whose master is given away.

Made inside, so that in tier B it is the sandbox's own /dev/pts that names it. The pair is pty(7)'s; the standard
library's ``pty`` module is not used, as it forks, and the command is started by other hands.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from dataclasses import dataclass
from typing import Any

__all__ = ["Terminal", "make", "of", "resize", "size", "take_over"]

_MAX_SIDE = 0xFFFF  # struct winsize holds unsigned short (ioctl_tty(2))


@dataclass(frozen=True, slots=True)
class Terminal:
    """How a terminal is to be: its size, and its modes as ``termios.tcgetattr`` gives them.

    ``modes``: c_iflag, c_oflag, c_cflag, c_lflag, input and output speed. ``characters``: c_cc, as numbers.
    """

    rows: int
    columns: int
    modes: tuple[int, ...]
    characters: tuple[int, ...]

    @classmethod
    def from_plain(cls, plain: dict[str, object]) -> Terminal:
        """What ``dataclasses.asdict`` and JSON made plain data of."""
        return cls(
            rows=plain["rows"], columns=plain["columns"],  # type: ignore[arg-type]
            modes=tuple(plain["modes"]), characters=tuple(plain["characters"]),  # type: ignore[arg-type]
        )  # fmt: skip


def size(fd: int) -> tuple[int, int]:
    """Rows and columns of a terminal; 24 and 80 where it says none (as a serial line does). Raises OSError."""
    columns, rows = os.get_terminal_size(fd)
    return rows or 24, columns or 80


def of(keyboard: int, screen: int) -> Terminal:
    """The caller's terminal, for the agent's to be like it: keys of ``keyboard``, size of ``screen``.

    Raises:
        OSError, termios.error: they are no terminals.
    """
    *modes, characters = termios.tcgetattr(keyboard)
    rows, columns = size(screen)
    numbers = tuple(one if isinstance(one, int) else one[0] for one in characters)
    return Terminal(rows, columns, tuple(modes), numbers)


def resize(fd: int, rows: int, columns: int) -> None:
    """Set the size; the kernel tells the foreground process group (SIGWINCH) where it is another than before."""
    packed = struct.pack("HHHH", min(rows, _MAX_SIDE), min(columns, _MAX_SIDE), 0, 0)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, packed)


def make(wanted: Terminal) -> tuple[int, int]:
    """Make a pair: (master, slave), neither inherited by an exec. The slave is nobody's controlling terminal yet."""
    master, slave = os.openpty()
    modes: list[Any] = [*wanted.modes, list(wanted.characters)]
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    resize(slave, wanted.rows, wanted.columns)
    return master, slave


def take_over(slave: int) -> None:
    """Make the slave the controlling terminal of this process, which must lead a session that has none."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
