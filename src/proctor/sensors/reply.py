"""What a call is answered with where the supervisor did it itself, on behalf of its caller."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from proctor.sensors import notify

__all__ = ["Act", "Reply", "refusing", "returning"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A value to return; or a descriptor to give to the caller, which is then closed here.

    ``at``: the caller's descriptor that it takes the place of (the call then returns ``value``); None: a new one, whose
    number the call returns.
    """

    value: int = 0
    fd: int = -1
    at: int | None = None
    cloexec: bool = False

    def send(self, listener: int, ident: int) -> None:
        """Answer the call."""
        if self.fd < 0:
            notify.returns(listener, ident, self.value)
            return
        try:
            number = notify.install(listener, ident, self.fd, at=self.at, cloexec=self.cloexec)
        except OSError as error:
            if error.errno != errno.ENOENT:
                notify.answer(listener, ident, error.errno or errno.EMFILE)
            return
        finally:
            os.close(self.fd)
        if self.value < 0:
            notify.answer(listener, ident, -self.value)
        else:
            notify.returns(listener, ident, number if self.at is None else self.value)


Act = Callable[[], Reply | None]
"""Does a recorded call and says how to answer it; None: it will be answered later. Raises OSError: the answer."""


def refusing(number: int) -> Act:
    """The act of a call that fails with an errno, whatever it asks for."""

    def act() -> Reply | None:
        raise OSError(number, os.strerror(number))

    return act


def returning(value: int) -> Act:
    """The act of a call that is done already."""
    return lambda: Reply(value=value)
