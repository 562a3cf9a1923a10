"""``proctor watch``: an ordinary record of what the processes of a cgroup do, that somebody else made and contains.

Nothing is refused and nobody is ended: events come from the kernel's tracepoints, after the fact, and are judged by the
same rules. What the tracepoints cannot see is said, in ``degraded`` or as a gap.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from proctor import __version__
from proctor.clock import SystemClock
from proctor.detectors.compile import load as load_rules
from proctor.detectors.engine import Engine
from proctor.errors import UsageError
from proctor.events import kinds
from proctor.journal.keys import load_or_make
from proctor.journal.redaction import Redactor
from proctor.journal.writer import Writer
from proctor.policy.load import digest, to_dict
from proctor.sandbox.layout import CREDENTIALS, SHM, inside
from proctor.sensors.freezer import Freezer
from proctor.sensors.observed import Observed
from proctor.sensors.steps import Steps
from proctor.sensors.tracepoints import Tracepoints
from proctor.sensors.tracerecords import shapes
from proctor.session.closing import close
from proctor.session.loop import Loop
from proctor.session.recorder import Recorder
from proctor.session.spec import cache_folder, new_id, output_folder, state_folder
from proctor.verdicts import Tier

if TYPE_CHECKING:
    from proctor.findings import Finding
    from proctor.policy.records import Policy
    from proctor.sensors.paths import Role
    from proctor.session.outgoing import Outgoing

__all__ = ["Observing", "WatchSpec"]

_RING = 1 << 24
_CHECKPOINT_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_NICE = -15
_DEGRADED = {
    "containment": "none: these processes are recorded and judged, not contained; Proctor refused nothing",
    "reading": "opens for reading are not recorded: rules about what is read see nothing",
    "names": "what was opened is the kernel's own path; other names are joined with their folder, links not followed",
    "start": "what processes did before the watch began is not known",
    "network": "addresses are recorded, not what is sent; there is no gateway",
}


@dataclass(frozen=True, slots=True)
class WatchSpec:
    """Where a watch is recorded, and by which policy it is judged."""

    episode: str
    out: str
    policy_digest: str


def _role(policy: Policy) -> Callable[[bytes], Role]:
    """What a policy says of an absolute path, the longest prefix first."""
    roles: dict[str, Role] = dict.fromkeys(("/tmp", SHM), "scratch")  # noqa: S108 - a name to compare with
    roles |= dict.fromkeys(policy.files.write, "workspace")
    roles |= dict.fromkeys(policy.files.protect, "protected")
    roles |= dict.fromkeys(policy.files.hide, "hidden")
    roles |= dict.fromkeys(CREDENTIALS, "credential")
    longest = sorted(roles.items(), key=lambda item: -len(item[0]))

    def role(path: bytes) -> Role:
        text = path.decode("utf-8", "surrogateescape")
        return next((role for prefix, role in longest if inside(text, prefix)), "system")

    return role


def _group(path: str) -> Path:
    """The cgroup's folder.

    Raises:
        UsageError: it is none of version 2, or this process is in it: it would record its own record, and stop itself.
    """
    folder = Path(os.path.realpath(path))
    try:
        is_one = (folder / "cgroup.events").is_file() and (folder / "cgroup.procs").is_file()
    except (OSError, ValueError):
        is_one = False
    if not is_one:
        raise UsageError(f"watch: --cgroup {path!r:.300}: is no cgroup (version 2) below its tree's root")
    if os.getpid() in _members(folder):
        raise UsageError(f"watch: --cgroup {path!r:.300}: this process is in it; start the watch from another cgroup")
    return folder


def _members(group: Path) -> list[int]:
    """Who is in a cgroup and those below it now."""
    found: list[int] = []
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(OSError):  # it was removed meanwhile, or is one of threads alone
            found += map(int, Path(folder, "cgroup.procs").read_text(encoding="ascii").split())
    return found


class Observing:
    """One watch. Use it as a context manager: what it stopped goes on when it is left.

    Args:
        cgroup: the folder of the cgroup.
        out: the record's folder, as for an episode.
        freeze: stop the cgroup while the ring fills, so that nothing is lost.
        say: called with each finding that is new or has grown stronger.

    Raises:
        UsageError: the cgroup, the output folder or a rule cannot be used.
        SandboxError: the tracepoint sensor cannot be had.
    """

    tier: Tier = "watch"
    agent_status = None
    cut_short = False
    outgoing: Outgoing | None = None

    def __init__(
        self, cgroup: str, policy: Policy, *, out: str | None, rules: Sequence[str], freeze: bool,
        say: Callable[[Finding], None],
    ) -> None:  # fmt: skip
        self._folder = _group(cgroup)
        episode = policy.episode.id or new_id()
        folder = output_folder(out, episode, policy)
        self.rules = load_rules([Path(one) for one in rules], cache_folder())
        self._tracepoints = Tracepoints(shapes(watch=True), ring_bytes=_RING)
        try:
            if freeze:
                self._tracepoints.freezer = Freezer(self._folder, guarded=True)
            self._begin(episode, folder, policy, say)
        except BaseException:
            self._release()
            raise

    def _begin(self, episode: str, folder: Path, policy: Policy, say: Callable[[Finding], None]) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"output folder {folder}: cannot be made ({error.strerror})") from None
        self.spec = WatchSpec(episode, str(folder), digest(policy))
        self.engine = Engine(self.rules, policy)
        self.writer = Writer(folder, load_or_make(state_folder() / "keys"))
        self._clock = SystemClock()
        self.recorder = Recorder(
            episode, self.writer, self.engine, Redactor(()), self._clock, Steps(), lambda finding, _: say(finding)
        )
        self.degraded = dict(_DEGRADED)
        if self._tracepoints.freezer is None:
            self.degraded["back-pressure"] = "none, as asked: what is not read in time is lost, and a gap"
        self._loop = Loop(self._clock.monotonic_ns)
        self._observed = Observed(self.recorder, _role(policy), self._gap)
        self._lost = 0
        self._over = False
        self.empty = False
        host = {"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version()}
        self.recorder.emit(
            kinds.Open,
            kinds.OpenData(
                proctor=__version__, key=self.writer.public_key.hex(), policy_digest=self.spec.policy_digest,
                rules_digest=self.rules.digest, policy=to_dict(policy), workspace=policy.workspace, host=host,
            ),
        )  # fmt: skip
        features = {"tracepoints": True, "freeze": self._tracepoints.freezer is not None, "namespaces": False}
        self.recorder.emit(
            kinds.Capabilities, kinds.CapabilitiesData(tier="watch", features=features, degraded=self.degraded)
        )

    def _gap(self, what: str) -> None:
        self.recorder.emit(kinds.Gap, kinds.GapData(of="kernel", what=what))

    def tell(self, **message: Any) -> None:
        """Nobody waits for news."""

    def attach(self) -> None:
        """From now on everything is seen; who is there already is recorded."""
        with contextlib.suppress(OSError):  # whom it watches must not keep it from reading
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        self._tracepoints.attach(self._folder, detail=True, wake=0)
        for pid in _members(self._folder):
            self._observed.found(pid)

    def run(self, wake: int, seconds: float | None) -> None:
        """Watch until something is written to ``wake``, ``seconds`` are over, or the cgroup has emptied; then judge."""
        loop = self._loop
        loop.register(self._tracepoints.fd, lambda _: self._drain())
        loop.register(wake, lambda _: self._end())
        loop.timers.after("checkpoint", _CHECKPOINT_SECONDS, self._checkpoint)
        loop.timers.after("look", _LOOK_SECONDS, self._look)
        if seconds is not None:
            loop.timers.after("end", seconds, self._end)
        while not self._over:
            loop.once()
        self._finish()

    def _end(self) -> None:
        self._over = True

    def _populated(self) -> bool:
        try:
            return "populated 1" in (self._folder / "cgroup.events").read_text(encoding="ascii")
        except OSError:
            return False  # it was removed, which it can be only when it is empty

    def _look(self) -> None:
        """The end of a cgroup is that it has emptied: one that has held nobody yet is waited for."""
        if self._tracepoints.told and not self._populated():
            self._end()
        self._loop.timers.after("look", _LOOK_SECONDS, self._look)

    def _drain(self) -> None:
        self._tracepoints.drain(self._observed.take)
        lost = self._tracepoints.totals().lost
        if lost > self._lost:
            self._gap(f"the tracepoints' ring had no room for {lost - self._lost} records")
            self._lost = lost

    def _checkpoint(self) -> None:
        data = kinds.HeartbeatData(received=self._tracepoints.told, recorded=self.writer.count)
        self.recorder.emit(kinds.Heartbeat, data)
        self.recorder.checkpoint()
        self._loop.timers.after("checkpoint", _CHECKPOINT_SECONDS, self._checkpoint)

    def _finish(self) -> None:
        self._tracepoints.detach()
        self._drain()
        self.empty = not self._populated()
        if not self.empty:
            alive = f"{self._observed.alive} processes were alive when the watch ended"
            self.degraded["end"] = f"{alive}: what they do afterwards is not recorded"
        totals, freezer = self._tracepoints.totals(), self._tracepoints.freezer
        if (missing := sum(totals.seen) - sum(totals.dropped) - self._tracepoints.told) != 0:
            self._gap(f"the tracepoints counted {missing} records that the ring did not hold")
        if freezer is not None:
            freezer.close()
            if freezer.times:
                self.degraded["freezes"] = (
                    f"the cgroup was stopped {freezer.times} times, {freezer.seconds:.2f} s in all"
                )
        close(self)

    def _release(self) -> None:
        if self._tracepoints.freezer is not None:
            self._tracepoints.freezer.close()
        self._tracepoints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()
