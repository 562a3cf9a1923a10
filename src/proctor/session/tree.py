"""What the supervisor knows of the sandbox's process tree as a whole: its first processes, and whether it is empty."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from proctor.events import kinds
from proctor.findings import Authorisation, Finding
from proctor.policy.records import Action, Policy
from proctor.responses import tree
from proctor.responses.decide import decide
from proctor.session.recorder import Recorder

__all__ = ["Tree", "kill_child"]

_MAX_NAMED = 1000


class Tree:
    """Freezes, thaws and ends the sandbox, and answers findings by the policy.

    Args:
        init, outer: pids of the first process inside and of the one that waits for it outside.
        ends: pid of the one whose end ends the tree: init, or where there is no PID namespace the guard (outer).
        outer_pidfd: becomes readable once nothing is left inside.
        tell: sends news to the client.

    Attributes:
        ended: the outer process has ended.
        empty: nothing is left inside.
        paused: what is stopped because the caller is; None while the caller goes on.
        on_thaw: called after a thaw, before the held calls are answered.
    """

    def __init__(
        self,
        init: int,
        ends: int,
        outer: int,
        outer_pidfd: int,
        policy: Policy,
        recorder: Recorder,
        tell: Callable[..., None],
    ) -> None:
        self.init = init
        self.outer = outer
        self.outer_pidfd = outer_pidfd
        self._guarded = ends == outer
        self._ends = os.pidfd_open(ends)
        self._policy = policy
        self._recorder = recorder
        self._tell = tell
        self._answered: dict[str, tuple[Authorisation, Action | None]] = {}
        self.ended = False
        self.empty = False
        self.paused: list[int] | None = None
        self.on_thaw: Callable[[], None] = lambda: None

    def respond(self, finding: Finding) -> None:
        """Do what the policy says about a finding; on return it has taken effect.

        Once for a finding, and again where it grew past what is authorised.
        """
        action = decide(finding, self._policy)
        if self._answered.get(finding.id) == (finding.authorisation, action):
            return
        self._answered[finding.id] = (finding.authorisation, action)
        self._tell(
            op="finding", rule=finding.rule, outcome=finding.outcome, authorisation=finding.authorisation,
            step=finding.step, summary=finding.summary,
        )  # fmt: skip
        if self._recorder.decision != "go_on":
            return
        if action == "freeze":
            self.freeze(finding.id, finding.rule)
        elif action == "kill":
            self.end(finding.rule, finding=finding.id)

    def members(self) -> list[int]:
        """Every process inside but the first."""
        return tree.members(self.init)

    def freeze(self, finding: str | None, reason: str) -> None:
        """Stop every process; end them where they cannot be stopped."""
        try:
            stopped = tree.freeze(self.init)
        except TimeoutError as error:
            self.end(f"{reason}; it could not be frozen: {error}", finding=finding)
            return
        self._recorder.decision = "hold"
        self._record("freeze", stopped, finding=finding, reason=reason)
        self._tell(op="frozen", reason=reason)

    def thaw(self) -> None:
        """Let every process continue; while the caller has the tree stopped, once it lets it go on."""
        self._recorder.decision = "go_on"
        going = tree.members(self.init)
        if self.paused is None:
            tree.thaw(going)
        else:
            self.paused = going
        self._record("thaw", going, reason="asked for with proctor thaw")
        self.on_thaw()
        self._tell(op="thawed")

    def pause(self) -> None:
        """Stop every process, as the caller is about to stop: no answer to anything that the agent did."""
        if self.paused is not None or self._recorder.decision == "kill":
            return
        before = tree.stopped(self.init)  # by the agent itself, or frozen: not to be continued
        try:
            stopped = [pid for pid in tree.freeze(self.init) if pid not in before]
            how = "was stopped"
        except TimeoutError as error:
            stopped = [pid for pid in tree.stopped(self.init) if pid not in before]
            how = f"was stopped in part ({error})"
        self.paused = stopped
        self._record("log", stopped, reason=f"the agent {how}, as the caller asked, who stops too (SIGTSTP)")

    def resume(self) -> None:
        """Let what :meth:`pause` stopped go on, unless it was frozen meanwhile."""
        paused, self.paused = self.paused, None
        if paused is None or self._recorder.decision == "kill":
            return
        if self._recorder.decision == "hold":
            self._record("log", [], reason="the caller goes on (SIGCONT); the agent stays frozen")
            return
        alive = set(tree.members(self.init))
        going = [pid for pid in paused if pid in alive]
        tree.thaw(going)
        self._record("log", going, reason="the agent was let go on, as the caller goes on (SIGCONT)")

    def end(self, reason: str, *, finding: str | None = None, limit: str | None = None) -> None:
        """Kill every process; recorded once nothing is left. Ending again does nothing."""
        if self._recorder.decision == "kill":
            return
        self._recorder.decision = "kill"
        alive = tree.members(self.init)
        self.kill()
        self._record("kill", alive, finding=finding, limit=limit, reason=reason)

    def kill(self) -> None:
        """Kill without recording a response; processes that do not end are a gap."""
        if self.ended:
            return
        if tree.kill(self._ends, self.outer_pidfd, guarded=self._guarded):
            self.outer_ended()
        else:
            what = "processes of the sandbox did not end when killed"
            self._recorder.emit(kinds.Gap, kinds.GapData(of="session", what=what))

    def abandon(self) -> None:
        """Kill, whatever state the record is in."""
        if not self.ended:
            self.ended = tree.kill(self._ends, self.outer_pidfd, guarded=self._guarded)

    def stop(self) -> None:
        """Stop every process, as far as that goes, without a response: so that nothing starts while they are listed."""
        with contextlib.suppress(TimeoutError):
            tree.freeze(self.init)

    def outer_ended(self) -> None:
        """The outer process has ended: the tree is empty, unless that was the guard and it could not end the rest."""
        status = os.waitid(os.P_PIDFD, self.outer_pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        proven = not self._guarded or (status is not None and (status.si_code, status.si_status) == (os.CLD_EXITED, 0))
        if not proven:
            for pid in tree.members(os.getpid()):
                if pid != self.outer:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            what = "the guard was ended before it saw the process tree empty"
            self._recorder.emit(kinds.Gap, kinds.GapData(of="session", what=what))
        self.ended, self.empty = True, proven

    def reap(self) -> None:
        """Collect the outer process, once the tree is empty."""
        if self.ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.outer, 0)

    def _record(self, action: str, processes: list[int], **known: str | None) -> None:
        data = kinds.ResponseData(action=action, processes=tuple(processes[:_MAX_NAMED]), **known)  # type: ignore[arg-type]
        self._recorder.emit(kinds.Response, data)


def kill_child(pid: int) -> None:
    """Kill a child process of Proctor's own and collect it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
