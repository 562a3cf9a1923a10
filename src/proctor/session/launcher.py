"""Where supervisors come from: a process that imports what one needs before anybody waits for it, and forks.

A host program talks to a launcher over a socket and is itself never forked, so that its threads and memory stay out of
the supervisor: ``python -m proctor.session.launcher FD``. The command line forks once, before it reads its arguments,
so that both halves of the start-up run at the same time; so nothing heavy is imported at the top of this module.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from proctor.detectors.rules import RuleSet
    from proctor.sandbox.child import Sandbox
    from proctor.session.spec import EpisodeSpec

__all__ = ["fork_supervisor", "main", "warm"]

_IDLE_SECONDS = 0.05
"""A launcher makes its next spare once nobody asks for anything: not in the way of the one just given away."""

_CLIENT = 250
"""Where a supervisor keeps its client's socket: out of the way of what it closes."""

_rules: dict[tuple[str, ...], RuleSet] = {}


def _load(rules: tuple[str, ...], cache: str) -> RuleSet:
    from pathlib import Path

    from proctor.detectors.compile import load

    if rules not in _rules:
        _rules[rules] = load([Path(folder) for folder in rules], Path(cache))
    return _rules[rules]


def _warm_modules() -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: F401 - loaded, not used
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from proctor.sandbox import syscalls

    Ed25519PrivateKey.generate().sign(b"")  # the library's own first use costs 10 ms
    syscalls.program()

    import proctor.gateway.relay
    import proctor.session.closing
    import proctor.session.supervisor  # noqa: F401 - loaded, not used


def warm(rules: tuple[str, ...], cache: str) -> None:
    """Load what a supervisor needs.

    Raises:
        RuleError: a rule file cannot be compiled.
    """
    _warm_modules()
    _load(rules, cache)
    _rehearse()
    gc.freeze()  # what is shared with every supervisor is not looked at again, and stays shared


def _rehearse() -> None:
    """Make what the first use of a record type makes: 2 ms that every supervisor would otherwise spend again."""
    import msgspec

    from proctor.policy.load import digest
    from proctor.policy.records import Policy
    from proctor.sandbox.layout import Layout
    from proctor.session.spec import EpisodeSpec

    policy = Policy(workspace="/")
    layout = Layout("/", "/", (), (), (), (), ())
    spec = EpisodeSpec(
        episode="-", out="/", policy=policy, policy_digest=digest(policy), layout=layout, keys="", cache=""
    )
    msgspec.convert(msgspec.to_builtins(spec), EpisodeSpec)


def fork_supervisor(channel: socket.socket, *, cold: bool) -> int:
    """Fork a supervisor; return its pid. The caller must have one thread only.

    The supervisor leaves the terminal's session and holds none of the caller's descriptors but standard error, which
    takes its last words should the client be gone. It has a sandbox started at once, and waits.

    Args:
        channel: where the supervisor's episode comes from. ``cold``: from the client itself. Otherwise the channel is
            a launcher's: first the client's socket comes over it.
        cold: the supervisor imports what it needs, while its caller goes on.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.dup2(channel.detach(), _CLIENT, inheritable=False)
            os.closerange(3, _CLIENT)
            os.closerange(_CLIENT + 1, 4096)
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for number in (0, 1):
                os.dup2(null, number)
            status = _supervise(socket.socket(fileno=_CLIENT), cold=cold)
        except OSError as error:
            os.write(2, f"proctor: the supervisor could not be started: {error}\n".encode())
        finally:
            os._exit(status)
    return pid


def _supervise(channel: socket.socket, *, cold: bool) -> int:
    """Supervise one episode; tell the client how it went. Returns the process's exit status."""
    from proctor.errors import ProctorError, SandboxError, UsageError
    from proctor.sandbox import child, linux
    from proctor.sandbox.channel import receive, send

    client = channel
    sandbox: Sandbox | None = None
    try:
        linux.set_name("proctor-super")
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # First of all, before there is a key in memory; it enters its namespaces while this process goes on.
        sandbox = child.start()
        _all_descriptors()
        if cold:
            gc.disable()
            _warm_modules()
            gc.enable()
        else:
            message, fds, _ = receive(channel)
            if message is None:
                return 0
            client = socket.socket(fileno=fds[0])
            channel.close()
        message, streams, _ = receive(client)
        if message is None:
            return 0  # the caller found something wrong, and has said so
        import msgspec

        from proctor.session.spec import EpisodeSpec

        spec = msgspec.convert(message["spec"], EpisodeSpec)
        sandbox = _settled(sandbox, spec.tier)
        _episode(spec, client, sandbox, streams[0] if streams else None)
    except BaseException as error:  # noqa: BLE001 - told to the client, which is loud about it
        kind = (
            "usage" if isinstance(error, UsageError) else "sandbox" if isinstance(error, SandboxError) else "internal"
        )
        text = str(error)
        if not isinstance(error, ProctorError):
            import traceback

            text = "".join(traceback.format_exception(error)).strip()
        try:
            send(client, {"op": "failed", "kind": kind, "error": text[-20000:]})
        except OSError:
            sys.stderr.write(f"proctor: supervisor failed: {text}\n")
        return 1
    finally:
        if sandbox is not None:
            sandbox.kill()
    return 0


