"""The supervisor: one process, one episode. It outlives nothing it watches, and what it watches does not outlive it."""

from __future__ import annotations

import os
import platform
import select
import signal
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from proctor import __version__
from proctor.clock import Clock
from proctor.detectors.engine import Engine
from proctor.detectors.rules import RuleSet
from proctor.errors import SandboxError, UsageError
from proctor.events import Event, kinds
from proctor.findings import Finding
from proctor.gateway.addresses import inside_names
from proctor.journal.keys import SigningKey
from proctor.journal.redaction import Redactor
from proctor.journal.stream import Stream
from proctor.journal.writer import Writer
from proctor.policy.load import to_dict
from proctor.sandbox import cgroups, linux
from proctor.sandbox.child import Sandbox
from proctor.sensors.contents import Contents
from proctor.sensors.kernel import KernelSensor
from proctor.sensors.memory import Gone
from proctor.sensors.paths import Resolver
from proctor.sensors.pidfd import tells
from proctor.sensors.processes import Proc, Processes, cmdline, split_cmdline
from proctor.sensors.resources import Resources
from proctor.sensors.steps import Steps
from proctor.sensors.watch import Watch
from proctor.session.commands import Commands
from proctor.session.control import Control
from proctor.session.conversation import Conversation
from proctor.session.flows import Gateway
from proctor.session.limits import Limits
from proctor.session.lookups import Lookups
from proctor.session.loop import Loop
from proctor.session.markers import Markers
from proctor.session.outcomes import Outcomes
from proctor.session.outgoing import Outgoing
from proctor.session.recorder import Recorder
from proctor.session.spec import EpisodeSpec
from proctor.session.tree import Tree
from proctor.session.watching import Watching

if TYPE_CHECKING:
    from proctor.sandbox.copy import Synced
    from proctor.sensors.domain import Domain
    from proctor.session.crosscheck import CrossCheck

__all__ = ["Supervisor"]

_CHECKPOINT_SECONDS = 5.0
_OUTPUT_SECONDS = 60.0
_MAX_LEFTOVERS = 1000


