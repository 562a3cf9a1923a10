"""The episode's commands, from the request to run one to the digests of its streams."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from proctor.errors import SandboxError
from proctor.events import kinds
from proctor.sandbox import child, stdio
from proctor.sandbox.cgroups import Cgroup
from proctor.sandbox.channel import pair, receive, send
from proctor.sandbox.layout import HOME, RUN, Layout
from proctor.sandbox.terminal import Terminal
from proctor.sensors import notify
from proctor.sensors.kernel import KernelSensor
from proctor.sensors.memory import Gone
from proctor.sensors.resources import Resources
from proctor.sensors.steps import Origin, Steps
from proctor.session.limits import Limits
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder
from proctor.session.tree import kill_child

__all__ = ["Command", "Commands"]

_MAX_ARGS = 64


@dataclass(slots=True)
class Command:
    """One command: its number, the socket it starts by, and what became of it."""

    id: int
    argv: tuple[str, ...]
    step: str | None
    sync: socket.socket
    relay: stdio.Relay | None
    inside: int | None = None
    status: int | None = None
    ended: bool = False
    reported: bool = False


def _environment(env: dict[str, str], layout: Layout) -> dict[str, str]:
    """The environment with the sandbox's own places where this layout has them."""
    if layout.run == RUN:
        return env
    tmp = layout.scratch[0]
    own = {f"{RUN}/bin": f"{layout.run}/bin", HOME: layout.home, "/tmp": tmp}  # noqa: S108 - as client.environment sets it
    moved = {
        name: ":".join(own.get(part, layout.moved(part)) for part in value.split(":")) for name, value in env.items()
    }
    return moved | {"PROCTOR_MARK_SOCKET": f"{layout.run}/mark.sock"}


