r"""What a person at the terminal does to a running episode (keys, signals, job control), and what they are told.

The agent is in a session of its own, so nothing that the terminal sends to this job reaches it by itself: Ctrl-C and
Ctrl-\ are passed on, Ctrl-Z stops the agent first and then this program, and what is typed is read here, where the
kernel's rules for background jobs hold. With a terminal of its own (``--tty``) keys go there as they are.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from proctor.cli.pump import Flow, Pump

if TYPE_CHECKING:
    from proctor.cli.terminal import UserTerminal
    from proctor.sandbox.terminal import Terminal
    from proctor.session.client import Client

__all__ = ["Attending", "fresh_line"]

_DRAIN_SECONDS = 5.0
"""How long the agent's terminal may stay open, silent, once its processes are said to be gone."""


def fresh_line(fd: int) -> str:
    """What brings the cursor to the start of a line that is empty; nothing where ``fd`` is no terminal.

    Nobody knows where the cursor is. A line's width of blanks but one wraps from anywhere but the start (zsh's
    PROMPT_SP does the same).
    """
    if not os.isatty(fd):
        return ""
    return " " * ((os.get_terminal_size(fd).columns or 80) - 1) + "\r"


class Attending:
    """Stands between a person and an episode.

    Args:
        say: shows a line of Proctor's, where there is no terminal of the agent's to spoil.
        terminal: the person's, where the agent gets one of its own.
        stdout: where the agent's standard output goes, where it gets none.
    """

    def __init__(
        self, say: Callable[[dict[str, Any]], None], stdout: int, terminal: UserTerminal | None = None
    ) -> None:
        self._say = say
        self._terminal = terminal
        self._pump = Pump()
        self._held: list[dict[str, Any]] = []
        self._phase: Literal["starting", "running", "closing"] = "starting"
        self._interrupts = 0
        self._stop: Literal["no", "wanted", "asked"] = "no"
        self._frozen = False
        self._hurry = False
        self._output: Flow | None = None
        self._read_end = -1
        self._streams: tuple[int, ...] = (0, stdout, 2)
        if terminal is not None:
            self._streams = ()
        elif os.isatty(0):
            self._read_typed()

    def _read_typed(self) -> None:
        """Read the terminal here: from the supervisor's session a background job would take the shell's keys."""
        from proctor.cli.terminal import in_foreground  # only where there is one

        self._read_end, write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write_end, False)
        typed = Flow(0, write_end, may_read=lambda: in_foreground(0), ended=lambda: os.close(write_end))
        self._pump.flows.append(typed)
        self._streams = (self._read_end, *self._streams[1:])

    # --- the conversation ---------------------------------------------------------------------------------------------

    def attend(self, client: Client) -> None:
        """Take the terminal's signals from now on."""
        self._client = client
        client.before = lambda: self._pump.until(client.channel.fileno())
        for number, action in (
            (signal.SIGINT, self._on_interrupt), (signal.SIGQUIT, self._on_interrupt), (signal.SIGTERM, self._on_end),
            (signal.SIGHUP, self._on_end), (signal.SIGTSTP, self._on_stop),
        ):  # fmt: skip
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup(1) and a shell's background jobs leave it
                signal.signal(number, action)
        if self._terminal is not None:
            signal.signal(signal.SIGWINCH, self._on_resize)
            signal.signal(signal.SIGCONT, self._on_continue)

    def begin(self) -> tuple[tuple[int, ...], Terminal | None]:
        """The streams to start the command with, or the terminal it is to have; the person's is raw from now on."""
        if self._terminal is None:
            return self._streams, None
        self._terminal.enter()
        return (), self._terminal.wanted

    def given(self) -> None:
        """The supervisor has the streams."""
        if self._read_end >= 0:
            os.close(self._read_end)
            self._read_end = -1

    def news(self, message: dict[str, Any]) -> None:
        """Hear a message of the supervisor's."""
        op = message["op"]
        if op == "terminal":
            self._connect()
        elif op == "started":
            self._started()
        elif op == "ended":
            self._phase = "closing"
            if self._terminal is None:
                self._pump.flows.clear()  # what is typed from now on is the shell's
        elif op == "stopped":
            if self._stop == "asked":
                self._suspend()
        elif op == "frozen":
            self._frozen = True
            if self._terminal is not None:
                self._terminal.leave()
            self._say(message)
        elif op == "thawed":
            self._frozen = False
            if self._terminal is not None:
                self._terminal.come_back()
        elif self._terminal is not None and op == "finding":
            self._held.append(message)
        else:
            self._say(message)

    def _connect(self) -> None:
        from proctor.cli.terminal import Keyboard  # only with --tty

        if self._terminal is not None:
            self._pump.flows = self._terminal.connect(
                self._client.terminal,
                Keyboard(time.monotonic, lambda: self._end("at the terminal (Ctrl-] three times)")),
            )
            self._output = self._pump.flows[-1]

    def _started(self) -> None:
        self._phase = "running"
        if self._stop == "wanted":
            self._ask_to_stop()

    def finish(self) -> None:
        """Show what the agent wrote to its end, give the terminal back, and say what was held. Also after an error."""
        self._phase = "closing"
        if self._terminal is None:
            return
        if self._output is not None:
            self._terminal.for_the_rest()
            self._pump.finish(self._output, _DRAIN_SECONDS, lambda: self._hurry)
        self._terminal.leave(discard=True)
        for message in self._held:
            self._say(message)
        self._held.clear()

    # --- signals ------------------------------------------------------------------------------------------------------

    def _end(self, how: str) -> None:
        self._client.tell(op="kill", reason=f"proctor run was asked to end {how}")

    def _on_interrupt(self, number: int, _: object) -> None:
        r"""Ctrl-C and Ctrl-\ go to the agent, the second of them ends the episode.

        Whether the agent has started, which the first ends the episode before, the supervisor knows best.
        """
        self._interrupts += 1
        if self._interrupts == 1:
            self._client.tell(op="signal", signo=number)
        else:
            key = "Ctrl-C" if number == signal.SIGINT else "Ctrl-\\"
            self._client.tell(op="kill", reason=f"proctor run was interrupted ({key})")

    def _on_end(self, number: int, _: object) -> None:
        self._hurry = True
        self._end(f"({signal.Signals(number).name})")

    def _on_stop(self, *_: object) -> None:
        """Ctrl-Z: the agent first. Asked twice, or where there is nothing to stop, this program alone."""
        if self._phase == "starting" and self._stop == "no":
            self._stop = "wanted"
        elif self._phase == "running" and self._stop == "no":
            self._ask_to_stop()
        else:
            self._suspend()

    def _ask_to_stop(self) -> None:
        self._stop = "asked"
        self._client.tell(op="stop")

    def _suspend(self) -> None:
        """Stop as any program does, and go on with the agent once continued."""
        if self._terminal is not None:
            self._terminal.leave()
        sys.stderr.flush()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # here it stays, until SIGCONT; a job that nobody could continue does not
        signal.signal(signal.SIGTSTP, self._on_stop)
        asked, self._stop = self._stop, "no"
        self._come_back()
        if asked == "asked":
            self._client.tell(op="continue")

    def _on_continue(self, *_: object) -> None:
        """After a stop that nobody can catch (SIGSTOP) a shell has set the terminal as it likes it."""
        if self._terminal is not None and self._terminal.inside:
            self._terminal.come_back()

    def _come_back(self) -> None:
        if self._terminal is not None and not self._frozen:
            self._terminal.come_back()

    def _on_resize(self, *_: object) -> None:
        if self._terminal is not None:
            self._terminal.resized()