class Supervisor:
    """Supervises one episode for the client at the other end of ``client``.

    Args:
        spec: the episode.
        client: where commands come from and news goes to.
        sandbox: was started before, so that it does not hold the key, and builds its root meanwhile.
        ports: addresses that the sandbox listens on for the gateway.
        rules: compiled rules.
        key: signs the journal.
        stream: takes the journal to a collector.
    """

    def __init__(
        self, spec: EpisodeSpec, client: socket.socket, sandbox: Sandbox, ports: list[tuple[str, int]], rules: RuleSet,
        key: SigningKey, clock: Clock, *, stream: Stream | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.tier: Literal["A", "B", "C"] = "C" if not sandbox.namespaces else "A" if spec.tier == "A" else "B"
        self._clock = clock
        self._held: list[int] = []
        self.outgoing: Outgoing | None = None
        self._loop = Loop(clock.monotonic_ns)
        self._steps = Steps()
        self._control = Control(spec.episode, self._controlled)
        try:
            self._open(rules, key, stream)
            self._client = Conversation(client, self._loop, self.recorder)
            self.tell = self._client.tell
            self._connect(sandbox, ports, stream)
        except BaseException:
            self._control.close()
            raise

    # --- setting up ---------------------------------------------------------------------------------------------------

    def _open(self, rules: RuleSet, key: SigningKey, stream: Stream | None) -> None:
        """Make the record's folder and the journal in it."""
        out = Path(self.spec.out)
        try:
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"output folder {out}: cannot be made ({error.strerror})") from None
        self.rules = rules
        self.engine = Engine(rules, self.spec.policy)
        self.writer = Writer(out, key, stream)
        redactor = Redactor(self.spec.secrets)
        self.recorder = Recorder(
            self.spec.episode, self.writer, self.engine, redactor, self._clock, self._steps, self._respond
        )
        self._cross_check = self._load_cross_check() if self.tier == "A" else None  # while the sandbox is being built

    def _connect(self, sandbox: Sandbox, ports: list[tuple[str, int]], stream: Stream | None) -> None:
        """Wait until the sandbox stands, and connect everything to everything: nothing has run yet."""
        loop, recorder, spec, control = self._loop, self.recorder, self.spec, sandbox.control
        message, fds, init = sandbox.ready()
        root, marker, *listeners = fds
        namespaces = sandbox.namespaces
        ends = init if namespaces else sandbox.outer
        self._tree = Tree(init, ends, sandbox.outer, sandbox.outer_pidfd, spec.policy, recorder, self.tell)
        self._tree.on_thaw = self._thawed
        self._client.tree = self._tree
        if stream is not None:
            self.outgoing = Outgoing(stream, loop, recorder, self._collector_lost)
        self._group = self._make_group()
        self._processes = Processes(self._steps, init)
        resolver = Resolver(root, spec.layout)
        self._outcomes = Outcomes(root)
        abi = int(message["landlock_abi"])
        domain = None if namespaces else self._domain(resolver, abi)
        self._contents = Contents()
        self._sensor = KernelSensor(
            recorder, resolver, self._processes, spec.policy.resources.processes, domain, all_opens=spec.all_opens,
            contents=self._contents,
        )  # fmt: skip
        self._sensor.on_process = lambda proc: loop.register(proc.pidfd, lambda _: self._on_end(proc))
        self._sensor.before_call = self._outcome
        recorder.after = self._expect_outcome
        self._resources = Resources(self._processes)
        self._limits = Limits(
            spec.policy.resources, self._group, self._resources, recorder, loop.timers, self._limit_passed
        )
        self._record_start(abi, pidfds=tells(sandbox.outer_pidfd))
        self._watching = None
        watched = spec.layout.watched
        if watched.protect or watched.masks:
            watch = Watch(recorder, resolver, self._processes, self._sensor.settle)
            self._watching = Watching(watch, watched, loop, recorder)
            self._sensor.files.before_nonblocking = self._watching.let_by
        self._serve_network(domain, listeners, ports)
        markers = Markers(marker, recorder, self._steps, self._processes, loop.register, loop.unregister)
        if domain is not None:
            domain.network.markers = markers.take
            linux.set_child_subreaper()  # should the guard be killed, what it guarded is found below
            linux.rest_capabilities()  # it acts for the agent, who has none
        self._commands = Commands(
            control,
            loop,
            recorder,
            self._steps,
            self._sensor,
            self._resources,
            self._limits,
            self._group,
            spec.umask,
            spec.layout,
            self._listen,
            self.tell,
        )
        loop.register(self._control.listener.fileno(), self._control.accept)
        loop.register(sandbox.outer_pidfd, self._on_outer)
        self._client.listen(self._processes, self._limits, self._commands.run)
        self._expect_sigterm()
        loop.timers.after("checkpoint", _CHECKPOINT_SECONDS, self._checkpoint)
        self.tell(op="ready", episode=spec.episode, tier=self.tier, out=spec.out)

    def _expect_sigterm(self) -> None:
        wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._loop.register(wake, self._on_terminate)

    def _serve_network(self, domain: Domain | None, fds: list[int], ports: list[tuple[str, int]]) -> None:
        """The name server and the gateway, at sockets that the sandbox passed out, or in tier C at some made here."""
        allow, loop = self.spec.policy.network.allow, self._loop
        lookups = Lookups(self.recorder, self._processes, loop, inside_names(allow))
        if domain is not None:
            domain.network.datagrams.served(lookups.ask, lookups.stream, loop.register, loop.unregister)
            inside = [domain.network.listen(port) for port in ports]
        else:
            servers = len(fds) - len(ports)
            lookups.listen(*fds[:servers])
            inside = [socket.socket(fileno=fd) for fd in fds[servers:]]
        listeners = list(zip(inside, ports, strict=True))
        self._gateway = Gateway(listeners, allow, loop, self.recorder, self._processes) if ports else None

    def _domain(self, resolver: Resolver, abi: int) -> Domain:
        from proctor.sensors.domain import Domain  # 9 ms that tier B does without

        return Domain(self.spec.layout, resolver, self._processes, abi)

    @staticmethod
    def _load_cross_check() -> CrossCheck:
        from proctor.session.crosscheck import CrossCheck  # tier A alone needs it

        try:
            return CrossCheck()
        except SandboxError as error:
            raise SandboxError(f"tier A is not to be had: {error}") from None

    def _make_group(self) -> cgroups.Cgroup | None:
        """The episode's cgroup, where one may be made. Nothing has run in it when the cross-check begins to look."""
        group = cgroups.create(self.spec.episode)
        if self._cross_check is not None:
            self._cross_check.begin(group.folder if group is not None else None, self.recorder, self._loop)
        return group

    def _record_start(self, landlock: int, *, pidfds: bool) -> None:
        spec = self.spec
        self.recorder.emit(
            kinds.Open,
            kinds.OpenData(
                proctor=__version__, key=self.writer.public_key.hex(), policy_digest=spec.policy_digest,
                rules_digest=self.rules.digest, policy=to_dict(spec.policy), workspace=spec.layout.workspace,
                host={"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()},
            ),
        )  # fmt: skip
        self.degraded = dict(self._limits.degraded)
        if landlock < 1:
            self.degraded["landlock"] = "this kernel has none; the mounts alone decide"
        if not pidfds:
            self.degraded["signals that end a process"] = (
                "not known where its parent was quicker: this kernel's pidfds do not tell"
            )
        if self.tier == "C":
            from proctor.sensors.domain import lacking  # late, as in _domain

            self.degraded |= lacking(landlock)
        if spec.terminal:
            self.degraded["streams"] = "the agent has a terminal; what is typed and shown there is not recorded"
        features = {
            "namespaces": self.tier != "C",
            "tracepoints": self.tier == "A",
            "all_opens": spec.all_opens,
            "terminal": spec.terminal,
            "cgroup": self._group is not None,
            "landlock": landlock > 0,
        }
        self.recorder.emit(
            kinds.Capabilities,
            kinds.CapabilitiesData(tier=self.tier, landlock_abi=landlock, degraded=self.degraded, features=features),
        )

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Supervise until the episode is over: every command ended, and the client closed it or something ended it."""
        while not (self._tree.ended or (self._client.closing and self._commands.all_ended)):
            self._loop.once()

    def _listen(self, listener: int) -> None:
        self._loop.register(listener, lambda mask: self._on_call(listener, mask))

    def _on_call(self, listener: int, mask: int) -> None:
        decision = self.recorder.decision
        if decision == "hold":
            # Nothing new is received while the tree is frozen.
            self._loop.unregister(listener)
            self._held.append(listener)
        elif mask & select.EPOLLIN and decision == "go_on":
            self._sensor.handle(listener)
        elif mask & select.EPOLLHUP:
            self._loop.unregister(listener)
            os.close(listener)

    def _on_end(self, proc: Proc) -> None:
        self._loop.unregister(proc.pidfd)
        if self._outcomes:
            for tid in tuple(proc.tids):
                self._outcome(tid, proc)
        self._resources.process_ended(proc)
        self._sensor.ended(proc)

    def _expect_outcome(self, seq: int, event: Event, _: list[Finding]) -> None:
        if isinstance(event, kinds.File) and event.data.outcome == "attempted" and event.pid is not None:
            self._outcomes.expect(event.tid or event.pid, seq, event.data)

    def _outcome(self, tid: int, proc: Proc) -> None:
        if self._outcomes:
            found = self._outcomes.take(tid)
            if found is not None:
                self.recorder.emit(kinds.Result, found, proc=proc)

    def _on_outer(self, _: int) -> None:
        self._loop.unregister(self._tree.outer_pidfd)
        self._tree.outer_ended()

    def _on_terminate(self, wake: int) -> None:
        """SIGTERM: end the episode in order; not in the signal's handler, which could interrupt an event."""
        os.read(wake, 64)
        self._client.closing = True
        self._tree.end("the supervisor was asked to end (SIGTERM)")

    def _checkpoint(self) -> None:
        data = kinds.HeartbeatData(received=self._sensor.received, recorded=self.writer.count)
        self.recorder.emit(kinds.Heartbeat, data)
        if self._cross_check is not None:
            self._cross_check.drain()
        self.recorder.checkpoint()
        self._loop.timers.after("checkpoint", _CHECKPOINT_SECONDS, self._checkpoint)

    def _collector_lost(self, why: str) -> None:
        self._client.closing = True
        self._tree.end(why)

    # --- responses ----------------------------------------------------------------------------------------------------

    def _respond(self, finding: Finding, _: int) -> None:
        self._tree.respond(finding)

    def _limit_passed(self, limit: str) -> None:
        self._tree.end(f"{limit} passed", limit=limit)

    def _thawed(self) -> None:
        self._sensor.release()
        if self._watching is not None:
            self._watching.thaw()
        if self._gateway is not None:
            self._gateway.thaw()
        held, self._held = self._held, []
        for listener in held:
            self._listen(listener)

    def _controlled(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer ``proctor ps``, ``thaw`` and ``kill``."""
        op = request.get("op")
        decision = self.recorder.decision
        if op == "ps":
            command = self._commands.first
            return {
                "episode": self.spec.episode,
                "state": {"hold": "frozen", "kill": "ending"}.get(
                    decision, "running" if self._tree.paused is None else "stopped"
                ),
                "processes": len(self._tree.members()),
                "events": self.writer.count,
                "findings": len(self.engine.findings()),
                "out": self.spec.out,
                "command": list(command.argv[:8]) if command else [],
            }
        if op == "thaw" and decision == "hold":
            self._tree.thaw()
            return {"ok": True}
        if op == "kill":
            self._client.closing = True
            self._tree.end("asked for with proctor kill")
            return {"ok": True}
        return {"ok": False, "error": "it is not frozen" if op == "thaw" else f"unknown request {op!r}"}

    # --- the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End what is left, wait for every stream and flow, and leave the record complete but for its close."""
        self._client.closing = True
        if not self._tree.ended:
            self._record_leftovers()
            self._tree.kill()
        self.recorder.decision = "kill"
        self._tree.reap()
        self._loop.unregister(self._tree.outer_pidfd)
        for proc in self._processes.all():
            self._on_end(proc)
        self._drain()
        self._commands.end_all()
        for found in self._contents.compared(self.recorder.redactor.text):
            self.recorder.emit(kinds.Change if isinstance(found, kinds.ChangeData) else kinds.Changes, found)
        if self._gateway is not None:
            self._gateway.close()
        if self._commands.signals_repeat:
            self.degraded["signals"] = "this kernel may repeat a call, and its event, that a signal interrupted"
        if self._cross_check is not None:
            self._cross_check.close()
        self._control.close()
        if self.outgoing is not None:
            self.outgoing.unwatch()
        if self._group is not None:
            with linux.capabilities() if self.tier == "C" else nullcontext():  # its parent may be another user's
                self._group.remove()

    def brought_back(self, synced: Synced) -> None:
        """Say what became of changes that were made in a copy. One that could not be brought back is a gap."""
        roots = ", ".join(root for root, _ in self.spec.layout.copies)
        done = f"{synced.written} changes and {synced.removed} removals were brought back"
        self.degraded["workspace"] = f"the agent had a copy of {roots} without hidden paths; {done}"
        for paths, why in (
            (synced.conflicts, "were changed on both sides"),
            (synced.failed, "could not be brought back"),
        ):
            if paths:
                what = f"{len(paths)} or more paths of the copy {why}, the first: {paths[0]}; see kept/ in the record"
                self.recorder.emit(kinds.Gap, kinds.GapData(of="session", what=what))

    def _record_leftovers(self) -> None:
        """Stop what outlived the agent, then record it: it cannot start anything in between."""
        self._tree.stop()
        found = []
        for pid in self._tree.members():
            try:
                proc = self._processes.get(pid) or self._sensor.add(pid, "child")
            except Gone:
                continue
            if not proc.exited:
                shown = split_cmdline(cmdline(pid))
                one = kinds.LeftoverProcess(pid=pid, exe=proc.exe, cmdline=shown, origin_step=proc.origin.step)
                found.append(one)
        if found:
            self.recorder.emit(kinds.Leftover, kinds.LeftoverData(processes=tuple(found[:_MAX_LEFTOVERS])))

    def _drain(self) -> None:
        """Take in what is still on its way: digests, inotify's queue, the gateway's last words."""
        deadline = self._clock.monotonic_ns() + int(_OUTPUT_SECONDS * 1e9)
        if self._watching is not None:
            self._watching.drain()
        while self._commands.unreported and self._clock.monotonic_ns() < deadline:
            self._loop.once(0.5)
        self._commands.give_up_streams()
        while self._loop.once(0) and self._clock.monotonic_ns() < deadline:
            pass

    def abandon(self) -> None:
        """Leave nothing behind, however the episode went."""
        self._tree.abandon()
        self._control.close()

    @property
    def agent_status(self) -> int | None:
        """Status of the last command as os.waitstatus_to_exitcode gives it; None where none ran to its end."""
        return self._commands.last_status

    @property
    def cut_short(self) -> bool:
        """Whether a command was ended before it ended by itself."""
        return self._commands.cut_short

    @property
    def empty(self) -> bool:
        """Whether the process tree was seen empty."""
        return self._tree.empty