def _settled(sandbox: Sandbox, tier: str | None) -> Sandbox:
    """The sandbox if it has its namespaces; else, or where tier C is asked for, one without.

    Raises:
        SandboxError: the tier asked for is not to be had, or none is.
    """
    from proctor.errors import SandboxError
    from proctor.sandbox import child

    why = "not asked for" if tier == "C" else sandbox.entered()
    if why is None:
        return sandbox
    sandbox.kill()
    if tier in {"A", "B"}:
        raise SandboxError(f"the sandbox could not be built: {why} (`proctor doctor` says what this machine gives)")
    other = child.start(namespaces=False)
    if (why_not := other.entered()) is not None:
        other.kill()
        raise SandboxError(f"the sandbox could not be built: tier B: {why}; tier C: {why_not} (see `proctor doctor`)")
    return other


def _all_descriptors() -> None:
    """Take as many descriptors as the administrator allows: each process and each watched file holds one.

    The sandbox was started before and keeps the caller's limit.
    """
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _episode(spec: EpisodeSpec, client: socket.socket, sandbox: Sandbox, stream: int | None) -> None:
    from contextlib import ExitStack
    from pathlib import Path

    from proctor.clock import SystemClock
    from proctor.gateway.addresses import inside_addresses
    from proctor.journal.keys import SigningKey, load_or_make
    from proctor.journal.stream import Stream
    from proctor.sandbox import domain, linux
    from proctor.sandbox.copy import WorkspaceCopy
    from proctor.session.closing import close
    from proctor.session.supervisor import Supervisor

    ports = inside_addresses(spec.policy.network.allow)
    copies: WorkspaceCopy | None = None
    with ExitStack() as left:
        if not sandbox.namespaces:
            base = left.enter_context(domain.folders(spec.layout.write_roots, sandbox.name))
            copies = WorkspaceCopy(base, spec.layout, spec.out)
            left.callback(copies.sync)  # whatever comes: what the agent did is brought back
            spec = spec.in_copies(base, copies.roots)
        sandbox.build(
            spec.layout, ports if sandbox.namespaces else [], all_opens=spec.all_opens or bool(spec.layout.closed)
        )
        rules = _load(spec.rules, spec.cache)
        # Its records hold no cycles; a collector that looks for some only delays the calls that wait.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        key = load_or_make(Path(spec.keys)) if spec.keys else SigningKey.new()
        line = Stream(stream) if stream is not None else None
        supervisor = Supervisor(spec, client, sandbox, ports, rules, key, SystemClock(), stream=line)
        left.callback(supervisor.abandon)
        linux.set_dumpable(on=False)
        supervisor.run()
        supervisor.finish()
        if copies is not None and copies.roots:
            supervisor.brought_back(copies.sync())
        close(supervisor)


class _Spare:
    """A supervisor that is ready before it is asked for."""

    def __init__(self) -> None:
        from proctor.sandbox.channel import pair

        self._channel, theirs = pair()
        fork_supervisor(theirs, cold=False)
        theirs.close()

    def give(self, client: int) -> None:
        """Hand it its client. Raises OSError where it has died."""
        from proctor.sandbox.channel import send

        send(self._channel, {"op": "episode"}, (client,))
        os.close(client)
        self._channel.close()


def main() -> NoReturn:
    """Serve requests until the host program is gone: ``warm`` and ``episode`` (with the client's socket beside it)."""
    from proctor.errors import ProctorError
    from proctor.sandbox import linux
    from proctor.sandbox.channel import receive, send

    host = socket.socket(fileno=int(sys.argv[1]))
    linux.set_name("proctor-launch")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors report for themselves; the kernel reaps them
    spare: _Spare | None = None
    while True:
        if spare is None and not select.select([host], [], [], _IDLE_SECONDS)[0]:
            spare = _Spare()
        message, fds, _ = receive(host)
        if message is None:
            os._exit(0)
        try:
            if message["op"] == "warm":
                warm(tuple(message["rules"]), message["cache"])
                spare = _Spare()
                send(host, {"op": "warm"})
                continue
            (spare or _Spare()).give(fds[0])
            spare = None
        except ProctorError as error:
            send(host, {"op": "failed", "kind": "usage", "error": str(error)})


if __name__ == "__main__":
    main()
