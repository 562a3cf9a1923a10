"""The sandbox's own processes: the one that enters the namespaces, the first process inside, and each command's start.

::

    supervisor ─ fork ─ outer (enters namespaces, waits)
                          └ fork ─ init (pid 1 inside: builds the root, starts commands, reaps)
                                     └ fork ─ command (confines itself, sends its listener out, execs)

Outer and init die with the supervisor (parent death signal, and init also at the end of its control socket); with init
the kernel ends every process of the PID namespace. Without namespaces (tier C) outer is the guard, which ends them one
by one (:mod:`proctor.sandbox.guard`). Messages are JSON, one a packet, with descriptors beside them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from proctor.errors import SandboxError
from proctor.sandbox import build, linux, syscalls, terminal
from proctor.sandbox.channel import pair, receive, send
from proctor.sandbox.interpreter import mark_program
from proctor.sandbox.layout import PREFIX, Layout
from proctor.sandbox.terminal import Terminal

__all__ = ["Sandbox", "Spawn", "start"]

_HIGH = 256
_TO_DEFAULT = (
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN,
    signal.SIGTTOU,
)  # fmt: skip
_ENTER_SECONDS = 30.0
_READY_SECONDS = 30.0
_NAMES = ("127.0.0.1", 53)
_WITH_CGROUP = 5
"""Descriptors of a spawn request that names a cgroup: three streams, the sync socket, the cgroup's folder."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """A command to start: what execve gets, where, and under which per-process limits (RLIMIT_* number to value).

    ``terminal``: it gets one of its own in place of the three streams.
    """

    path: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    limits: dict[int, int]
    umask: int
    terminal: Terminal | None = None

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Spawn:
        """What ``dataclasses.asdict`` and JSON made plain data of."""
        terminal = plain["terminal"]
        known = {
            "limits": {int(number): value for number, value in plain["limits"].items()},
            "terminal": None if terminal is None else Terminal.from_plain(terminal),
        }
        return cls(**(plain | known))


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that is being built: its outer process, and the channel to the first process inside.

    ``namespaces``: False in tier C. ``name``: of the folder that the episode has there for itself.
    """

    outer: int
    outer_pidfd: int
    control: socket.socket
    namespaces: bool
    name: str

    def entered(self) -> str | None:
        """Wait until it has what it asks of the kernel before there is a policy; return None, or why it has not."""
        self.control.settimeout(_ENTER_SECONDS)
        try:
            message, _, _ = receive(self.control)
        except TimeoutError:
            return f"its first process did not answer within {_ENTER_SECONDS:.0f} s"
        self.control.settimeout(None)
        if message is None or message["op"] != "entered":
            return str((message or {}).get("error", "its first process ended"))
        return None

    def build(self, layout: Layout, ports: Sequence[tuple[str, int]], *, all_opens: bool) -> None:
        """Have the root built.

        ``ready`` comes over the channel, with the name server's sockets and those that listen on ``ports`` inside.
        ``all_opens``: opens for reading are stopped too.
        """
        request = {
            "op": "build",
            "layout": asdict(layout),
            "ports": list(ports),
            "mark": mark_program().decode("utf-8", "surrogateescape"),
            "all_opens": all_opens,
        }
        with contextlib.suppress(BrokenPipeError):  # it failed already; why is in the message that is waiting
            send(self.control, request)

    def ready(self) -> tuple[dict[str, Any], list[int], int]:
        """Wait until it stands: what it says, the descriptors that it gives, and the pid of its first process.

        Raises:
            SandboxError: it could not be built.
        """
        self.control.settimeout(_READY_SECONDS)
        try:
            message, fds, init = receive(self.control)
        except TimeoutError:
            raise SandboxError(f"the sandbox was not built within {_READY_SECONDS:.0f} s") from None
        if message is None or message["op"] != "ready" or init is None:
            why = (message or {}).get("error", "its first process ended")
            raise SandboxError(f"the sandbox could not be built: {why} (`proctor doctor` says what this machine gives)")
        self.control.settimeout(None)
        return message, fds, init

    def kill(self) -> None:
        """End it before it was used."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.outer_pidfd, signal.SIGKILL)  # its number may be another's by now
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.outer, 0)


def start(*, namespaces: bool = True) -> Sandbox:
    """Fork the sandbox's processes: they enter their namespaces, and wait to be told what to build."""
    ours, theirs = pair()
    parent = os.getpid()
    name = f"{PREFIX}{os.urandom(8).hex()}"
    pid = os.fork()
    if pid == 0:
        ours.close()
        _outer(theirs, parent, name, namespaces=namespaces)
    theirs.close()
    return Sandbox(pid, os.pidfd_open(pid), ours, namespaces, name)


