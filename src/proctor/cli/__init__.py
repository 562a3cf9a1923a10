"""The command line. Every user's mistake is one line on standard error and exit status 2; a fault of Proctor's is 1."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv`` (by default the process's own) and return its exit status."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        # Ctrl-C ends the process as it ends any program. As an exception it would arrive in the middle of an import,
        # and one inside msgspec's is swallowed there and leaves a module that crashes when it is used.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _standard_streams()
    words = sys.argv[1:] if argv is None else argv
    if os.getpid() == 1:
        # A container's first process: the kernel gives it no signal's default action.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # until there is an episode to end
        if words[:1] == ["run"]:
            signal.signal(signal.SIGCHLD, _reap_orphans)
    supervisor = _early_supervisor() if words[:1] == ["run"] else None
    from proctor.cli.parser import parse  # each command imports only what it needs
    from proctor.errors import ProctorError, UsageError

    try:
        arguments = parse(words)
        if supervisor is not None:
            arguments.supervisor_pid, arguments.supervisor = supervisor
        status: int = arguments.command(arguments)
        sys.stdout.flush()
    except UsageError as error:
        sys.stderr.write(f"proctor: {error}\n")
        return 2
    except ProctorError as error:
        sys.stderr.write(f"proctor: {error}\n")
        return 1
    except BrokenPipeError:
        # The reader left (`proctor … | head`): there is nobody to complain to.
        _nowhere()
        return 1
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}:
            raise
        _nowhere()
        sys.stderr.write(f"proctor: the output cannot be written: {error.strerror}\n")
        return 1
    return status


def _reap_orphans(*_: object) -> None:
    """Collect what ended: PID 1 gets everybody's orphans. The supervisor's end is seen by its channel."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _nowhere() -> None:
    """What standard output still holds goes to the null device: there it cannot fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _standard_streams() -> None:
    """Give descriptors 0 to 2 that the caller closed to the null device, before something else gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False, encoding="utf-8"))  # noqa: SIM115 - for good


def _early_supervisor() -> tuple[int, socket.socket]:
    """Fork the supervisor before anything else, so that it imports what it needs while the arguments are read."""
    from proctor.session.launcher import fork_supervisor

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pid = fork_supervisor(theirs, cold=True)
    theirs.close()
    return pid, ours