class Commands:
    """Starts commands through the sandbox's first process and follows each to its end.

    Args:
        control: the channel to the sandbox's first process.
        listen: called with the listener of each command's filter.
        tell: sends news to the client.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it stands where everything meets, and only the supervisor makes one
        self,
        control: socket.socket,
        loop: Loop,
        recorder: Recorder,
        steps: Steps,
        sensor: KernelSensor,
        resources: Resources,
        limits: Limits,
        group: Cgroup | None,
        umask: int,
        layout: Layout,
        listen: Callable[[int], None],
        tell: Callable[..., None],
    ) -> None:
        self._control = control
        self._loop = loop
        self._recorder = recorder
        self._steps = steps
        self._sensor = sensor
        self._resources = resources
        self._limits = limits
        self._group = group
        self._umask = umask
        self._layout = layout
        self._listen = listen
        self._tell = tell
        self._all: dict[int, Command] = {}
        self.signals_repeat = False
        """This kernel may repeat a call, and its event, that a signal interrupted (before Linux 5.19)."""
        self.cut_short = False
        """A command was ended before it ended by itself."""
        loop.register(control.fileno(), self._on_control)

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def first(self) -> Command | None:
        """The episode's first command."""
        return next(iter(self._all.values()), None)

    @property
    def all_ended(self) -> bool:
        """Whether nothing that was asked for is still running."""
        return all(command.ended for command in self._all.values())

    @property
    def unreported(self) -> list[Command]:
        """Commands whose streams are still being passed through."""
        return [command for command in self._all.values() if not command.reported]

    @property
    def last_status(self) -> int | None:
        """Status of the last command as os.waitstatus_to_exitcode gives it; None where none ran to its end."""
        return next(reversed(self._all.values())).status if self._all else None

    # --- starting -----------------------------------------------------------------------------------------------------

    def run(self, message: dict[str, Any], fds: list[int]) -> None:
        """Start what the client asked for; its descriptors are the streams, unless it asks for a terminal."""
        step, argv = message.get("step"), tuple(message["argv"])
        if step is not None:
            self._steps.begin(step)
            self._recorder.emit(kinds.Step, kinds.StepData(op="begin", id=step, argv=argv[:_MAX_ARGS]))
        if not self._all:
            self._limits.start()
        ours, theirs = pair()
        wanted = message.get("terminal")
        terminal = None if wanted is None else Terminal.from_plain(wanted)
        pipes = None if terminal is not None else stdio.Pipes()
        streams = pipes.command if pipes is not None else ()
        env = _environment(message["env"], self._layout)
        limits = self._limits.of_a_process()
        place = self._layout.moved
        there = tuple(map(place, argv))
        spawn = child.Spawn(place(message["path"]), there, env, place(message["cwd"]), limits, self._umask, terminal)
        number = len(self._all) + 1
        group = self._cgroup(number, step)
        request = {"op": "spawn", "id": number, "spawn": asdict(spawn)}
        with contextlib.suppress(BrokenPipeError):  # the sandbox is dead; that it ended is heard of next
            send(self._control, request, (*streams, theirs.fileno(), *group))
        for fd in (*streams, *group):
            os.close(fd)
        theirs.close()
        # While the command is being started on the other core.
        relay = stdio.start(pipes, *fds[:3]) if pipes is not None else None
        for fd in fds:
            os.close(fd)
        command = Command(number, argv, step, ours, relay, reported=relay is None)
        self._all[number] = command
        self._loop.register(ours.fileno(), lambda _: self._on_sync(command))
        if relay is not None:
            self._loop.register(relay.reports.fileno(), lambda _: self._on_report(command, relay))

    def _cgroup(self, number: int, step: str | None) -> tuple[int, ...]:
        """The open folder of the command's cgroup; empty where there are none."""
        if self._group is None:
            return ()
        if step is None:
            return (self._group.open(),)
        group = self._group.step(number)
        self._resources.groups[step] = group.folder
        return (group.open(),)

    def _on_sync(self, command: Command) -> None:
        """News of a command that is starting: its listener, an error, or (at the end) that it was executed."""
        data, ancillary, _, _ = command.sync.recvmsg(4096, 256, socket.MSG_CMSG_CLOEXEC)
        if data[:1] in {b"K", b"N"}:
            self.signals_repeat = self.signals_repeat or data[:1] == b"N"
            known = {kind: int.from_bytes(payload[:4], "little") for _, kind, payload in ancillary}
            self._confined(command, known[socket.SCM_CREDENTIALS], known[socket.SCM_RIGHTS])
            return
        self._loop.unregister(command.sync.fileno())
        command.sync.close()
        if data[:1] == b"S":
            self._tell(op="failed", kind="sandbox", error=f"command {command.argv[0]!r}: {data[1:].decode()}")
            return
        if data[:1] == b"E":
            why = data[1:].decode("utf-8", "replace")
            self._tell(op="failed", kind="usage", error=f"command {command.argv[0]!r} could not be started: {why}")
            return
        self._tell(op="started", id=command.id)

    def _confined(self, command: Command, pid: int, listener: int) -> None:
        """The command waits, confined, to be let go: from here on nothing it does goes unrecorded."""
        notify.wake_in_place(listener)
        origin = None
        if command.step is not None:
            origin = Origin(command.step, "cgroup" if command.step in self._resources.groups else "lineage")
        try:
            self._sensor.add(pid, "root", origin=origin)
        except Gone:
            os.close(listener)
            return
        self._listen(listener)
        command.sync.send(b"g")

    # --- ending -------------------------------------------------------------------------------------------------------

    def _on_control(self, _: int) -> None:
        message, fds, _pid = receive(self._control)
        if message is None:
            self._loop.unregister(self._control.fileno())
        elif message["op"] == "started":
            self._all[message["id"]].inside = message["pid"]
            if fds:  # its terminal's master: the client's alone
                self._tell(fds=tuple(fds), op="terminal", id=message["id"])
                for fd in fds:
                    os.close(fd)
        elif message["op"] == "ended":
            pid = message["pid"]
            command = next(one for one in self._all.values() if one.inside == pid and not one.ended)
            self._ended(command, message["status"])
        elif message["op"] == "failed":
            raise SandboxError(f"the sandbox's first process failed: {message['error']}")

    def _ended(self, command: Command, status: int) -> None:
        command.status, command.ended = status, True
        if command.step is not None:
            self._steps.end(command.step)
            code, signo = (status, None) if status >= 0 else (None, -status)
            self._recorder.emit(kinds.Step, kinds.StepData(op="end", id=command.step, exit_code=code, signal=signo))
        self._tell(op="ended", id=command.id, status=status)

    def end_all(self) -> None:
        """The tree is dead: so is every command that did not end by itself."""
        for command in self._all.values():
            if not command.ended:
                self.cut_short = True
                self._ended(command, -signal.SIGKILL)

    def _on_report(self, command: Command, relay: stdio.Relay) -> None:
        """The relay's digests and excerpts, once every writer to the streams is gone."""
        data = b""
        while chunk := relay.reports.recv(1 << 16):
            data += chunk
        self._loop.unregister(relay.reports.fileno())
        relay.reports.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(relay.pid, 0)
        command.reported = True
        if not data:
            self._recorder.emit(kinds.Gap, kinds.GapData(of="session", what="the standard streams' digests were lost"))
            return
        for stream in json.loads(data):
            head, tail = (base64.b64decode(stream[part]) for part in ("head", "tail"))
            first, last = self._recorder.redactor.excerpt(head, tail, stream["bytes"])
            name, size, digest = stream["stream"], stream["bytes"], stream["digest"]
            output = kinds.OutputData(stream=name, bytes=size, digest=digest, head=first, tail=last, step=command.step)
            self._recorder.emit(kinds.Output, output)
        self._tell(op="output", id=command.id)

    def give_up_streams(self) -> None:
        """Nobody takes the output: leave it, and say so."""
        for command in self.unreported:
            command.reported = True
            if command.relay is None:
                continue
            self._loop.unregister(command.relay.reports.fileno())
            kill_child(command.relay.pid)
            what = "a standard stream's reader did not take its output in time; its digest is missing"
            self._recorder.emit(kinds.Gap, kinds.GapData(of="session", what=what))