def _fail(control: socket.socket, error: BaseException) -> NoReturn:
    with contextlib.suppress(OSError):
        send(control, {"op": "failed", "error": f"{type(error).__name__}: {error}"})
    os._exit(126)


def _outer(control: socket.socket, parent: int, name: str, *, namespaces: bool) -> NoReturn:
    try:
        supervisor = os.pidfd_open(parent)
        if namespaces:
            linux.set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(125)
        signal.set_wakeup_fd(-1)
        for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(signo, signal.SIG_DFL)
        linux.set_name("proctor-outer" if namespaces else "proctor-guard")
        low = 3
        for keep in sorted((control.fileno(), supervisor)):
            os.closerange(low, keep)
            low = keep + 1
        linux.close_from(low)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        if namespaces:
            build.enter_namespaces(os.getuid(), os.getgid())
        else:
            linux.set_child_subreaper()
        inner = os.fork()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor is told
        _fail(control, error)
    if inner == 0:
        os.close(supervisor)
        if namespaces:
            _init(control)
        _init_in_domain(control)
    control.close()
    linux.set_dumpable(on=False)
    if not namespaces:
        from proctor.sandbox import guard  # tier C alone needs it

        guard.keep(supervisor, inner, name)
    _, status = os.waitpid(inner, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _name_server(ports: Sequence[Sequence[str | int]]) -> list[socket.socket]:
    """Where the sandbox's /etc/resolv.conf leads: for datagrams, and for TCP unless the policy gave that port away."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(_NAMES)
    return [server] if list(_NAMES) in ports else [server, _listen(_NAMES)]


def _listen(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(128)
    return listener


def _init(control: socket.socket) -> NoReturn:
    try:
        linux.set_parent_death_signal(signal.SIGKILL)
        linux.set_name("proctor-init")
        socket.sethostname("proctor")
        abi = linux.landlock_abi()
        program = syscalls.program()
        place = build.Root()
        send(control, {"op": "entered"})
        message, _, _ = receive(control)
        if message is None:
            os._exit(0)
        if message["all_opens"]:
            program = syscalls.program(all_opens=True)
        layout = Layout.of(message["layout"])
        listeners = [*_name_server(message["ports"]), *(_listen((host, port)) for host, port in message["ports"])]
        marker, token = build.finish(place, layout, message["mark"].encode("utf-8", "surrogateescape"))
        ruleset = build.ruleset(layout, abi)
        linux.set_dumpable(on=False)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        send(
            control,
            {"op": "ready", "landlock_abi": abi, "token": token},
            (root, marker.fileno(), *(listener.fileno() for listener in listeners)),
        )
        os.close(root)
        for listener in (marker, *listeners):
            listener.close()
        _serve(control, ruleset, program)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor is told
        _fail(control, error)


def _init_in_domain(control: socket.socket) -> NoReturn:
    """Tier C: no root to build, but folders of the episode's own, and a Landlock domain for each command."""
    from proctor.sandbox import domain  # as above

    try:
        linux.set_parent_death_signal(signal.SIGKILL)
        linux.set_child_subreaper()
        linux.set_name("proctor-init")
        abi = linux.landlock_abi()
        if abi < 1:
            raise OSError(errno.ENOSYS, "this kernel has no Landlock, or it is not among its security modules")
        send(control, {"op": "entered"})
        message, _, _ = receive(control)
        if message is None:
            os._exit(0)
        program = syscalls.program(namespaces=False, all_opens=message["all_opens"])
        layout = Layout.of(message["layout"])
        marker = domain.marker_socket(layout, message["mark"].encode("utf-8", "surrogateescape"))
        ruleset = domain.ruleset(layout, abi)
        linux.set_dumpable(on=False)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        send(control, {"op": "ready", "landlock_abi": abi, "token": ""}, (root, marker.fileno()))
        os.close(root)
        marker.close()
        _serve(control, ruleset, program)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor is told
        _fail(control, error)


def _serve(control: socket.socket, ruleset: int | None, program: bytes) -> NoReturn:
    """Start commands on request and reap. As pid 1 its end is the end of every process inside."""
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    commands: set[int] = set()
    while True:
        ready, _, _ = select.select([control.fileno(), wake_read], [], [])
        if wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
            _reap(control, commands)
        if control.fileno() in ready:
            message, fds, _ = receive(control)
            if message is None or message["op"] == "stop":
                os._exit(0)
            spawn = Spawn.from_plain(message["spawn"])
            masters: list[int] = []
            if spawn.terminal is not None:
                master, slave = terminal.make(spawn.terminal)
                masters, fds = [master], [slave, os.dup(slave), os.dup(slave), *fds]
            pid = os.fork() if len(fds) < _WITH_CGROUP else linux.fork_into_cgroup(fds.pop())
            if pid == 0:
                _command(spawn, fds, ruleset, program)
            commands.add(pid)
            # Held here a slave would keep the terminal from ending, and a master what is typed from reaching anybody.
            send(control, {"op": "started", "id": message["id"], "pid": pid}, tuple(masters))
            for fd in (*fds, *masters):
                os.close(fd)


def _reap(control: socket.socket, commands: set[int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in commands:
            commands.discard(pid)
            send(control, {"op": "ended", "pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _command(spawn: Spawn, fds: list[int], ruleset: int | None, program: bytes) -> NoReturn:
    """Become the command. ``fds``: its standard streams, and the socket that takes the listener to the supervisor."""
    sync = -1
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        # Everything needed goes out of the way of what the command may see, and is closed by its exec.
        *streams, sync = [_high(fd) for fd in fds]
        rights = None if ruleset is None else _high(ruleset)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        if spawn.terminal is not None:
            terminal.take_over(0)
            if rights is not None:
                build.allow_terminal(rights, os.ttyname(0))
        os.closerange(3, _HIGH)
        for number in _TO_DEFAULT:
            signal.signal(number, signal.SIG_DFL)
        os.umask(spawn.umask)
        os.chdir(spawn.cwd)
        for limit, value in spawn.limits.items():
            _, hard = resource.getrlimit(limit)
            top = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (top, top))
        argv = [os.fsencode(word) for word in spawn.argv]
        env = {os.fsencode(name): os.fsencode(value) for name, value in spawn.env.items()}
        path = os.fsencode(spawn.path)
        try:
            _confine(sync, rights, program)
        except OSError as error:
            os.write(sync, b"S" + f"it could not be confined: {error.strerror}".encode())
            os._exit(126)
        os.execve(path, argv, env)  # noqa: S606 - there is no shell to be fooled
    except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor is told
        with contextlib.suppress(OSError):
            text = repr(error)
            if isinstance(error, OSError):
                about = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
                text = f"{about}{error.strerror}"
            os.write(sync, b"E" + os.fsencode(text))
        os._exit(127)


def _high(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)


def _confine(sync: int, ruleset: int | None, program: bytes) -> None:
    """Give up privileges, install the filter, send its listener out, and wait until the supervisor listens.

    The filter stops sendmsg, so the thread that installed it cannot send the listener. A filter binds one thread: a
    second one, started before, sends it; the exec ends that thread.
    """
    installed, received = threading.Event(), threading.Event()
    listener, killable = -1, True

    def deliver() -> None:
        installed.wait()
        socket.send_fds(channel, [b"K" if killable else b"N"], [listener])
        received.set()
        threading.Event().wait()

    channel = socket.socket(fileno=sync)
    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    linux.set_no_new_privs()
    linux.drop_capabilities()
    if ruleset is not None:
        linux.landlock_restrict(ruleset)
    linux.set_dumpable(on=True)
    try:
        listener = linux.seccomp_listener(program, killable=True)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        listener, killable = linux.seccomp_listener(program, killable=False), False
    installed.set()
    received.wait()
    os.read(sync, 1)
    os.close(listener)
