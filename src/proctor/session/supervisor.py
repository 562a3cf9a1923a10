"""The supervisor: one process, one episode. It outlives nothing it watches, and what it watches does not outlive it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import resource
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proctor import __version__
from proctor.clock import Clock
from proctor.detectors.engine import Engine
from proctor.detectors.rules import RuleSet
from proctor.errors import SandboxError
from proctor.events import Event, kinds
from proctor.findings import Finding
from proctor.gateway import relay as gateway
from proctor.journal.keys import SigningKey
from proctor.journal.redaction import Redactor
from proctor.journal.writer import Writer
from proctor.policy.load import to_dict
from proctor.responses import tree
from proctor.responses.decide import decide
from proctor.sandbox import cgroups, child, stdio
from proctor.sandbox.channel import pair, receive, send
from proctor.sensors import notify
from proctor.sensors.kernel import KernelSensor
from proctor.sensors.memory import Gone
from proctor.sensors.paths import Resolver
from proctor.sensors.processes import Proc, Processes, cmdline, split_cmdline
from proctor.sensors.resources import Resources
from proctor.sensors.steps import Origin, Steps
from proctor.sensors.watch import Watch
from proctor.session.control import Control
from proctor.session.flows import flow_owner
from proctor.session.markers import Markers
from proctor.session.outcomes import Outcomes
from proctor.session.recorder import Recorder
from proctor.session.spec import EpisodeSpec
from proctor.session.timers import Timers

__all__ = ["Command", "Supervisor"]

_READY_SECONDS = 30.0
_LIMIT_SECONDS = 0.25
_USAGE_SECONDS = 2.0
_CHECKPOINT_SECONDS = 5.0
_REARM_SECONDS = 0.01
_OUTPUT_SECONDS = 60.0


@dataclass(slots=True)
class Command:
    """A command of the episode."""

    id: int
    argv: tuple[str, ...]
    step: str | None
    sync: socket.socket
    relay: stdio.Relay
    inside: int | None = None
    started: bool = False
    status: int | None = None
    ended: bool = False
    reported: bool = False


class Supervisor:
    """Supervises one episode for the client at the other end of ``client``.

    Args:
        spec: the episode.
        client: where commands come from and news goes to.
        rules: compiled rules.
        key: signs the journal.
    """

    def __init__(
        self,
        spec: EpisodeSpec,
        client: socket.socket,
        rules: Callable[[], RuleSet],
        key: Callable[[], SigningKey],
        clock: Clock,
    ) -> None:
        self.spec = spec
        self.policy = spec.policy
        self._client: socket.socket | None = client
        self._clock = clock
        self._epoll = select.epoll()
        self._on: dict[int, Callable[[int], None]] = {}
        self._timers = Timers(clock.monotonic_ns)
        self._commands: dict[int, Command] = {}
        self._closing = False
        self._empty = False
        self._limit_passed: str | None = None
        self._answered: set[str] = set()
        self.steps = Steps()
        mark_program = (Path(child.__file__).parent / "mark.py").read_bytes()
        ports = gateway.inside_addresses(self.policy.network.allow)
        self._outer, self._outer_pidfd, self._control = child.start(spec.layout, ports, mark_program)
        try:
            out = Path(spec.out)
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.rules = rules()
            self.engine = Engine(self.rules, self.policy)
            self.writer = Writer(out, key())
            self.recorder = Recorder(
                spec.episode, self.writer, self.engine, Redactor(spec.secrets), clock, self.steps, self._respond
            )
            self._ready(ports)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._outer, signal.SIGKILL)
            os.waitpid(self._outer, 0)
            raise

    # --- setting up ---------------------------------------------------------------------------------------------------

    def _ready(self, ports: list[tuple[str, int]]) -> None:
        """Wait until the sandbox stands, and connect everything that listens to it."""
        self._control.settimeout(_READY_SECONDS)
        message, fds, init = receive(self._control)
        if message is None or message["op"] != "ready" or init is None:
            raise SandboxError(
                f"the sandbox could not be built: {(message or {}).get('error', 'its first process ended')}"
            )
        self._control.settimeout(None)
        root, marker, *listeners = fds
        self._init = init
        self._init_pidfd = os.pidfd_open(init)
        self._landlock = int(message["landlock_abi"])
        self._group = cgroups.create(self.spec.episode)
        self.processes = Processes(self.steps, init)
        resolver = Resolver(root, self.spec.layout)
        self.sensor = KernelSensor(self.recorder, resolver, self.processes, self.policy.resources.processes)
        self.sensor.on_process = self._on_process
        self.outcomes = Outcomes(root)
        self.sensor.before_call = self._outcome
        self.recorder.after = self._expect_outcome
        self._resources = Resources(self.processes)
        self._record_start()
        self._watch(resolver)
        self._start_gateway([(socket.socket(fileno=fd), port) for fd, port in zip(listeners, ports, strict=True)])
        self._markers = Markers(marker, self.recorder, self.steps, self.processes, self._register, self._unregister)
        self._handle = Control(self.spec.episode, self._controlled)
        self._register(self._handle.listener.fileno(), self._handle.accept)
        self._register(self._control.fileno(), self._on_control)
        self._register(self._outer_pidfd, self._on_outer)
        if self._client is not None:
            self._register(self._client.fileno(), self._on_client)
        wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._register(wake, self._terminated)
        self._timers.after("checkpoint", _CHECKPOINT_SECONDS, self._checkpoint)
        self._timers.after("usage", 1.0, self._usage)
        self.tell(op="ready", episode=self.spec.episode, tier="B", out=self.spec.out)

    def _record_start(self) -> None:
        emit = self.recorder.emit
        emit(
            kinds.Open,
            kinds.OpenData(
                proctor=__version__, key=self.writer.public_key.hex(), policy_digest=self.spec.policy_digest,
                rules_digest=self.rules.digest, policy=to_dict(self.policy), workspace=self.spec.layout.workspace,
                host={"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()},
            ),
        )  # fmt: skip
        self.degraded = self._limits()
        emit(
            kinds.Capabilities,
            kinds.CapabilitiesData(
                tier="B", landlock_abi=self._landlock, degraded=self.degraded,
                features={"cgroup": self._group is not None, "landlock": self._landlock > 0},
            ),
        )  # fmt: skip

    def _limits(self) -> dict[str, str]:
        """Set the hard limits that this kernel gives; return what it does not."""
        wanted = self.policy.resources
        memory = wanted.memory_mb << 20 if wanted.memory_mb is not None else None
        got = (
            self._group.limit(memory_bytes=memory, processes=wanted.processes * 8) if self._group is not None else set()
        )
        degraded = {}
        if self._landlock < 1:
            degraded["landlock"] = "this kernel has none; the mounts alone decide"
        if memory is not None and "memory" not in got:
            degraded["memory"] = "no memory cgroup: per process (RLIMIT_DATA), and for all sampled every 0.25 s"
        if wanted.cpu_seconds is not None:
            degraded["cpu"] = "no kernel limit for a tree: per process (RLIMIT_CPU), and for all sampled every 0.25 s"
        if "processes" not in got and os.getuid() == 0:
            degraded["threads"] = (
                "no pids cgroup, and RLIMIT_NPROC does not bind root: processes are limited, threads are not"
            )
        return degraded

    def _process_limits(self) -> dict[int, int]:
        wanted = self.policy.resources
        limits = {resource.RLIMIT_CORE: 0}
        if wanted.memory_mb is not None:
            limits[resource.RLIMIT_DATA] = wanted.memory_mb << 20
        if wanted.cpu_seconds is not None:
            limits[resource.RLIMIT_CPU] = max(1, int(wanted.cpu_seconds) + 1)
        if os.getuid() != 0:
            limits[resource.RLIMIT_NPROC] = wanted.processes * 8  # it counts threads
        return limits

    def _watch(self, resolver: Resolver) -> None:
        self.watch: Watch | None = None
        layout = self.spec.layout
        if not layout.protect and not layout.masks:
            return
        self.watch = Watch(self.recorder, resolver, self.processes, self.sensor.settle)
        for mask in layout.masks:
            self.watch.add(mask.path, mask.role)
        for path in layout.protect:
            self.watch.add(path, "protected")
        if self.watch.unwatched:
            left = self.watch.unwatched
            self.recorder.emit(
                kinds.Gap, kinds.GapData(of="watch", what=f"{len(left)} paths are not watched, the first: {left[0]}")
            )
        self._register(self.watch.signals, self._on_lease)
        self._register(self.watch.notices, lambda _: self.watch.on_notice() if self.watch else None)
        self._timers.after("rearm", _REARM_SECONDS, self._rearm)

    def _rearm(self) -> None:
        if self.watch is not None and self.watch.rearm():
            self._timers.after("rearm", _REARM_SECONDS, self._rearm)

    def _on_lease(self, _: int) -> None:
        if self.watch is not None:
            self.watch.on_signal()
            self._timers.after("rearm", _REARM_SECONDS, self._rearm)

    def _start_gateway(self, listeners: list[tuple[socket.socket, tuple[str, int]]]) -> None:
        self._gateway: socket.socket | None = None
        self._gateway_pid: int | None = None
        if not listeners:
            return
        ours, theirs = pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._epoll.close()
            self._control.close()
            gateway.serve(theirs, listeners, self.policy.network.allow)
        theirs.close()
        for listener, _address in listeners:
            listener.close()
        self._gateway, self._gateway_pid = ours, pid
        self._register(ours.fileno(), self._on_gateway)

    def _register(self, fd: int, action: Callable[[int], None]) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._on[fd] = action

    def _unregister(self, fd: int) -> None:
        if self._on.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Supervise until the episode is over: every command ended, and the client closed it or something ended it."""
        poll, on, timers = self._epoll.poll, self._on, self._timers
        while not self._over():
            for fd, mask in poll(timers.wait_seconds()):
                action = on.get(fd)
                if action is not None:
                    action(mask)
            timers.run()

    def _over(self) -> bool:
        return self._empty or (self._closing and all(command.ended for command in self._commands.values()))

    def _on_listener(self, listener: int, mask: int) -> None:
        if self.recorder.decision == "hold":
            # Nothing new is received while the tree is frozen.
            self._unregister(listener)
            self._held_listeners.append(listener)
        elif mask & select.EPOLLIN and self.recorder.decision == "go_on":
            self.sensor.handle(listener)
        elif mask & select.EPOLLHUP:
            self._unregister(listener)
            os.close(listener)

    _held_listeners: list[int]

    def _on_process(self, proc: Proc) -> None:
        self._register(proc.pidfd, lambda _: self._on_end(proc))

    def _on_end(self, proc: Proc) -> None:
        self._unregister(proc.pidfd)
        if self.outcomes:
            for tid in tuple(proc.tids):
                self._outcome(tid, proc)
        self._resources.process_ended(proc)
        self.sensor.ended(proc)

    def _expect_outcome(self, seq: int, event: Event, _: list[Finding]) -> None:
        if isinstance(event, kinds.File) and event.data.outcome == "attempted" and event.pid is not None:
            self.outcomes.expect(event.tid or event.pid, seq, event.data)

    def _outcome(self, tid: int, proc: Proc) -> None:
        if self.outcomes:
            found = self.outcomes.take(tid)
            if found is not None:
                self.recorder.emit(kinds.Result, found, proc=proc)

    def _terminated(self, wake: int) -> None:
        """SIGTERM: end the episode in order. (Handled here, not in the handler, which could interrupt an event.)"""
        os.read(wake, 64)
        self._closing = True
        self._end("the supervisor was asked to end (SIGTERM)")

    def abandon(self) -> None:
        """Leave nothing behind, however the episode went."""
        if not self._empty:
            self._empty = tree.kill(self._init_pidfd, self._outer_pidfd)
        self._handle.close()

    def _on_outer(self, _: int) -> None:
        self._unregister(self._outer_pidfd)
        self._empty = True

    # --- commands -----------------------------------------------------------------------------------------------------

    def tell(self, **message: Any) -> None:
        """Send news to the client, if it is still there."""
        if self._client is not None:
            try:
                send(self._client, message)
            except OSError:
                self._client_lost()

    def _client_lost(self) -> None:
        if self._client is None:
            return
        self._unregister(self._client.fileno())
        self._client.close()
        self._client = None
        if not self._closing:
            self.recorder.emit(
                kinds.Gap,
                kinds.GapData(of="session", what="the program that ran the episode ended before it closed it"),
            )
            self._end("the program that ran the episode ended")

    def _on_client(self, _: int) -> None:
        if self._client is None:
            return
        message, fds, _pid = receive(self._client)
        op = message["op"] if message is not None else None
        if message is None or op is None:
            self._client_lost()
        elif op == "run":
            self._run(message, fds)
        elif op == "close":
            self._closing = True
        elif op == "kill":
            self._closing = True
            self._end(str(message.get("reason", "asked to by the caller")))
        elif op == "signal":
            self._signal_commands(int(message["signo"]))

    def _signal_commands(self, signo: int) -> None:
        for proc in self.processes.all():
            if proc.root:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(proc.pidfd, signo)

    def _run(self, message: dict[str, Any], fds: list[int]) -> None:
        step = message.get("step")
        argv = tuple(message["argv"])
        if step is not None:
            self.steps.begin(step)
            self.recorder.emit(kinds.Step, kinds.StepData(op="begin", id=step, argv=argv[:64]))
        if not self._commands and self.policy.resources.wall_seconds is not None:
            self._timers.after("wall", self.policy.resources.wall_seconds, lambda: self._limit("wall_seconds"))
        relay = stdio.start(*fds[:3])
        for fd in fds:
            os.close(fd)
        ours, theirs = pair()
        spawn = child.Spawn(
            path=message["path"],
            argv=argv,
            env=message["env"],
            cwd=message["cwd"],
            limits=self._process_limits(),
            umask=self.spec.umask,
        )
        number = len(self._commands) + 1
        command = Command(number, argv, step, ours, relay)
        self._commands[number] = command
        send(
            self._control, {"op": "spawn", "id": number, "spawn": asdict(spawn)}, (*relay.command_fds, theirs.fileno())
        )
        theirs.close()
        for fd in relay.command_fds:
            os.close(fd)
        self._register(ours.fileno(), lambda _: self._on_sync(command))
        self._register(relay.reports.fileno(), lambda _: self._on_report(command))
        if number == 1:
            self._timers.after("limits", _LIMIT_SECONDS, self._check_limits)

    def _on_sync(self, command: Command) -> None:
        """News of a command that is starting: its listener, an error, or (at the end) that it was executed."""
        data, ancillary, _, _ = command.sync.recvmsg(4096, 256, socket.MSG_CMSG_CLOEXEC)
        if data[:1] in {b"K", b"N"}:
            pid = listener = -1
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid = int.from_bytes(payload[:4], "little")
                elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    listener = int.from_bytes(payload[:4], "little")
            self._listen(command, pid, listener, killable=data[:1] == b"K")
            return
        self._unregister(command.sync.fileno())
        command.sync.close()
        if data[:1] == b"E":
            self.tell(
                op="failed",
                kind="usage",
                error=f"command {command.argv[0]!r} could not be started: {data[1:].decode('utf-8', 'replace')}",
            )
            return
        command.started = True
        self.tell(op="started", id=command.id)

    def _listen(self, command: Command, pid: int, listener: int, *, killable: bool) -> None:
        notify.wake_in_place(listener)
        origin = None
        if command.step is not None:
            origin = Origin(command.step, "lineage")
            if self._group is not None:
                group = self._group.step(command.id)
                group.add(pid)
                self._resources.groups[command.step] = group.folder
                origin = Origin(command.step, "cgroup")
        elif self._group is not None:
            self._group.add(pid)
        if not killable and "signals" not in self.degraded:
            self.degraded["signals"] = "this kernel may repeat a call, and its event, that a signal interrupted"
        try:
            self.sensor.add(pid, "root", origin=origin)
        except Gone:
            os.close(listener)
            return
        self._register(listener, lambda mask: self._on_listener(listener, mask))
        command.sync.send(b"g")

    def _on_control(self, _: int) -> None:
        message, _fds, _pid = receive(self._control)
        if message is None:
            self._unregister(self._control.fileno())
        elif message["op"] == "started":
            self._commands[message["id"]].inside = message["pid"]
        elif message["op"] == "ended":
            command = next(
                command for command in self._commands.values() if command.inside == message["pid"] and not command.ended
            )
            self._ended(command, message["status"])
        elif message["op"] == "failed":
            raise SandboxError(f"the sandbox's first process failed: {message['error']}")

    def _ended(self, command: Command, status: int) -> None:
        command.status, command.ended = status, True
        if command.step is not None:
            self.steps.end(command.step)
            data = kinds.StepData(
                op="end",
                id=command.step,
                exit_code=status if status >= 0 else None,
                signal=-status if status < 0 else None,
            )
            self.recorder.emit(kinds.Step, data)
        self.tell(op="ended", id=command.id, status=status)

    def _on_report(self, command: Command) -> None:
        """The relay's digests and excerpts, once every writer to the streams is gone."""
        data = b""
        while chunk := command.relay.reports.recv(1 << 16):
            data += chunk
        self._unregister(command.relay.reports.fileno())
        command.relay.reports.close()
        os.waitpid(command.relay.pid, 0)
        command.reported = True
        if not data:
            self.recorder.emit(kinds.Gap, kinds.GapData(of="session", what="the standard streams' digests were lost"))
            return
        redact = self.recorder.redactor
        for stream in json.loads(data):
            head, tail = (base64.b64decode(stream[part]) for part in ("head", "tail"))
            first, last = redact.excerpt(head, tail, stream["bytes"])
            self.recorder.emit(
                kinds.Output,
                kinds.OutputData(stream=stream["stream"], bytes=stream["bytes"], digest=stream["digest"], head=first, tail=last),
            )  # fmt: skip
        self.tell(op="output", id=command.id)

    # --- gateway ------------------------------------------------------------------------------------------------------

    def _on_gateway(self, _: int) -> None:
        if self._gateway is None:
            return
        message, _fds, _pid = receive(self._gateway)
        if message is None:
            self._unregister(self._gateway.fileno())
            self._gateway = None
            if not self._closing:
                self.recorder.emit(
                    kinds.Gap, kinds.GapData(of="gateway", what="the gateway ended; the network is closed")
                )
            return
        data = kinds.FlowData(
            flow=message["flow"], phase=message["phase"], asked=message["asked"], address=message.get("address"), port=message.get("port"),
            reason=message.get("reason"), sent_bytes=message.get("sent", 0), received_bytes=message.get("received", 0),
        )  # fmt: skip
        proc = flow_owner(self.processes, message["peer"]) if message["phase"] != "close" else None
        self.recorder.emit(kinds.Flow, data, proc=proc)
        if self.recorder.decision == "go_on":
            send(self._gateway, {"op": "recorded"})

    # --- responses ----------------------------------------------------------------------------------------------------

    def _respond(self, finding: Finding, _: int) -> None:
        action = decide(finding, self.policy)
        fresh = finding.id not in self._answered
        if fresh:
            self._answered.add(finding.id)
            self.tell(
                op="finding",
                rule=finding.rule,
                outcome=finding.outcome,
                authorisation=finding.authorisation,
                step=finding.step,
                summary=finding.summary,
            )
        if not fresh or action is None or action == "log" or self.recorder.decision != "go_on":
            return
        if action == "freeze":
            self._freeze(finding.id, finding.rule)
        else:
            self._end(finding.rule, finding=finding.id)

    def _freeze(self, finding: str | None, reason: str) -> None:
        try:
            stopped = tree.freeze(self._init)
        except TimeoutError as error:
            self._end(f"{reason}; it could not be frozen: {error}", finding=finding)
            return
        self.recorder.decision = "hold"
        self._held_listeners = []
        self.recorder.emit(
            kinds.Response,
            kinds.ResponseData(action="freeze", finding=finding, reason=reason, processes=tuple(stopped[:1000])),
        )
        self.tell(op="frozen", reason=reason)

    def _thaw(self) -> None:
        self.recorder.decision = "go_on"
        going = tree.thaw(self._init)
        self.recorder.emit(
            kinds.Response, kinds.ResponseData(action="thaw", reason="asked for", processes=tuple(going[:1000]))
        )
        self.sensor.release()
        if self.watch is not None:
            self.watch.thaw()
            self._timers.after("rearm", _REARM_SECONDS, self._rearm)
        for listener in self._held_listeners:
            self._register(listener, lambda mask, listener=listener: self._on_listener(listener, mask))
        self._held_listeners = []
        self.tell(op="thawed")

    def _end(self, reason: str, *, finding: str | None = None, limit: str | None = None) -> None:
        """Kill the tree; recorded once nothing of it is left."""
        if self.recorder.decision == "kill":
            return
        self.recorder.decision = "kill"
        alive = tree.members(self._init)
        self._empty = tree.kill(self._init_pidfd, self._outer_pidfd)
        if not self._empty:
            self.recorder.emit(
                kinds.Gap, kinds.GapData(of="session", what="processes of the sandbox did not end when killed")
            )
        self.recorder.emit(
            kinds.Response,
            kinds.ResponseData(
                action="kill", finding=finding, limit=limit, reason=reason, processes=tuple(alive[:1000])
            ),
        )

    def _limit(self, limit: str) -> None:
        self._limit_passed = limit
        self._end(f"{limit} passed", limit=limit)

    def _check_limits(self) -> None:
        wanted = self.policy.resources
        if wanted.cpu_seconds is None and wanted.memory_mb is None:
            return
        sample = self._resources.sample()
        if wanted.cpu_seconds is not None and sample.cpu_ns > wanted.cpu_seconds * 1e9:
            self._limit("cpu_seconds")
        elif wanted.memory_mb is not None and sample.rss_bytes > wanted.memory_mb << 20:
            self._limit("memory_mb")
        else:
            self._timers.after("limits", _LIMIT_SECONDS, self._check_limits)

    def _usage(self) -> None:
        if self._commands and self.recorder.decision == "go_on":
            self.recorder.emit(kinds.Usage, self._resources.sample())
        self._timers.after("usage", _USAGE_SECONDS, self._usage)

    def _checkpoint(self) -> None:
        self.recorder.emit(
            kinds.Heartbeat, kinds.HeartbeatData(received=self.sensor.received, recorded=self.writer.count)
        )
        self.recorder.checkpoint()
        self._timers.after("checkpoint", _CHECKPOINT_SECONDS, self._checkpoint)

    def _controlled(self, request: dict[str, Any]) -> dict[str, Any]:
        op = request.get("op")
        if op == "ps":
            state = {"hold": "frozen", "kill": "ending"}.get(self.recorder.decision, "running")
            command = next(iter(self._commands.values()), None)
            return {
                "episode": self.spec.episode, "state": state, "processes": len(tree.members(self._init)), "events": self.writer.count,
                "findings": len(self.engine.findings()), "out": self.spec.out, "command": list(command.argv[:8]) if command else [],
            }  # fmt: skip
        if op == "thaw" and self.recorder.decision == "hold":
            self._thaw()
            return {"ok": True}
        if op == "kill":
            self._closing = True
            self._end("asked for with proctor kill")
            return {"ok": True}
        return {"ok": False, "error": "it is not frozen" if op == "thaw" else f"unknown request {op!r}"}

    # --- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End what is left, wait for every stream and flow, and leave the record complete but for its close."""
        self._closing = True
        if not self._empty:
            self._leftovers()
            self._empty = tree.kill(self._init_pidfd, self._outer_pidfd)
            if not self._empty:
                self.recorder.emit(
                    kinds.Gap, kinds.GapData(of="session", what="processes of the sandbox did not end when killed")
                )
        self.recorder.decision = "kill"
        if self._empty:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._outer, 0)
            self._unregister(self._outer_pidfd)
        for proc in self.processes.all():
            self._on_end(proc)
        self._drain()
        for command in self._commands.values():
            if not command.ended:
                self._ended(command, -signal.SIGKILL)
        if self._gateway_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._gateway_pid, signal.SIGKILL)
            os.waitpid(self._gateway_pid, 0)
        self._handle.close()
        if self._group is not None:
            self._group.remove()

    def _leftovers(self) -> None:
        """Stop what outlived the agent, then record it: it cannot start anything in between."""
        with contextlib.suppress(TimeoutError):
            tree.freeze(self._init)
        found = []
        for pid in tree.members(self._init):
            proc = self.processes.get(pid)
            if proc is None:
                try:
                    proc = self.sensor.add(pid, "child")
                except Gone:
                    continue
            if not proc.exited:
                found.append(
                    kinds.LeftoverProcess(
                        pid=pid, exe=proc.exe, cmdline=split_cmdline(cmdline(pid)), origin_step=proc.origin.step
                    )
                )
        if found:
            self.recorder.emit(kinds.Leftover, kinds.LeftoverData(processes=tuple(found[:1000])))

    def _drain(self) -> None:
        """Take in what is still on its way: exit statuses, digests, inotify's queue, the gateway's last words."""
        deadline = self._clock.monotonic_ns() + int(_OUTPUT_SECONDS * 1e9)
        if self.watch is not None:
            self.watch.on_notice()
        while True:
            waiting = [command for command in self._commands.values() if not command.reported]
            if not waiting and not self._epoll.poll(0):
                return
            if self._clock.monotonic_ns() > deadline:
                for command in waiting:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(command.relay.pid, signal.SIGKILL)
                    os.waitpid(command.relay.pid, 0)
                if waiting:
                    self.recorder.emit(
                        kinds.Gap,
                        kinds.GapData(
                            of="session", what="a standard stream's reader did not take its output within 60 s"
                        ),
                    )
                return
            for fd, mask in self._epoll.poll(0.5):
                action = self._on.get(fd)
                if action is not None:
                    action(mask)

    @property
    def agent_status(self) -> int | None:
        """Exit status of the last command as os.waitstatus_to_exitcode gives it; None where none ran."""
        commands = list(self._commands.values())
        return commands[-1].status if commands else None

    @property
    def empty(self) -> bool:
        """Whether the process tree was seen empty."""
        return self._empty
